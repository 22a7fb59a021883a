/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attr_memory.h"

static struct attr_memory memory;

static void what_was_put_is_there_until_it_is_too_old(void **state)
{
	struct sftp_attr attr = {.ino = 7}, got;
	uint64_t age;

	(void)state;
	attr_memory_clear(&memory);
	assert_false(attr_memory_get(&memory, 5, 1000, 100, &got, &age));
	attr_memory_put(&memory, 5, &attr, 1000);
	assert_true(attr_memory_get(&memory, 5, 1100, 100, &got, &age));
	assert_int_equal(got.ino, 7);
	assert_int_equal(age, 100);
	assert_false(attr_memory_get(&memory, 5, 1101, 100, &got, &age));
}

static void another_node_is_not_taken_for_it(void **state)
{
	struct sftp_attr attr = {.ino = 7}, got;
	uint64_t age;

	(void)state;
	attr_memory_clear(&memory);
	attr_memory_put(&memory, 5, &attr, 0);
	assert_false(attr_memory_get(&memory, 5 + ATTR_MEMORY_SLOTS, 0, 100, &got, &age));
	attr_memory_drop(&memory, 5 + ATTR_MEMORY_SLOTS);
	assert_true(attr_memory_get(&memory, 5, 0, 100, &got, &age));
	attr_memory_drop(&memory, 5);
	assert_false(attr_memory_get(&memory, 5, 0, 100, &got, &age));
}

static void what_is_read_the_first_time_since_a_change_is_asked_for(void **state)
{
	struct sftp_attr attr = {.atime = {5, 0}, .mtime = {4, 9}, .ctime = {4, 9}}, got;
	uint64_t age;

	(void)state;
	attr_memory_clear(&memory);
	attr_memory_put(&memory, 5, &attr, 0);
	attr_memory_was_read(&memory, 5);
	assert_true(attr_memory_get(&memory, 5, 0, 100, &got, &age));
	attr.ctime = (struct sftp_time){5, 0};
	attr_memory_put(&memory, 5, &attr, 0);
	attr_memory_was_read(&memory, 5 + ATTR_MEMORY_SLOTS);
	assert_true(attr_memory_get(&memory, 5, 0, 100, &got, &age));
	attr_memory_was_read(&memory, 5);
	assert_false(attr_memory_get(&memory, 5, 0, 100, &got, &age));
}

static void what_is_known_of_a_later_change_goes_before_an_answer(void **state)
{
	struct sftp_attr known = {.size = 9, .ctime = {5, 7}}, attr = {.size = 3, .ctime = {5, 6}};

	(void)state;
	attr_memory_clear(&memory);
	assert_false(attr_memory_later(&memory, 5, 0, 100, &attr));
	attr_memory_put(&memory, 5, &known, 0);
	assert_false(attr_memory_later(&memory, 5, 101, 100, &attr));
	assert_int_equal(attr.size, 3);
	assert_true(attr_memory_later(&memory, 5, 100, 100, &attr));
	assert_int_equal(attr.size, 9);
	/* Nor what is as late, or later. */
	assert_false(attr_memory_later(&memory, 5, 0, 100, &attr));
	attr = (struct sftp_attr){.size = 3, .ctime = {6, 0}};
	assert_false(attr_memory_later(&memory, 5, 0, 100, &attr));
	assert_int_equal(attr.size, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_there_until_it_is_too_old),
		cmocka_unit_test(another_node_is_not_taken_for_it),
		cmocka_unit_test(what_is_read_the_first_time_since_a_change_is_asked_for),
		cmocka_unit_test(what_is_known_of_a_later_change_goes_before_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
