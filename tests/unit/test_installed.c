/* SPDX-License-Identifier: MIT */
/* The record's lines, and what is remembered of several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "folder_users.h"
#include "installed.h"

static struct installed in;

static void a_line_comes_back_as_it_was_written(void **state)
{
	const struct change c = {CHANGE_HOME, "/home/a b", "me root"};
	struct change back;
	char line[256];

	(void)state;
	installed_line_print(&c, line, sizeof(line));
	assert_string_equal(line, "home\t/home/a b\tme root");
	assert_true(installed_line_parse(line, &back));
	assert_int_equal(back.kind, CHANGE_HOME);
	assert_string_equal(back.path, c.path);
	assert_string_equal(back.detail, c.detail);
}

static void what_is_no_line_is_refused(void **state)
{
	static const char *const lines[] = {"",          "home", "home\t/x", "hom\t/x\ty", "HOME\t/x\ty",
					    "home\t\ty", "\t\t", "home /x y"};
	struct change c;
	char line[CHANGE_PATH_MAX + CHANGE_DETAIL_MAX + 64];

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		strcpy(line, lines[i]);
		assert_false(installed_line_parse(line, &c));
	}
	snprintf(line, sizeof(line), "home\t%0*d\tx", CHANGE_PATH_MAX, 0);
	assert_false(installed_line_parse(line, &c));
	snprintf(line, sizeof(line), "home\t%0*d\tx", CHANGE_PATH_MAX - 1, 0);
	assert_true(installed_line_parse(line, &c));
	snprintf(line, sizeof(line), "home\t/x\t%0*d", CHANGE_DETAIL_MAX, 0);
	assert_false(installed_line_parse(line, &c));
}

static void until_it_is_done_the_old_one_is_remembered_too(void **state)
{
	const struct change older = {CHANGE_PROGRAM, "/p", "1"}, newer = {CHANGE_PROGRAM, "/p", "2"};
	const struct change other = {CHANGE_MANUAL, "/p", "1"};

	(void)state;
	in = (struct installed){.folder = -1};
	assert_int_equal(installed_add(&in, &older), 0);
	assert_int_equal(installed_add(&in, &other), 0);
	assert_int_equal(installed_add(&in, &newer), 0);
	assert_int_equal(installed_add(&in, &newer), 0);
	assert_int_equal(in.count, 3);
	assert_ptr_equal(installed_find(&in, CHANGE_PROGRAM, "/p", NULL), &in.changes[0]);
	assert_ptr_equal(installed_find(&in, CHANGE_PROGRAM, "/p", &in.changes[0]), &in.changes[2]);
	assert_null(installed_find(&in, CHANGE_PROGRAM, "/p", &in.changes[2]));
	installed_forget(&in, &newer, &newer);
	assert_int_equal(in.count, 2);
	assert_string_equal(installed_find(&in, CHANGE_PROGRAM, "/p", NULL)->detail, "2");
	installed_forget(&in, &older, NULL);
	assert_int_equal(in.count, 1);
	assert_int_equal(in.changes[0].kind, CHANGE_MANUAL);
}

static void one_too_many_is_refused(void **state)
{
	struct change c = {CHANGE_FOLDER, "", ""};

	(void)state;
	in = (struct installed){.folder = -1};
	for (int i = 0; i < CHANGES_MAX; i++) {
		snprintf(c.path, sizeof(c.path), "/%d", i);
		assert_int_equal(installed_add(&in, &c), 0);
	}
	snprintf(c.path, sizeof(c.path), "/more");
	assert_int_equal(installed_add(&in, &c), -ENOSPC);
}

static void paths_of_the_kernel_s_lists_are_unescaped(void **state)
{
	static const char *const pairs[][2] = {
		{"/a\\040b", "/a b"},        {"/a\\134040", "/a\\040"}, {"/\\", "/\\"}, {"/\\09", "/\\09"}, {"", ""},
		{"/\\303\\244", "/\303\244"}};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		strcpy(path, pairs[i][0]);
		folder_users_unescape(path);
		assert_string_equal(path, pairs[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_comes_back_as_it_was_written),
		cmocka_unit_test(what_is_no_line_is_refused),
		cmocka_unit_test(until_it_is_done_the_old_one_is_remembered_too),
		cmocka_unit_test(one_too_many_is_refused),
		cmocka_unit_test(paths_of_the_kernel_s_lists_are_unescaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
