/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "busy_poll.h"

/* Waits that take so long when they are slept and when they are polled. Returns how many of them were polled. */
static unsigned wait_times(struct busy_poll *b, unsigned count, uint64_t slept_us, uint64_t polled_us)
{
	unsigned polled = 0;

	while (count--) {
		bool now = busy_poll_now(b);

		polled += now;
		busy_poll_waited(b, 1, now ? polled_us : slept_us);
	}
	return polled;
}

static void both_ways_are_tried_in_runs_without_an_order(void **state)
{
	struct busy_poll b = {0};
	unsigned polled = 0, of_every_second = 0, changes = 0;
	bool before = busy_poll_now(&b);

	(void)state;
	for (unsigned i = 0; i < BUSY_POLL_TRIAL; i++) {
		bool now = busy_poll_now(&b);

		polled += now;
		of_every_second += i / BUSY_POLL_RUN % 2 && now;
		changes += now != before;
		before = now;
		busy_poll_waited(&b, 1, 10);
	}
	assert_in_range(polled, BUSY_POLL_TRIAL * 2 / 5, BUSY_POLL_TRIAL * 3 / 5);
	assert_in_range(of_every_second, BUSY_POLL_TRIAL / 8, BUSY_POLL_TRIAL * 3 / 8);
	assert_in_range(changes, 4, BUSY_POLL_TRIAL / BUSY_POLL_RUN);
}

/* Polled, each turn takes as long but has half of what a slept one has: nothing is faster. */
static void what_counts_is_what_comes_in_a_time(void **state)
{
	struct busy_poll b = {0};

	(void)state;
	for (unsigned i = 0; i < BUSY_POLL_TRIAL; i++) {
		bool now = busy_poll_now(&b);

		busy_poll_waited(&b, now ? 1 : 2, 100);
	}
	assert_false(busy_poll_now(&b));
}

static void the_faster_way_is_taken_and_tried_again(void **state)
{
	struct busy_poll b = {0};

	(void)state;
	/* For longer each time, as the first figures are those of what is cold. */
	for (unsigned chosen = BUSY_POLL_TRIAL; chosen <= BUSY_POLL_CHOSEN; chosen *= 2) {
		assert_in_range(wait_times(&b, BUSY_POLL_TRIAL, 60, 40), 1, BUSY_POLL_TRIAL - 1);
		assert_int_equal(wait_times(&b, chosen, 60, 40), chosen);
	}
	/* Others have begun to work: who polls is in the way now. */
	assert_in_range(wait_times(&b, BUSY_POLL_TRIAL, 60, 90), 1, BUSY_POLL_TRIAL - 1);
	assert_int_equal(wait_times(&b, BUSY_POLL_CHOSEN, 60, 90), 0);
	wait_times(&b, BUSY_POLL_TRIAL, 60, 40);
	assert_int_equal(wait_times(&b, BUSY_POLL_CHOSEN, 60, 40), BUSY_POLL_CHOSEN);
}

static void what_makes_no_difference_is_slept(void **state)
{
	struct busy_poll b = {0};

	(void)state;
	wait_times(&b, BUSY_POLL_TRIAL, 60, 57);
	assert_int_equal(wait_times(&b, BUSY_POLL_TRIAL, 60, 57), 0);
	/* Far away, all wait equally long, one much longer than the other by chance. */
	wait_times(&b, BUSY_POLL_TRIAL, 20000, 10000);
	assert_int_equal(wait_times(&b, 2 * BUSY_POLL_TRIAL, 20000, 10000), 0);
	wait_times(&b, BUSY_POLL_TRIAL, 0, 0);
	assert_int_equal(wait_times(&b, 4 * BUSY_POLL_TRIAL, 0, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways_are_tried_in_runs_without_an_order),
		cmocka_unit_test(what_counts_is_what_comes_in_a_time),
		cmocka_unit_test(the_faster_way_is_taken_and_tried_again),
		cmocka_unit_test(what_makes_no_difference_is_slept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
