/* SPDX-License-Identifier: MIT */
/* What is put into a file of the system's is taken out again to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "marked_block.h"

#define FIRST "# homeport: `homeport guest uninstall` takes this away, up to the line that says end.\n"
#define LAST  "# homeport: end\n"

static void check(const char *text, const char *body, const char *want)
{
	struct wire_buf out = {0};

	assert_int_equal(marked_block_edit(text, strlen(text), body, &out), 0);
	assert_int_equal(out.len, strlen(want));
	if (out.len)
		assert_memory_equal(out.data, want, out.len);
	wire_buf_free(&out);
}

static void it_stands_first_and_leaves_the_rest(void **state)
{
	(void)state;
	check("", "a\n", FIRST "a\n" LAST);
	check("x\ny", "a\nb\n", FIRST "a\nb\n" LAST "x\ny");
}

static void it_is_taken_away_wherever_it_is(void **state)
{
	static const char *const texts[] = {"", "x", "x\n", "x\n\n\ny", "\n", "# homeport: end\n"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(text, sizeof(text), "%s%s", FIRST "a\n" LAST, texts[i]);
		check(text, NULL, texts[i]);
		check(texts[i], NULL, texts[i]);
	}
	check("x\n" FIRST "a\n" LAST "y", NULL, "x\ny");
	check("x\n" FIRST "a\n" LAST "y", "b\n", FIRST "b\n" LAST "x\ny");
}

static void one_without_an_end_is_not_touched(void **state)
{
	static const char *const texts[] = {FIRST, FIRST "a\n", FIRST "a\n# homeport: end",
					    FIRST "a\n" LAST FIRST "b\n"};
	struct wire_buf out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(marked_block_edit(texts[i], strlen(texts[i]), NULL, &out), -EINVAL);
	wire_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_stands_first_and_leaves_the_rest),
		cmocka_unit_test(it_is_taken_away_wherever_it_is),
		cmocka_unit_test(one_without_an_end_is_not_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
