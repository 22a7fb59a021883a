/* SPDX-License-Identifier: MIT */
/* Who a process is: its user's name and its unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "sockowner.h"

static void the_unit_is_the_first_that_is_no_slice_and_below_a_user_s_manager_its_own(void **state)
{
	static const struct {
		const char *cgroup, *unit;
	} rows[] = {
		{"/system.slice/nginx.service", "nginx.service"},
		{"/system.slice/docker-0a1b.scope/init", "docker-0a1b.scope"},
		{"/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"},
		{"/system.slice/containerd.service/kube.slice/other.service", "containerd.service"},
		{"/user.slice/user-1000.slice/session-3.scope", "session-3.scope"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"},
		{"/user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope"},
		{"/user.slice/user-1000.slice/user@1000.service", "user@1000.service"},
		{"/init.scope", "init.scope"},
		{"/", ""},
		{"", ""},
		{"/.service", ""},
		{"/lxc/vm/ns", ""},
		{"/system.slice", ""},
	};
	char unit[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(sockowner_unit_of(rows[i].cgroup, unit, sizeof(unit)), rows[i].unit);
}

static void a_long_unit_is_cut_and_a_strange_one_printable(void **state)
{
	char unit[16];

	(void)state;
	assert_string_equal(sockowner_unit_of("/a-very-long-name-of-a-unit.service", unit, sizeof(unit)),
			    "a-very-long-...");
	assert_null(strchr(sockowner_unit_of("/a\x1b[2J.service", unit, sizeof(unit)), '\x1b'));
}

static void users_are_named_by_the_file_alone(void **state)
{
	char name[33];

	(void)state;
	assert_string_equal(sockowner_user(0, name, sizeof(name)), "root");
	assert_string_equal(sockowner_user(4294967294u, name, sizeof(name)), "");
}

static void a_process_that_is_gone_has_no_unit(void **state)
{
	char unit[64] = "x";

	(void)state;
	assert_string_equal(sockowner_unit(0x7fffffff, unit, sizeof(unit)), "");
	sockowner_unit((uint32_t)getpid(), unit, sizeof(unit)); /* whatever it is, it is a string */
	assert_true(strlen(unit) < sizeof(unit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_unit_is_the_first_that_is_no_slice_and_below_a_user_s_manager_its_own),
		cmocka_unit_test(a_long_unit_is_cut_and_a_strange_one_printable),
		cmocka_unit_test(users_are_named_by_the_file_alone),
		cmocka_unit_test(a_process_that_is_gone_has_no_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
