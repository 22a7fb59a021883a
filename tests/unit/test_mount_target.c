/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mount_target.h"

static char where[200], text[300];

static int resolve(const char *target, const char *home)
{
	return mount_target_resolve(target, home, where, sizeof(where), text, sizeof(text));
}

static void another_place_is_taken_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(resolve("/home/host", "/home/me"), 0);
	assert_string_equal(where, "/home/host");
	assert_string_equal(text, "");
	assert_int_equal(resolve("/home/me2/", "/home/me"), 0);
	assert_string_equal(where, "/home/me2");
	assert_int_equal(resolve("/home/me/src", "/home/me"), 0);
}

static void over_the_home_goes_beside(void **state)
{
	(void)state;
	assert_int_equal(resolve("/home/me//", "/home/me"), 0);
	assert_string_equal(where, "/home/me/host");
	assert_non_null(strstr(text, ".ssh"));
}

static void around_the_home_is_refused(void **state)
{
	(void)state;
	assert_int_equal(resolve("/home", "/home/me"), -EEXIST);
	assert_int_equal(resolve("/", "/home/me"), -EEXIST);
	assert_non_null(strstr(text, "/home/me"));
}

static void what_is_no_plain_absolute_path_is_refused(void **state)
{
	static const char *const wrong[] = {"", "a", "/a/../b", "/a/./b", "/..", "/a//b"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_int_equal(resolve(wrong[i], "/home/me"), -EINVAL);
	assert_int_equal(mount_target_resolve("/a-long-one", NULL, where, 4, text, sizeof(text)), -ENAMETOOLONG);
}

static void the_systems_folders_are_not_for_users(void **state)
{
	static const char *const no[] = {"/", "/etc", "/etc/x", "/usr/local", "/bin", "/var/lib/x", "/a/../etc"};
	static const char *const yes[] = {"/home/me", "/root", "/Users/me", "/srv/x", "/etcetera", "/mnt", "/tmp/x"};

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		assert_false(mount_target_allowed(no[i]));
	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
		assert_true(mount_target_allowed(yes[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_place_is_taken_as_it_is),
		cmocka_unit_test(over_the_home_goes_beside),
		cmocka_unit_test(around_the_home_is_refused),
		cmocka_unit_test(what_is_no_plain_absolute_path_is_refused),
		cmocka_unit_test(the_systems_folders_are_not_for_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
