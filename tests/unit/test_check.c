/* SPDX-License-Identifier: MIT */
/* What doctor finds, on its way from the guest to the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ctl_words.h"
#include "json.h"

static void what_one_side_puts_the_other_gets(void **state)
{
	struct check in = {.name = "/dev/fuse"}, out;
	char line[CHECK_LINE_MAX];

	check_say(&in, CHECK_PROBLEM, "100%% of \"it\": %s", "caf\xc3\xa9");
	check_put(&in, line);
	assert_true(check_get(line, &out));
	assert_int_equal(out.verdict, CHECK_PROBLEM);
	assert_string_equal(out.name, in.name);
	assert_string_equal(out.what, "100% of \"it\": caf\xc3\xa9");
	assert_string_equal(out.todo, "");
	check_advise(&in, "do %s", "this");
	check_put(&in, line);
	assert_null(strchr(line, '\n'));
	assert_true(check_get(line, &out));
	assert_string_equal(out.todo, "do this");
}

static void the_longest_fits_into_a_line(void **state)
{
	struct check in = {.name = ""}, out;
	char line[CHECK_LINE_MAX], text[2000];

	memset(text, '%', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memset(in.name, ' ', sizeof(in.name) - 1);
	check_say(&in, CHECK_NOTE, "%s", text);
	check_advise(&in, "%s", text);
	check_put(&in, line);
	assert_true(check_get(line, &out));
	assert_string_equal(out.name, in.name);
	assert_string_equal(out.what, in.what);
	assert_string_equal(out.todo, in.todo);
}

static void nothing_that_comes_reaches_a_terminal_as_it_is(void **state)
{
	char line[CHECK_LINE_MAX] = "", *shown = NULL;
	struct check check;
	size_t size;
	FILE *out;

	assert_true(ctl_words_add(line, sizeof(line), "ok"));
	assert_true(ctl_words_add(line, sizeof(line), "\033[2Jkernel"));
	assert_true(ctl_words_add(line, sizeof(line), "fine\nPROBLEM\x9b"));
	assert_true(ctl_words_add(line, sizeof(line), "\r\a"));
	assert_true(check_get(line, &check));
	out = open_memstream(&shown, &size);
	assert_non_null(out);
	check_print(&check, out);
	fclose(out);
	for (size_t i = 0; i + 1 < size; i++)
		assert_true((unsigned char)shown[i] >= ' ' && (unsigned char)shown[i] < 0x7f);
	assert_string_equal(shown, "  OK       \\x1b[2Jkernel: fine\\x0aPROBLEM\\x9b; \\x0d\\x07\n");
	free(shown);
}

static void what_is_no_such_line_is_refused(void **state)
{
	static const char *const lines[] = {"",
					    "ok",
					    "ok name",
					    "fine name what",
					    "ok name what do more",
					    "OK name what",
					    "ok name %00",
					    "ok  what",
					    "ok name what%",
					    "done",
					    "clock 1.5"};
	struct check check;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char line[100];

		snprintf(line, sizeof(line), "%s", lines[i]);
		assert_false(check_get(line, &check));
	}
}

static void a_kernel_is_new_enough_or_not(void **state)
{
	struct check check = {.name = "kernel"};

	check_kernel_is(&check, 5, 10);
	assert_int_equal(check.verdict, CHECK_OK);
	check_kernel_is(&check, 999, 0);
	assert_int_equal(check.verdict, CHECK_PROBLEM);
	assert_non_null(strstr(check.what, "; 999.0 is the first that will do"));
}

static void json_has_each_part_and_null_where_nothing_is_to_do(void **state)
{
	struct check check = {.name = "clock"};
	struct json json = {0};

	json_open(&json, NULL, '[');
	check_say(&check, CHECK_OK, "right");
	check_json(&check, "host", &json);
	json_close(&json, ']');
	assert_memory_equal(
		json.out.data,
		"[{\"side\":\"host\",\"name\":\"clock\",\"verdict\":\"ok\",\"what\":\"right\",\"do\":null}]",
		json.out.len);
	json_free(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_one_side_puts_the_other_gets),
		cmocka_unit_test(the_longest_fits_into_a_line),
		cmocka_unit_test(nothing_that_comes_reaches_a_terminal_as_it_is),
		cmocka_unit_test(what_is_no_such_line_is_refused),
		cmocka_unit_test(a_kernel_is_new_enough_or_not),
		cmocka_unit_test(json_has_each_part_and_null_where_nothing_is_to_do),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
