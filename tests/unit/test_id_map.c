/* SPDX-License-Identifier: MIT */
/* Ranges of ids lead both ways, and no number is in two of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "id_map.h"

static int add(struct id_map *map, uint32_t host, uint32_t guest, uint32_t count)
{
	return id_map_add(map, &(struct id_range){host, guest, count});
}

static void a_range_leads_both_ways(void **state)
{
	struct id_map map = {0};
	uint32_t id;

	assert_int_equal(add(&map, 1000, 501, 3), 0);
	assert_true(id_map_find(&map, ID_TO_GUEST, 1002, &id) && id == 503);
	assert_true(id_map_find(&map, ID_TO_HOST, 501, &id) && id == 1000);
	assert_false(id_map_find(&map, ID_TO_GUEST, 1003, &id));
	assert_false(id_map_find(&map, ID_TO_GUEST, 999, &id));
	assert_false(id_map_find(&map, ID_TO_HOST, 504, &id));
}

static void numbers_are_in_one_range_on_each_side(void **state)
{
	struct id_map map = {0};

	assert_int_equal(add(&map, 100, 200, 10), 0);
	assert_int_equal(add(&map, 109, 300, 1), -EEXIST);
	assert_int_equal(add(&map, 91, 300, 10), -EEXIST);
	assert_int_equal(add(&map, 0, 300, 1000), -EEXIST);
	assert_int_equal(add(&map, 0, 209, 1), -EEXIST);
	assert_int_equal(add(&map, 0, 191, 10), -EEXIST);
	assert_int_equal(add(&map, 110, 210, 5), 0);
	assert_int_equal(add(&map, 90, 190, 10), 0);
	assert_int_equal(map.count, 3);
}

static void a_range_has_numbers_and_ends_with_them(void **state)
{
	struct id_map map = {0};
	uint32_t id;

	assert_int_equal(add(&map, 1, 1, 0), -EINVAL);
	assert_int_equal(add(&map, UINT32_MAX, 1, 1), -ERANGE);
	assert_int_equal(add(&map, 1, UINT32_MAX, 1), -ERANGE);
	assert_int_equal(add(&map, ID_MOST, 1, 2), -ERANGE);
	assert_int_equal(add(&map, 1, ID_MOST, 2), -ERANGE);
	assert_int_equal(add(&map, 0, 0, UINT32_MAX), 0);
	assert_true(id_map_find(&map, ID_TO_GUEST, ID_MOST, &id) && id == ID_MOST);
	assert_false(id_map_find(&map, ID_TO_GUEST, UINT32_MAX, &id));
}

static void there_are_so_many_ranges_and_no_more(void **state)
{
	struct id_map map = {0};

	for (uint32_t i = 0; i < ID_RANGES_MAX; i++)
		assert_int_equal(add(&map, 2 * i, 2 * i, 1), 0);
	assert_int_equal(add(&map, 1, 1, 1), -ENOSPC);
}

static void maps_are_compared_by_their_ranges(void **state)
{
	struct id_map a = {0}, b = {0};

	assert_true(id_map_equal(NULL, &a) && id_map_equal(&a, NULL) && id_map_equal(NULL, NULL));
	add(&a, 1, 2, 3);
	assert_false(id_map_equal(&a, NULL) || id_map_equal(&a, &b));
	add(&b, 1, 2, 4);
	assert_false(id_map_equal(&a, &b));
	b.ranges[0].count = 3;
	assert_true(id_map_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_leads_both_ways),
		cmocka_unit_test(numbers_are_in_one_range_on_each_side),
		cmocka_unit_test(a_range_has_numbers_and_ends_with_them),
		cmocka_unit_test(there_are_so_many_ranges_and_no_more),
		cmocka_unit_test(maps_are_compared_by_their_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
