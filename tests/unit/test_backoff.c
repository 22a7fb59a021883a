/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backoff.h"

static void pauses_double_from_50_ms_up_to_2_s(void **state)
{
	static const uint64_t want[] = {50000, 100000, 200000, 400000, 800000, 1600000, 2000000, 2000000, 2000000};
	struct backoff b = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(backoff_failed(&b, false), want[i]);
}

static void what_only_a_person_can_mend_waits_long(void **state)
{
	struct backoff b = {0};

	(void)state;
	assert_int_equal(backoff_failed(&b, true), BACKOFF_PERMANENT_US);
	assert_int_equal(backoff_failed(&b, true), BACKOFF_PERMANENT_US);
}

static void a_good_connection_starts_the_pauses_anew(void **state)
{
	struct backoff b = {0};

	(void)state;
	for (int i = 0; i < 8; i++)
		backoff_failed(&b, false);
	backoff_connected(&b, 1000000);
	assert_int_equal(backoff_lost(&b, 1000000 + BACKOFF_GOOD_US), BACKOFF_FIRST_US);
	assert_int_equal(backoff_failed(&b, false), 2 * BACKOFF_FIRST_US);
}

static void a_connection_that_ends_at_once_counts_as_a_failure(void **state)
{
	struct backoff b = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		uint64_t want = (uint64_t)BACKOFF_FIRST_US << i;

		backoff_connected(&b, 1000000);
		assert_int_equal(backoff_lost(&b, 1000001), want);
	}
}

static void good_news_starts_the_pauses_anew(void **state)
{
	struct backoff b = {0};

	(void)state;
	for (int i = 0; i < 8; i++)
		backoff_failed(&b, false);
	backoff_reset(&b);
	assert_int_equal(backoff_failed(&b, false), BACKOFF_FIRST_US);
}

static void a_sleep_is_told_once(void **state)
{
	struct sleep_watch w = {0};

	(void)state;
	assert_false(sleep_watch_slept(&w, 5000000, 1000000));
	assert_false(sleep_watch_slept(&w, 7000000, 3000000));
	assert_true(sleep_watch_slept(&w, 3609000000, 5000000));
	assert_false(sleep_watch_slept(&w, 3611000000, 7000000));
}

static void noise_between_the_clocks_is_no_sleep_and_hides_none(void **state)
{
	struct sleep_watch w = {0};

	(void)state;
	assert_false(sleep_watch_slept(&w, 1000000, 1000000));
	assert_false(sleep_watch_slept(&w, 2300000, 2000000));
	assert_false(sleep_watch_slept(&w, 3000000, 3000000));
	assert_true(sleep_watch_slept(&w, 5000000, 4000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_double_from_50_ms_up_to_2_s),
		cmocka_unit_test(what_only_a_person_can_mend_waits_long),
		cmocka_unit_test(a_good_connection_starts_the_pauses_anew),
		cmocka_unit_test(a_connection_that_ends_at_once_counts_as_a_failure),
		cmocka_unit_test(good_news_starts_the_pauses_anew),
		cmocka_unit_test(a_sleep_is_told_once),
		cmocka_unit_test(noise_between_the_clocks_is_no_sleep_and_hides_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
