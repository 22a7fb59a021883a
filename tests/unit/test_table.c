/* SPDX-License-Identifier: MIT */
/* table: columns as wide as their widest cell, in characters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "table.h"

static void assert_printed(struct table *t, const char *want)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	table_print(t, "  ", out);
	fclose(out);
	assert_string_equal(text, want);
	free(text);
	table_clear(t);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
	struct table t = {.columns = 3};

	table_add(&t, "A");
	table_add(&t, "LONG HEAD");
	table_add(&t, "Z");
	table_addf(&t, "%d items", 12);
	table_add(&t, "x");
	table_add(&t, "end");
	assert_printed(&t, "  A         LONG HEAD  Z\n  12 items  x          end\n");
}

static void characters_count_not_bytes(void **state)
{
	struct table t = {.columns = 2};

	table_add(&t, "\xc3\xa9\xc3\xa9");
	table_add(&t, "b");
	table_add(&t, "abc");
	table_add(&t, "d");
	assert_printed(&t, "  \xc3\xa9\xc3\xa9   b\n  abc  d\n");
}

static void empty_cells_at_the_end_leave_no_blanks(void **state)
{
	struct table t = {.columns = 3};

	table_add(&t, "a");
	table_add(&t, NULL);
	table_add(&t, "");
	table_add(&t, "");
	table_add(&t, "b");
	table_add(&t, "");
	assert_printed(&t, "  a\n     b\n");
}

static void a_table_without_rows_prints_nothing(void **state)
{
	struct table t = {.columns = 2};

	table_add(&t, "half a row");
	assert_printed(&t, "");
}

static void a_sentence_stands_below_its_row_and_no_line_is_longer_than_80(void **state)
{
	struct table t = {.columns = 2};

	table_add(&t, "a");
	table_add(&t, "b");
	table_add(&t, "c");
	table_add(&t, "d");
	table_note(&t, "this is a sentence that takes more than one line, because it goes on until it is "
		       "\xc3\xa9\xc3\xa9 long");
	table_add(&t, "e");
	table_add(&t, "f");
	table_note(&t, "short");
	assert_printed(&t, "  a  b\n  c  d\n"
			   "      this is a sentence that takes more than one line, because it goes on until\n"
			   "      it is \xc3\xa9\xc3\xa9 long\n"
			   "  e  f\n      short\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(characters_count_not_bytes),
		cmocka_unit_test(empty_cells_at_the_end_leave_no_blanks),
		cmocka_unit_test(a_sentence_stands_below_its_row_and_no_line_is_longer_than_80),
		cmocka_unit_test(a_table_without_rows_prints_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
