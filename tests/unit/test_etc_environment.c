/* SPDX-License-Identifier: MIT */
/* The block in /etc/environment: put in front, replaced, taken out again, and all else as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etc_environment.h"
#include "wire.h"

#define ID    "0102030405060708090a0b0c0d0e0f10"
#define FIRST "# homeport " ID ": until its end, of a host that is connected\n"
#define LAST  "# homeport " ID ": end\n"
#define BLOCK FIRST "http_proxy=\"http://127.0.0.1:3128\"\nA=\"\"\n" LAST

static const uint8_t id[SESSION_ID_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t other[SESSION_ID_SIZE] = {0xff};
static char *const variables[] = {(char *)"http_proxy=http://127.0.0.1:3128", (char *)"Q=a\"b", (char *)"D=$x",
				  (char *)"N=a\nLD_PRELOAD=/x", (char *)"A="};
#define COUNT (sizeof(variables) / sizeof(variables[0]))

static void check_edit(const char *text, const uint8_t *whose, size_t count, const char *expected)
{
	struct wire_buf out = {0};

	etc_environment_edit(text, strlen(text), whose, variables, count, &out);
	wire_put_bytes(&out, "", 1);
	assert_false(out.failed);
	assert_string_equal((char *)out.data, expected);
	wire_buf_free(&out);
}

static void the_block_comes_in_front_and_goes_again_and_nothing_else_changes(void **state)
{
	static const char *const files[] = {"",    "PATH=\"/bin\"\n", "no line end", "\n\n",
					    FIRST, FIRST "A=1\n",     LAST,          "# homeport: end\nA=b\r\n"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char with[512];

		snprintf(with, sizeof(with), "%s%s", BLOCK, files[i]);
		check_edit(files[i], id, COUNT, with);
		check_edit(with, id, COUNT, with);
		check_edit(with, id, 0, files[i]);
		check_edit(files[i], id, 0, files[i]);
		check_edit(with, other, 0, with);
		check_edit(with, NULL, 0, files[i]);
	}
	check_edit("a\n" BLOCK "b\n" BLOCK, id, 0, "a\nb\n");
}

static void the_file_is_replaced_whole_and_made_where_it_is_missing(void **state)
{
	char folder[] = "/tmp/etc_environment.XXXXXX", path[64], text[512];
	struct stat st;
	FILE *file;
	size_t n;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/environment", folder);
	assert_int_equal(etc_environment_set(path, id, variables, 0), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(etc_environment_set(path, id, variables, COUNT), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	file = fopen(path, "r");
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	fclose(file);
	assert_string_equal(text, BLOCK);
	assert_int_equal(etc_environment_set(path, NULL, NULL, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	unlink(path);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(etc_environment_set(path, id, variables, COUNT), -ELOOP);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_block_comes_in_front_and_goes_again_and_nothing_else_changes),
		cmocka_unit_test(the_file_is_replaced_whole_and_made_where_it_is_missing),
	};

	return cmocka_run_group_tests_name("etc_environment", tests, NULL, NULL);
}
