/* SPDX-License-Identifier: MIT */
/* Which extended attributes are a guest's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "xattr_name.h"

static void names_of_users_are_the_guests(void **state)
{
	static const char *const names[] = {"user.a", "user.", "user.homeport", "user.homeporter.x", "user.a/b"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(xattr_name_check(names[i], false, i % 2), 0);
		assert_int_equal(xattr_name_check(names[i], true, i % 2), 0);
	}
}

static void what_needs_privileges_or_is_ours_is_not_there_and_cannot_be_made(void **state)
{
	static const char *const names[] = {"security.capability", "trusted.x", "user.homeport.",
					    "user.homeport.owner"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(xattr_name_check(names[i], false, i % 2), -ENODATA);
		assert_int_equal(xattr_name_check(names[i], true, i % 2), -EPERM);
	}
}

static void all_else_is_not_supported(void **state)
{
	static const char *const names[] = {"system.posix_acl", "security.selinux",         "", "user", "USER.a",
					    "other.x",          "system.posix_acl_accesses"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(xattr_name_check(names[i], false, i % 2), -EOPNOTSUPP);
		assert_int_equal(xattr_name_check(names[i], true, i % 2), -EOPNOTSUPP);
	}
}

static void acls_are_the_guests_where_the_share_has_them(void **state)
{
	static const char *const names[] = {"system.posix_acl_access", "system.posix_acl_default"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(xattr_name_is_acl(names[i]));
		assert_int_equal(xattr_name_check(names[i], false, true), 0);
		assert_int_equal(xattr_name_check(names[i], true, true), 0);
		assert_int_equal(xattr_name_check(names[i], false, false), -EOPNOTSUPP);
		assert_int_equal(xattr_name_check(names[i], true, false), -EOPNOTSUPP);
	}
	assert_false(xattr_name_is_acl("user.posix_acl_access"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_users_are_the_guests),
		cmocka_unit_test(what_needs_privileges_or_is_ours_is_not_there_and_cannot_be_made),
		cmocka_unit_test(all_else_is_not_supported),
		cmocka_unit_test(acls_are_the_guests_where_the_share_has_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
