/* SPDX-License-Identifier: MIT */
/* Open files by number, more of them than descriptors; one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "handles.h"

static int file_of(int number)
{
	char path[] = "/tmp/handles-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pwrite(fd, &number, sizeof(number), 0), sizeof(number));
	return fd;
}

static struct handles *table_with(size_t descriptors, size_t each)
{
	const struct handles_limits limits = {
		.max = 4000, .folders = 3, .descriptors = descriptors, .keepers = 4, .each = each};
	struct handles *handles = handles_new(&limits);

	assert_non_null(handles);
	return handles;
}

static struct handles *table(size_t descriptors)
{
	return table_with(descriptors, 900);
}

static void put(struct handles *handles, struct handle *h)
{
	uint64_t node;

	assert_false(handles_put(handles, h, &node));
}

/* An open file with this number in it, which nobody uses. */
static uint64_t add(struct handles *handles, int number)
{
	struct handle *h;
	uint64_t fh;

	assert_int_equal(handles_add(handles, file_of(number), DT_REG, true, &h), 0);
	fh = h->fh;
	put(handles, h);
	return fh;
}

static void assert_holds(struct handles *handles, uint64_t fh, int number)
{
	struct handle *h = handles_get(handles, fh);
	int found = -1;

	assert_non_null(h);
	assert_int_equal(handles_bring(handles, h), 0);
	assert_true(h->fd >= 0);
	assert_int_equal(pread(h->fd, &found, sizeof(found), 0), sizeof(found));
	assert_int_equal(found, number);
	put(handles, h);
}

static bool is_here(struct handles *handles, uint64_t fh)
{
	struct handle *h = handles_get(handles, fh);
	bool here = h->fd >= 0;

	put(handles, h);
	return here;
}

static void end(struct handles *handles, uint64_t fh)
{
	struct handle *h = handles_get(handles, fh);
	uint64_t node = 7;

	assert_true(handles_close(handles, h));
	assert_false(handles_close(handles, h));
	assert_true(handles_put(handles, h, &node));
	assert_int_equal(node, 0);
	assert_null(handles_get(handles, fh));
}

static void each_of_many_is_its_own_file_with_few_descriptors(void **state)
{
	struct handles *handles = table(20);
	uint64_t fh[3000];

	for (int i = 0; i < 3000; i++)
		fh[i] = add(handles, i);
	for (int i = 0; i < 3000; i += 7)
		assert_holds(handles, fh[i], i);
	for (int i = 2999; i >= 0; i -= 3)
		end(handles, fh[i]);
	for (int i = 0; i < 3000; i++)
		if (i % 3 != 2)
			assert_holds(handles, fh[i], i);
	handles_free(handles);
}

static void who_was_used_since_his_last_turn_stays(void **state)
{
	struct handles *handles = table(3);
	uint64_t a = add(handles, 1), b = add(handles, 2), c = add(handles, 3), d;

	d = add(handles, 4); /* all were new: the marks went, and then a */
	assert_holds(handles, b, 2);
	add(handles, 5);
	assert_true(is_here(handles, b) && !is_here(handles, c) && is_here(handles, d));
	assert_holds(handles, a, 1);
	handles_free(handles);
}

static void who_is_in_use_keeps_the_descriptor(void **state)
{
	struct handles *handles = table(2);
	struct handle *a, *b, *c = NULL;
	int fd;

	assert_int_equal(handles_add(handles, file_of(1), DT_REG, true, &a), 0);
	assert_int_equal(handles_add(handles, file_of(2), DT_REG, true, &b), 0);
	assert_int_equal(handles_add(handles, file_of(3), DT_REG, true, &c), -ENFILE);
	assert_null(c);
	fd = a->fd;
	put(handles, b);
	assert_int_equal(handles_add(handles, file_of(3), DT_REG, true, &c), 0);
	assert_int_equal(a->fd, fd);
	assert_int_equal(handles_bring(handles, b), -ENFILE);
	put(handles, c);
	assert_int_equal(handles_bring(handles, b), 0);
	put(handles, a);
	handles_free(handles);
}

/* What is left to folders serves those that are brought back, one after the other. */
static void when_no_keeper_has_room_all_that_is_open_can_still_be_used(void **state)
{
	struct handles *handles = table_with(16, 50);
	uint64_t fh[400];
	struct handle *h;
	int open = 0;

	while (handles_add(handles, file_of(open), DT_REG, true, &h) == 0) {
		fh[open++] = h->fh;
		put(handles, h);
	}
	assert_int_equal(open, 4 * 50 + 12);
	for (int i = 0; i < open; i++)
		assert_holds(handles, fh[i], i);
	assert_int_equal(handles_add(handles, dup(0), DT_DIR, true, &h), 0);
	put(handles, h);
	end(handles, h->fh);
	end(handles, fh[7]);
	add(handles, 7);
	handles_free(handles);
}

static void what_may_not_be_kept_is_not(void **state)
{
	struct handles *handles = table(2);
	struct handle *a, *b, *c;

	assert_int_equal(handles_add(handles, file_of(1), DT_REG, false, &a), 0);
	put(handles, a);
	assert_int_equal(handles_add(handles, file_of(2), DT_REG, false, &b), 0);
	put(handles, b);
	assert_int_equal(handles_add(handles, file_of(3), DT_REG, true, &c), -ENFILE);
	end(handles, a->fh);
	assert_int_equal(handles_add(handles, file_of(3), DT_REG, true, &c), 0);
	put(handles, c);
	handles_free(handles);
}

static void of_folders_there_are_fewer(void **state)
{
	struct handles *handles = table(100);
	struct handle *h;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(handles_add(handles, dup(0), DT_DIR, true, &h), 0);
		put(handles, h);
	}
	assert_int_equal(handles_add(handles, dup(0), DT_DIR, true, &h), -ENFILE);
	end(handles, 2);
	assert_int_equal(handles_add(handles, dup(0), DT_DIR, true, &h), 0);
	put(handles, h);
	add(handles, 1);
	handles_free(handles);
}

static void a_handle_that_is_closed_while_it_is_used_goes_with_its_last_user(void **state)
{
	struct handles *handles = table(2);
	uint64_t fh = add(handles, 1), node;
	struct handle *h;

	add(handles, 2);
	add(handles, 3);
	h = handles_get(handles, fh);
	assert_true(h->fd < 0);
	assert_true(handles_close(handles, h));
	assert_int_equal(handles_bring(handles, h), 0);
	assert_true(handles_put(handles, h, &node));
	handles_free(handles);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_of_many_is_its_own_file_with_few_descriptors),
		cmocka_unit_test(who_was_used_since_his_last_turn_stays),
		cmocka_unit_test(who_is_in_use_keeps_the_descriptor),
		cmocka_unit_test(when_no_keeper_has_room_all_that_is_open_can_still_be_used),
		cmocka_unit_test(what_may_not_be_kept_is_not),
		cmocka_unit_test(of_folders_there_are_fewer),
		cmocka_unit_test(a_handle_that_is_closed_while_it_is_used_goes_with_its_last_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
