/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

static void integers_are_big_endian_and_come_back(void **state)
{
	struct wire_buf b = {0};
	struct wire_reader r;

	(void)state;
	wire_put_u8(&b, 0x01);
	wire_put_u16(&b, 0x0203);
	wire_put_u32(&b, 0x04050607);
	wire_put_u64(&b, 0x08090a0b0c0d0e0f);
	wire_put_i64(&b, -2);
	assert_false(b.failed);
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(b.data[i], i + 1);
	r = wire_reader(b.data, b.len);
	assert_int_equal(wire_get_u8(&r), 0x01);
	assert_int_equal(wire_get_u16(&r), 0x0203);
	assert_int_equal(wire_get_u32(&r), 0x04050607);
	assert_true(wire_get_u64(&r) == 0x08090a0b0c0d0e0f);
	assert_true(wire_get_i64(&r) == -2);
	assert_true(wire_read_done(&r));
	wire_buf_free(&b);
}

static void a_read_past_the_end_makes_every_later_one_fail(void **state)
{
	uint8_t bytes[] = {1, 2, 3};
	struct wire_reader r = wire_reader(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(wire_get_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(wire_get_u8(&r), 0);
	assert_null(wire_get_bytes(&r, 1));
	assert_false(wire_read_done(&r));
}

static void leftovers_are_refused(void **state)
{
	uint8_t bytes[] = {1, 2};
	struct wire_reader r = wire_reader(bytes, sizeof(bytes));

	(void)state;
	wire_get_u8(&r);
	assert_false(r.bad);
	assert_false(wire_read_done(&r));
}

static void an_empty_reader_gives_an_empty_string_but_no_integer(void **state)
{
	struct wire_reader r = wire_reader(NULL, 0);

	(void)state;
	assert_non_null(wire_get_bytes(&r, 0));
	assert_true(wire_read_done(&r));
	wire_get_u8(&r);
	assert_true(r.bad);
}

static void a_string_is_bounded_by_what_is_there_and_by_its_limit(void **state)
{
	struct wire_buf b = {0};
	struct wire_reader r;
	size_t len = 7;

	(void)state;
	wire_put_cstring(&b, "name");
	r = wire_reader(b.data, b.len);
	assert_memory_equal(wire_get_string(&r, &len, 4), "name", 4);
	assert_int_equal(len, 4);
	assert_true(wire_read_done(&r));

	r = wire_reader(b.data, b.len);
	assert_null(wire_get_string(&r, &len, 3));
	assert_int_equal(len, 0);
	assert_true(r.bad);

	r = wire_reader(b.data, b.len - 1);
	assert_null(wire_get_string(&r, &len, 100));
	assert_true(r.bad);
	wire_buf_free(&b);
}

static void a_length_is_filled_in_later_also_when_the_buffer_moved(void **state)
{
	struct wire_buf b = {0};
	uint8_t block[5000];
	size_t mark;

	(void)state;
	memset(block, 'x', sizeof(block));
	wire_put_u8(&b, 9);
	mark = wire_put_length_begin(&b);
	wire_put_bytes(&b, block, sizeof(block));
	wire_put_length_end(&b, mark);
	assert_int_equal(b.len, 1 + 4 + sizeof(block));
	assert_int_equal(wire_peek_u32(b.data + 1), sizeof(block));
	assert_memory_equal(b.data + 5, block, sizeof(block));
	wire_buf_free(&b);
	assert_null(b.data);
}

static void consumed_bytes_go_and_the_rest_stays(void **state)
{
	struct wire_buf b = {0};

	(void)state;
	wire_put_bytes(&b, "abcdef", 6);
	wire_buf_consume(&b, 0);
	wire_buf_consume(&b, 2);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "cdef", 4);
	wire_buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	wire_buf_free(&b);
}

static void an_emptied_buffer_keeps_no_more_room_than_it_is_told(void **state)
{
	struct wire_buf b = {0};

	(void)state;
	wire_put_bytes(&b, "abcdef", 6);
	wire_buf_empty(&b, 4096);
	assert_true(b.len == 0 && b.cap > 0);
	assert_non_null(wire_buf_reserve(&b, 4097));
	wire_buf_empty(&b, 4096);
	assert_int_equal(b.cap, 0);
	wire_put_u8(&b, 1);
	assert_int_equal(b.len, 1);
	wire_buf_free(&b);
}

static void a_failed_buffer_takes_nothing_more_until_reset(void **state)
{
	struct wire_buf b = {0};

	(void)state;
	wire_put_u8(&b, 1);
	assert_null(wire_buf_reserve(&b, SIZE_MAX));
	assert_true(b.failed);
	wire_put_u32(&b, 1);
	assert_int_equal(b.len, 1);
	wire_buf_reset(&b);
	wire_put_u32(&b, 1);
	assert_int_equal(b.len, 4);
	wire_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_big_endian_and_come_back),
		cmocka_unit_test(a_read_past_the_end_makes_every_later_one_fail),
		cmocka_unit_test(leftovers_are_refused),
		cmocka_unit_test(an_empty_reader_gives_an_empty_string_but_no_integer),
		cmocka_unit_test(a_string_is_bounded_by_what_is_there_and_by_its_limit),
		cmocka_unit_test(a_length_is_filled_in_later_also_when_the_buffer_moved),
		cmocka_unit_test(consumed_bytes_go_and_the_rest_stays),
		cmocka_unit_test(an_emptied_buffer_keeps_no_more_room_than_it_is_told),
		cmocka_unit_test(a_failed_buffer_takes_nothing_more_until_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
