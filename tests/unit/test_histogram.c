/* SPDX-License-Identifier: MIT */
/* Durations in buckets: each has one, and what is read out of them is what was put in, to an eighth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "histogram.h"

static void buckets_rise_with_durations_and_none_is_left_out(void **state)
{
	unsigned last = 0;

	for (uint64_t ns = 0; ns < 1ull << 38; ns = ns < 4096 ? ns + 1 : ns + ns / 64) {
		unsigned bucket = histogram_bucket(ns);

		assert_true(bucket == last || bucket == last + 1);
		last = bucket;
	}
	assert_int_equal(last, HISTOGRAM_BUCKETS - 1);
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void one_duration_is_read_back_to_an_eighth(void **state)
{
	for (uint64_t ns = 8; ns < 1ull << 36; ns += ns / 10 + 1) {
		uint64_t buckets[HISTOGRAM_BUCKETS] = {0}, middle;

		buckets[histogram_bucket(ns)] = 1;
		middle = histogram_percentile(buckets, 500);
		assert_true(middle >= ns - ns / 8 && middle <= ns + ns / 8);
	}
}

static void percentiles_stand_where_they_should(void **state)
{
	uint64_t buckets[HISTOGRAM_BUCKETS] = {0};

	assert_int_equal(histogram_percentile(buckets, 500), 0);
	buckets[histogram_bucket(10000)] = 980;
	buckets[histogram_bucket(5000000)] = 20;
	assert_in_range(histogram_percentile(buckets, 500), 8750, 11250);
	assert_in_range(histogram_percentile(buckets, 980), 8750, 11250);
	assert_in_range(histogram_percentile(buckets, 990), 4375000, 5625000);
}

/* A guest may say anything: the sum of its counts is more than an integer holds. */
static void counts_of_any_size_are_taken(void **state)
{
	uint64_t buckets[HISTOGRAM_BUCKETS], p50, p99;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		buckets[i] = UINT64_MAX;
	p50 = histogram_percentile(buckets, 500);
	p99 = histogram_percentile(buckets, 999);
	assert_true(p50 >= 1u << 18 && p50 <= 1u << 20 && p99 > p50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_rise_with_durations_and_none_is_left_out),
		cmocka_unit_test(one_duration_is_read_back_to_an_eighth),
		cmocka_unit_test(percentiles_stand_where_they_should),
		cmocka_unit_test(counts_of_any_size_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
