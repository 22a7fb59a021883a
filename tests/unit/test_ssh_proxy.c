/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "ssh_proxy.h"

static void assert_same(const char *got, const char *want)
{
	if (want)
		assert_string_equal(got, want);
	else
		assert_null(got);
}

static void a_hop_is_split_into_user_host_and_port(void **state)
{
	static const struct {
		const char *text, *user, *host, *port;
	} rows[] = {
		{"h", NULL, "h", NULL},
		{"u@h", "u", "h", NULL},
		{"h:22", NULL, "h", "22"},
		{"u@h:22", "u", "h", "22"},
		{"u@domain@h", "u@domain", "h", NULL},
		{"::1", NULL, "::1", NULL},
		{"[::1]", NULL, "::1", NULL},
		{"u@[::1]:22", "u", "::1", "22"},
		{"ssh://u@h:22", "u", "h", "22"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ssh_hop hop;
		char text[64];

		snprintf(text, sizeof(text), "%s", rows[i].text);
		assert_true(ssh_hop_parse(text, &hop));
		assert_same(hop.user, rows[i].user);
		assert_same(hop.host, rows[i].host);
		assert_same(hop.port, rows[i].port);
	}
}

static void a_hop_without_a_host_is_refused(void **state)
{
	static const char *const rows[] = {"", "u@", ":22", "[::1", "[]:22"};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ssh_hop hop;
		char text[64];

		snprintf(text, sizeof(text), "%s", rows[i]);
		assert_false(ssh_hop_parse(text, &hop));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hop_is_split_into_user_host_and_port),
		cmocka_unit_test(a_hop_without_a_host_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
