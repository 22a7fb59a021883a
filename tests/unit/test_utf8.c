/* SPDX-License-Identifier: MIT */
/* UTF-8: what is a character, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "utf8.h"

static size_t read_text(const char *text, uint32_t *point)
{
	return utf8_read((const uint8_t *)text, strlen(text), point);
}

static void a_character_of_each_length_is_read(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		uint32_t point;
	} rows[] = {
		{"a", 1, 'a'},
		{"\x7f", 1, 0x7f},
		{"\xc2\x80", 2, 0x80},
		{"\xc3\xa4x", 2, 0xe4},
		{"\xe0\xa0\x80", 3, 0x800},
		{"\xed\x9f\xbf", 3, 0xd7ff},
		{"\xef\xbf\xbf", 3, 0xffff},
		{"\xf0\x90\x80\x80", 4, 0x10000},
		{"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t point = 0;

		assert_int_equal(read_text(rows[i].text, &point), rows[i].length);
		assert_int_equal(point, rows[i].point);
	}
}

static void what_is_no_character_is_refused(void **state)
{
	static const char *const rows[] = {
		"\x80",
		"\xbf",
		"\xc3",
		"\xc3(",
		"\xe2\x82",
		"\xc0\xaf",
		"\xc1\xbf",
		"\xe0\x9f\xbf",
		"\xf0\x8f\xbf\xbf", /* not the shortest form */
		"\xed\xa0\x80",
		"\xed\xbf\xbf", /* surrogates */
		"\xf4\x90\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xff",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t point = 77;

		assert_int_equal(read_text(rows[i], &point), 0);
		assert_int_equal(point, 77);
	}
}

static void a_character_cut_off_is_not_read_past_its_end(void **state)
{
	static const char euro[] = "\xe2\x82\xac";
	uint32_t point;

	for (size_t len = 1; len < 3; len++)
		assert_int_equal(utf8_read((const uint8_t *)euro, len, &point), 0);
	assert_int_equal(utf8_read((const uint8_t *)euro, 3, &point), 3);
	assert_int_equal(utf8_read((const uint8_t *)"", 1, &point), 1);
	assert_int_equal(point, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_character_of_each_length_is_read),
		cmocka_unit_test(what_is_no_character_is_refused),
		cmocka_unit_test(a_character_cut_off_is_not_read_past_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
