/* SPDX-License-Identifier: MIT */
/* wrap: sentences in lines of 80 characters, by words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wrap.h"

static char *text;
static size_t text_len;

static FILE *begin(void)
{
	FILE *out = open_memstream(&text, &text_len);

	assert_non_null(out);
	return out;
}

static void assert_written(FILE *out, const char *want)
{
	fclose(out);
	assert_string_equal(text, want);
	free(text);
}

#define FORTY "1234567 1234567 1234567 1234567 1234567"

static void a_line_holds_80_characters_and_a_word_more_is_the_next_lines(void **state)
{
	FILE *out = begin();

	wrap_print(out, 0, FORTY " " FORTY "8 next");
	assert_written(out, FORTY " " FORTY "8\nnext");
	out = begin();
	wrap_print(out, 0, FORTY " " FORTY "89 next");
	assert_written(out, FORTY " 1234567 1234567 1234567 1234567\n123456789 next");
}

static void further_lines_begin_where_the_first_did(void **state)
{
	FILE *out = begin();

	fputs("abc", out);
	wrap_print(out, 3, FORTY " " FORTY);
	assert_written(out, "abc" FORTY " 1234567 1234567 1234567 1234567\n   1234567");
}

static void characters_count_not_bytes(void **state)
{
	FILE *out = begin();

	assert_int_equal(wrap_width("\xc3\xa9t\xc3\xa9"), 3);
	wrap_print(out, 0, FORTY " " FORTY "\xc3\xa9");
	assert_written(out, FORTY " " FORTY "\xc3\xa9");
}

static void a_word_longer_than_a_line_stays_whole(void **state)
{
	char word[101] = "", want[110];
	FILE *out = begin();

	memset(word, 'x', 100);
	snprintf(want, sizeof(want), "a\n%s\nb", word);
	fputs("", out);
	wrap_print(out, 0, "a");
	wrap_print(out, 0, "");
	fputc('\n', out);
	wrap_print(out, 0, word);
	fputc('\n', out);
	wrap_print(out, 0, "b");
	assert_written(out, want);
}

static void what_is_long_has_its_meaning_below(void **state)
{
	FILE *out = begin();

	wrap_row(out, "-F FILE", 12, "short");
	wrap_row(out, "123456789", 12, "just beside");
	wrap_row(out, "1234567890", 12, "no room");
	assert_written(out, "  -F FILE   short\n  123456789 just beside\n  1234567890\n            no room\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_holds_80_characters_and_a_word_more_is_the_next_lines),
		cmocka_unit_test(further_lines_begin_where_the_first_did),
		cmocka_unit_test(characters_count_not_bytes),
		cmocka_unit_test(a_word_longer_than_a_line_stays_whole),
		cmocka_unit_test(what_is_long_has_its_meaning_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
