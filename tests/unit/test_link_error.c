/* SPDX-License-Identifier: MIT */
/* Why there is no connection, in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "link_error.h"

static void what_a_guest_says_stays_in_its_line(void **state)
{
	struct link_error err;

	link_error_set(&err, LINK_ERROR_PROTOCOL, "vm: %s", "disconnected: bye\nREADY=1\r\033[2J\x7f");
	assert_string_equal(err.sentence, "vm: disconnected: bye READY=1  [2J ");
}

static void what_does_not_fit_is_cut(void **state)
{
	struct link_error err;

	link_error_set(&err, LINK_ERROR_AUTH, "%*s", LINK_ERROR_SENTENCE + 10, "x");
	assert_int_equal(strlen(err.sentence), LINK_ERROR_SENTENCE - 1);
	assert_true(err.permanent);
	assert_string_equal(err.advice, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_guest_says_stays_in_its_line),
		cmocka_unit_test(what_does_not_fit_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
