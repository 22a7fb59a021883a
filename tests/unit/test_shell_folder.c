/* SPDX-License-Identifier: MIT */
/* Where in the guest a folder of this machine is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "shell_folder.h"

static void expect(const struct shell_share *shares, size_t count, const char *folder, enum shell_place place,
		   const char *where)
{
	char *path;

	assert_int_equal(shell_folder_find(shares, count, folder, &path), place);
	if (where)
		assert_string_equal(path, where);
	else
		assert_null(path);
	free(path);
}

#define SHARE(source, target, mounted)                      \
	{                                                   \
		(char *)(source), (char *)(target), mounted \
	}

static void the_deepest_share_has_it(void **state)
{
	const struct shell_share shares[] = {
		SHARE("/home/me", "/home/me", true),
		SHARE("/home/me/src", "/src", true),
	};

	expect(shares, 2, "/home/me", SHELL_PLACE_IN_GUEST, "/home/me");
	expect(shares, 2, "/home/me/src", SHELL_PLACE_IN_GUEST, "/src");
	expect(shares, 2, "/home/me/src/a b", SHELL_PLACE_IN_GUEST, "/src/a b");
	expect(shares, 2, "/home/me/srcs", SHELL_PLACE_IN_GUEST, "/home/me/srcs");
	expect(shares, 2, "/home/mes", SHELL_PLACE_NONE, NULL);
	expect(shares, 2, "/", SHELL_PLACE_NONE, NULL);
	expect(shares, 0, "/home", SHELL_PLACE_NONE, NULL);
}

static void one_that_is_not_mounted_has_nothing_and_another_may(void **state)
{
	const struct shell_share shares[] = {
		SHARE("/home/me", "/home/me", true),
		SHARE("/home/me/src", "/src", false),
		SHARE("/srv", "/srv", false),
	};

	expect(shares, 3, "/home/me/src/x", SHELL_PLACE_IN_GUEST, "/home/me/src/x");
	expect(shares, 3, "/srv/x", SHELL_PLACE_UNMOUNTED, NULL);
}

static void what_another_share_covers_is_not_where_it_seems(void **state)
{
	const struct shell_share shares[] = {
		SHARE("/home/me", "/home/me", true),
		SHARE("/srv/data", "/home/me/src", true),
	};
	const struct shell_share twice[] = {
		SHARE("/home/me", "/home/me", true),
		SHARE("/srv/data", "/home/me/src", true),
		SHARE("/home", "/all", true),
	};

	expect(shares, 2, "/home/me/src/x", SHELL_PLACE_COVERED, NULL);
	expect(shares, 2, "/home/me/srcs", SHELL_PLACE_IN_GUEST, "/home/me/srcs");
	expect(shares, 2, "/srv/data/x", SHELL_PLACE_IN_GUEST, "/home/me/src/x");
	expect(twice, 3, "/home/me/src/x", SHELL_PLACE_IN_GUEST, "/all/me/src/x");
}

static void the_root_is_a_folder_like_any(void **state)
{
	const struct shell_share from[] = {SHARE("/", "/host", true)};
	const struct shell_share to[] = {SHARE("/srv", "/", true)};

	expect(from, 1, "/", SHELL_PLACE_IN_GUEST, "/host");
	expect(from, 1, "/etc/x", SHELL_PLACE_IN_GUEST, "/host/etc/x");
	expect(to, 1, "/srv", SHELL_PLACE_IN_GUEST, "/");
	expect(to, 1, "/srv/x", SHELL_PLACE_IN_GUEST, "/x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_deepest_share_has_it),
		cmocka_unit_test(one_that_is_not_mounted_has_nothing_and_another_may),
		cmocka_unit_test(what_another_share_covers_is_not_where_it_seems),
		cmocka_unit_test(the_root_is_a_folder_like_any),
	};

	return cmocka_run_group_tests_name("shell_folder", tests, NULL, NULL);
}
