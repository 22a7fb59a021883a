/* SPDX-License-Identifier: MIT */
/* Whether the clock is set, and by how much. No clock of this machine is touched: those here are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock_step.h"
#include "log.h"

#define S   1000000ull
#define NOW (1800000000ull * S)

static uint64_t boot, real;
static int64_t stepped;
static unsigned steps;
static int step_result;
static uint64_t asked;
static unsigned asks;
static char logged[512];

static uint64_t boot_us(void)
{
	return boot;
}

static uint64_t real_us(void)
{
	return real;
}

static int do_step(int64_t offset_us)
{
	steps++;
	stepped = offset_us;
	if (step_result == 0)
		real += (uint64_t)offset_us;
	return step_result;
}

static const struct clock_ops ops = {boot_us, real_us, do_step};

static void on_ask(void *ctx, uint64_t token)
{
	(void)ctx;
	asked = token;
	asks++;
}

static const struct clock_events events = {on_ask};

static void on_log(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	snprintf(logged, sizeof(logged), "%s", line);
}

static int begin(void **state)
{
	boot = 100 * S;
	real = NOW;
	stepped = 0;
	steps = asks = 0;
	step_result = 0;
	asked = 0;
	logged[0] = '\0';
	*state = clock_step_new(&ops, &events, NULL);
	log_set_sink(on_log, NULL);
	return *state ? 0 : -1;
}

static int end(void **state)
{
	log_set_sink(NULL, NULL);
	clock_step_free(*state);
	return 0;
}

/* An answer that takes so long, of a host whose clock is ahead of ours by so much when it is half way. */
static int answer(struct clock_step *c, uint64_t round_us, int64_t ahead_us)
{
	uint64_t host = (uint64_t)((int64_t)real + ahead_us) + round_us / 2;

	boot += round_us;
	real += round_us;
	return clock_step_answer(c, asked, host);
}

static void a_late_clock_is_set_and_half_of_the_round_is_added(void **state)
{
	struct clock_step *c = *state;

	clock_step_check(c);
	assert_int_equal(answer(c, 40000, 3600 * (int64_t)S), 0);
	assert_int_equal(steps, 1);
	assert_int_equal(stepped, 3600 * S);
	assert_non_null(strstr(logged, "the clock was 3600.0 s behind the host's, and is set to it"));
	clock_step_check(c);
	assert_int_equal(answer(c, 40000, 0), 0);
	assert_int_equal(steps, 1);
}

static void less_than_a_second_is_left_alone_and_a_clock_ahead_is_never_set_back(void **state)
{
	struct clock_step *c = *state;
	static const int64_t left[] = {0, 999999, -999999, (int64_t)S, -(int64_t)S, -3600 * (int64_t)S};

	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		clock_step_check(c);
		assert_int_equal(answer(c, 1000, left[i]), 0);
	}
	assert_int_equal(steps, 0);
	assert_non_null(strstr(logged, "the clock is 3600.0 s ahead of the host's; it is not set back"));
	clock_step_check(c);
	assert_int_equal(answer(c, 1000, S + 1), 0);
	assert_int_equal(steps, 1);
}

static void an_answer_that_took_too_long_is_asked_for_again_and_not_for_ever(void **state)
{
	struct clock_step *c = *state;

	clock_step_check(c);
	assert_int_equal(answer(c, CLOCK_ROUND_US + 1, 60 * S), 0);
	assert_int_equal(asks, 2);
	assert_int_equal(answer(c, CLOCK_ROUND_US, 60 * S), 0);
	assert_int_equal(stepped, 60 * S);
	clock_step_check(c);
	for (int i = 0; i < CLOCK_TRIES; i++)
		assert_int_equal(answer(c, S, 60 * S), 0);
	assert_int_equal(asks, 2 + CLOCK_TRIES);
	assert_int_equal(steps, 1);
	assert_non_null(strstr(logged, "not known well enough"));
}

static void a_sleep_between_question_and_answer_is_no_round(void **state)
{
	struct clock_step *c = *state;
	uint64_t host = real;

	clock_step_check(c);
	boot += 7200 * S; /* it runs on, and so does the clock that is asked about */
	real += 7200 * S;
	assert_int_equal(clock_step_answer(c, asked, host), 0);
	assert_int_equal(asks, 2);
	assert_int_equal(steps, 0);
}

static void a_host_whose_clock_is_not_set_is_not_believed(void **state)
{
	static const uint64_t times[] = {0, 1, 1699999999ull * S, UINT64_MAX, INT64_MAX};
	struct clock_step *c = *state;

	real = 0;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		clock_step_check(c);
		for (int n = 0; n < CLOCK_TRIES; n++)
			assert_int_equal(clock_step_answer(c, asked, times[i]), 0);
	}
	assert_int_equal(steps, 0);
	clock_step_check(c);
	assert_int_equal(clock_step_answer(c, asked, NOW), 0);
	assert_int_equal(stepped, NOW);
}

static void only_what_was_asked_is_taken(void **state)
{
	struct clock_step *c = *state;

	assert_int_equal(clock_step_answer(c, 0, NOW), -EPROTO);
	assert_int_equal(clock_step_answer(c, 1, NOW), -EPROTO);
	clock_step_check(c);
	clock_step_check(c);
	assert_int_equal(asked, 2);
	assert_int_equal(clock_step_answer(c, 1, NOW + 60 * S), 0); /* late */
	assert_int_equal(clock_step_answer(c, 3, NOW + 60 * S), -EPROTO);
	assert_int_equal(steps, 0);
	assert_int_equal(clock_step_answer(c, 2, NOW + 60 * S), 0);
	assert_int_equal(clock_step_answer(c, 2, NOW + 6000 * S), 0);
	assert_int_equal(steps, 1);
}

static void what_may_not_be_set_is_told_once(void **state)
{
	struct clock_step *c = *state;

	step_result = -EPERM;
	clock_step_check(c);
	assert_int_equal(answer(c, 0, 60 * S), 0);
	assert_non_null(strstr(logged, "60.0 s behind the host's, and cannot be set: Operation not permitted; "
				       "homeport-guest(8), CLOCK, says what that takes"));
	logged[0] = '\0';
	clock_step_check(c);
	assert_int_equal(answer(c, 0, 60 * S), 0);
	assert_string_equal(logged, "");
	assert_int_equal(steps, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_late_clock_is_set_and_half_of_the_round_is_added, begin, end),
		cmocka_unit_test_setup_teardown(less_than_a_second_is_left_alone_and_a_clock_ahead_is_never_set_back,
						begin, end),
		cmocka_unit_test_setup_teardown(an_answer_that_took_too_long_is_asked_for_again_and_not_for_ever, begin,
						end),
		cmocka_unit_test_setup_teardown(a_sleep_between_question_and_answer_is_no_round, begin, end),
		cmocka_unit_test_setup_teardown(a_host_whose_clock_is_not_set_is_not_believed, begin, end),
		cmocka_unit_test_setup_teardown(only_what_was_asked_is_taken, begin, end),
		cmocka_unit_test_setup_teardown(what_may_not_be_set_is_told_once, begin, end),
	};

	return cmocka_run_group_tests_name("clock_step", tests, NULL, NULL);
}
