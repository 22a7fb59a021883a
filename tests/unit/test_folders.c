/* SPDX-License-Identifier: MIT */
/* folders: mkdir -p, each of mode 0700. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folders.h"

static char top[] = "/tmp/homeport-test-XXXXXX";

static mode_t mode_of(const char *name)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return stat(path, &st) < 0 ? 0 : st.st_mode;
}

static int make(int (*what)(const char *path), const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return what(path);
}

static void every_folder_that_is_missing_is_made_and_is_its_owners_alone(void **state)
{
	umask(0);
	assert_int_equal(make(folders_make, "a/b/c"), 0);
	assert_int_equal(mode_of("a"), S_IFDIR | 0700);
	assert_int_equal(mode_of("a/b/c"), S_IFDIR | 0700);
	assert_int_equal(make(folders_make, "a/b/c"), 0);
	assert_int_equal(make(folders_make, "a/b/d/"), 0);
	assert_int_equal(mode_of("a/b/d"), S_IFDIR | 0700);
}

static void those_above_a_file_are_made_and_it_is_not(void **state)
{
	assert_int_equal(make(folders_make_above, "e/f/file"), 0);
	assert_int_equal(mode_of("e/f"), S_IFDIR | 0700);
	assert_int_equal(mode_of("e/f/file"), 0);
	assert_int_equal(folders_make_above("/file"), 0);
}

static void what_cannot_be_made_is_an_error(void **state)
{
	char deep[PATH_MAX + 10], path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/plain", top);
	f = fopen(path, "we");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(make(folders_make, "plain/a"), -ENOTDIR);
	memset(deep, 'x', sizeof(deep) - 1);
	deep[0] = '/';
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(folders_make(deep), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_folder_that_is_missing_is_made_and_is_its_owners_alone),
		cmocka_unit_test(those_above_a_file_are_made_and_it_is_not),
		cmocka_unit_test(what_cannot_be_made_is_an_error),
	};
	char command[64];
	int failed;

	if (!mkdtemp(top))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -r %s", top);
	return system(command) || failed;
}
