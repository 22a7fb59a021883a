/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "outlive.h"

static void assert_command(char *const argv[], const char *const want[])
{
	size_t i = 0;

	for (; want[i]; i++)
		assert_string_equal(argv[i], want[i]);
	assert_null(argv[i]);
}

static void a_session_of_its_own_is_this_very_program(void **state)
{
	static const char *const want[] = {"homeport-guest", "serve", "--on-demand", NULL};
	char self[] = "/home/me/.cache/homeport/0/homeport-guest", *argv[OUTLIVE_ARGV_MAX];

	(void)state;
	assert_string_equal(outlive_argv(OUTLIVE_PLAIN, self, argv), "/proc/self/exe");
	assert_command(argv, want);
}

/* systemd-run(1): --scope runs the command itself, in this process, with this environment. */
static void a_scope_is_the_users_managers(void **state)
{
	char self[] = "/home/me/.cache/homeport/0/homeport-guest", *argv[OUTLIVE_ARGV_MAX];
	const char *const want[] = {"systemd-run", "--user", "--scope", "--quiet",     "--collect",
				    "--",          self,     "serve",   "--on-demand", NULL};

	(void)state;
	assert_string_equal(outlive_argv(OUTLIVE_SCOPE, self, argv), "systemd-run");
	assert_command(argv, want);
}

static void only_a_yes_is_a_yes(void **state)
{
	(void)state;
	assert_true(outlive_is_yes("yes\n"));
	assert_true(outlive_is_yes("yes"));
	assert_false(outlive_is_yes("no\n"));
	assert_false(outlive_is_yes(""));
	assert_false(outlive_is_yes("yes, but\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_of_its_own_is_this_very_program),
		cmocka_unit_test(a_scope_is_the_users_managers),
		cmocka_unit_test(only_a_yes_is_a_yes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
