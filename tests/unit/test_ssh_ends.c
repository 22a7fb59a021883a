/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ssh_ends.h"

static void both_ends_are_read(void **state)
{
	char text[SOCK_ADDRESS_TEXT_MAX];
	struct ssh_ends ends;

	(void)state;
	assert_true(ssh_ends_read("10.0.2.2 51234 10.0.2.15 22", &ends));
	assert_string_equal(sock_address_text(text, &ends.client), "10.0.2.2:51234");
	assert_string_equal(sock_address_text(text, &ends.server), "10.0.2.15:22");
	assert_true(ssh_ends_read("fd00::1 51234 fd00::2 2222", &ends));
	assert_string_equal(sock_address_text(text, &ends.client), "[fd00::1]:51234");
	assert_string_equal(sock_address_text(text, &ends.server), "[fd00::2]:2222");
}

static void what_is_none_has_no_length(void **state)
{
	static const char *const others[] = {
		"",
		"UNKNOWN 65535 UNKNOWN 65535",
		"10.0.2.2 51234 10.0.2.15",
		"10.0.2.2 51234 10.0.2.15 66000",
		"fe80::1%eth0 51234 fe80::2%eth0 22",
		"10.0.2.2 51234 guest 22",
		"1000000000000000000000000000000000000000000000000000000000000000000000000000000 1 ::1 22",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct ssh_ends ends;

		memset(&ends, 0x5a, sizeof(ends));
		assert_false(ssh_ends_read(others[i], &ends));
		assert_int_equal(ends.client.len + ends.server.len, 0);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(both_ends_are_read),
	cmocka_unit_test(what_is_none_has_no_length),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
