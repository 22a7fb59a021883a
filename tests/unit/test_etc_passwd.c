/* SPDX-License-Identifier: MIT */
/* One user's home changes, and no other byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "etc_passwd.h"

#define ROOT  "root:x:0:0:root:/root:/bin/bash\n"
#define OTHER "me2:x:3:3::/home/me:/bin/sh\n"

static void check(const char *text, unsigned changed, const char *want)
{
	struct wire_buf out = {0};

	assert_int_equal(etc_passwd_edit(text, strlen(text), "me", "/home/me", "/home/me.guest", &out), changed);
	assert_int_equal(out.len, strlen(want));
	if (out.len)
		assert_memory_equal(out.data, want, out.len);
	wire_buf_free(&out);
}

static void the_home_alone_changes(void **state)
{
	(void)state;
	check(ROOT "me:x:1:1:A B,,,:/home/me:/bin/bash\n" OTHER, 1,
	      ROOT "me:x:1:1:A B,,,:/home/me.guest:/bin/bash\n" OTHER);
	check("me:x:1:1::/home/me:", 1, "me:x:1:1::/home/me.guest:");
	check("me:x:1:1::/home/me", 1, "me:x:1:1::/home/me.guest");
	check("me:x:1:1::/home/me\n", 1, "me:x:1:1::/home/me.guest\n");
}

static void who_has_another_name_or_home_is_left_alone(void **state)
{
	static const char *const texts[] = {
		"",      ROOT OTHER, "me:x:1:1::/home/me2:\n", "me:x:1:1::/home/m:\n", "me\n",
		"\n\n:", "me:x:1:1", "#me:x:1:1::/home/me:\n", "+me:::::/home/me:\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check(texts[i], 0, texts[i]);
}

static void users_are_found_in_the_file(void **state)
{
	struct etc_user by_uid, by_name;

	(void)state;
	assert_int_equal(etc_passwd_by_uid(0, &by_uid), 0);
	assert_int_equal(etc_passwd_by_name(by_uid.name, &by_name), 0);
	assert_string_equal(by_name.home, by_uid.home);
	assert_int_equal(etc_passwd_by_name("nobody:of:this:name", &by_name), -2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_home_alone_changes),
		cmocka_unit_test(who_has_another_name_or_home_is_left_alone),
		cmocka_unit_test(users_are_found_in_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
