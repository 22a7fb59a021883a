/* SPDX-License-Identifier: MIT */
/* Requests of the control socket: any bytes in, and the same bytes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ctl_words.h"

static void words_of_any_bytes_come_out_as_they_went_in(void **state)
{
	static const char *const in[] = {"mount", "/a b/%41/\xe9\n\x7f\x01", "%", " "};
	char text[256] = "", *out[CTL_WORDS_MAX];

	for (size_t i = 0; i < 4; i++)
		assert_true(ctl_words_add(text, sizeof(text), in[i]));
	for (const char *p = text; *p; p++)
		assert_true(*p >= ' ' && *p < 0x7f);
	assert_int_equal(ctl_words_split(text, out), 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(out[i], in[i]);
}

static void what_has_no_room_is_left_out_whole(void **state)
{
	char text[16] = "";

	assert_true(ctl_words_add(text, sizeof(text), "mount"));
	assert_false(ctl_words_add(text, sizeof(text), "0123456789"));
	assert_string_equal(text, "mount");
	assert_false(ctl_words_add(text, sizeof(text), ""));
	assert_true(ctl_words_add(text, sizeof(text), "\n"));
	assert_string_equal(text, "mount %0A");
}

static void what_is_no_request_is_refused(void **state)
{
	static const char *const lines[] = {
		"", " ", "a ", " a", "a  b", "%", "%4", "%00", "a%0G", "%4g", "1 2 3 4 5 6 7 8 9"};
	char *words[CTL_WORDS_MAX], text[64];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "%s", lines[i]);
		if (ctl_words_split(text, words) != 0)
			fail_msg("taken: \"%s\"", lines[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_any_bytes_come_out_as_they_went_in),
		cmocka_unit_test(what_has_no_room_is_left_out_whole),
		cmocka_unit_test(what_is_no_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
