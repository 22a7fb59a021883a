/* SPDX-License-Identifier: MIT */
/* mount_policy: who may have the helper mount, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "mount_policy.h"

static char why[400];

static int ask(const char *text, const char *target)
{
	why[0] = '\0';
	return mount_policy_check(text, "me", 1000, target, why, sizeof(why));
}

static void who_is_named_has_the_places_of_the_line_and_what_lies_below(void **state)
{
	static const char text[] = "# a comment\n\nyou /srv\nme\t/home/me  /data/x # and here\r\n";

	assert_int_equal(ask(text, "/home/me"), 0);
	assert_int_equal(ask(text, "/home/me/src"), 0);
	assert_int_equal(ask(text, "/data/x/y/z"), 0);
	assert_int_equal(ask(text, "/home/meow"), -EACCES);
	assert_int_equal(ask(text, "/home"), -EACCES);
	assert_int_equal(ask(text, "/srv"), -EACCES);
	assert_string_equal(why, "/srv: /etc/homeport/mounts.conf does not give it to me");
	assert_int_equal(ask("1000 /srv", "/srv/a"), 0);
	assert_int_equal(ask("100 /srv\n10000 /srv\nm /srv\nmee /srv", "/srv/a"), -EACCES);
	assert_int_equal(ask("me /a\nme /b", "/b"), 0);
}

static void who_is_named_without_places_has_all(void **state)
{
	assert_int_equal(ask("me", "/anywhere"), 0);
	assert_int_equal(ask("  me  # all\n", "/anywhere"), 0);
	assert_int_equal(ask("", "/anywhere"), -EACCES);
	assert_int_equal(ask("#me", "/anywhere"), -EACCES);
	/* A user without a name is nobody's line but the number's. */
	assert_int_equal(mount_policy_check("x\n", "", 1000, "/a", why, sizeof(why)), -EACCES);
	assert_int_equal(mount_policy_check("1000\n", "", 1000, "/a", why, sizeof(why)), 0);
}

static void who_is_named_at_all_has_what_is_at_no_place(void **state)
{
	assert_int_equal(ask("you /srv\nme /home/me\n", NULL), 0);
	assert_int_equal(ask("me", NULL), 0);
	assert_int_equal(ask("you\n", NULL), -EACCES);
	assert_string_equal(why, "/etc/homeport/mounts.conf does not name me");
	assert_int_equal(ask("me /ok\nyou etc", NULL), -EACCES);
}

static void a_line_that_cannot_be_read_gives_nobody_anything(void **state)
{
	static const char *const bad[] = {"me /ok\nyou ok", "me /ok\nyou /etc", "me /ok\nyou /a/../b", "me /ok\nyou /",
					  "you //\nme /ok"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ask(bad[i], "/ok"), -EACCES);
	ask("me /ok\nyou etc", "/ok");
	assert_string_equal(why, "/etc/homeport/mounts.conf:2: not a user and mount points");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_named_has_the_places_of_the_line_and_what_lies_below),
		cmocka_unit_test(who_is_named_without_places_has_all),
		cmocka_unit_test(who_is_named_at_all_has_what_is_at_no_place),
		cmocka_unit_test(a_line_that_cannot_be_read_gives_nobody_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
