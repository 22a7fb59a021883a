/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "own_unit.h"

static void one_that_systemd_means_to_start_is_waited_for(void **state)
{
	(void)state;
	assert_true(own_unit_says_coming("SubState=auto-restart\n"));
	assert_true(own_unit_says_coming("SubState=auto-restart-queued\n")); /* systemd 254 */
	assert_true(own_unit_says_coming("Job=17\nSubState=start\n"));
	assert_true(own_unit_says_coming("SubState=start-pre\n"));
	assert_true(own_unit_says_coming("Job=17\nSubState=dead\n"));
	assert_true(own_unit_says_coming("SubState=dead\nJob=17\n"));
}

static void one_that_runs_or_that_nobody_wants_is_not(void **state)
{
	(void)state;
	assert_false(own_unit_says_coming("SubState=running\n"));
	assert_false(own_unit_says_coming("Job=17\nSubState=stop-sigterm\n"));
	assert_false(own_unit_says_coming("SubState=dead\n"));
	assert_false(own_unit_says_coming("Job=0\nSubState=dead\n"));
	assert_false(own_unit_says_coming("SubState=failed\n"));
	assert_false(own_unit_says_coming(""));
	assert_false(own_unit_says_coming("System has not been booted with systemd as init system (PID 1).\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_systemd_means_to_start_is_waited_for),
		cmocka_unit_test(one_that_runs_or_that_nobody_wants_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
