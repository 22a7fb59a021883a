/* SPDX-License-Identifier: MIT */
/* The line in /etc/hosts: put in front and taken out again, and all else as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etc_hosts.h"
#include "wire.h"

#define LINE "127.0.0.1 host.homeport.internal # homeport 0102030405060708090a0b0c0d0e0f10\n"

static const uint8_t id[SESSION_ID_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t other[SESSION_ID_SIZE] = {0xff};

static void check_edit(const char *text, bool present, const char *expected)
{
	struct wire_buf out = {0};

	etc_hosts_edit(text, strlen(text), id, present, &out);
	assert_false(out.failed);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(out.data ? out.data : (uint8_t *)"", expected, out.len);
	wire_buf_free(&out);
}

static void the_line_comes_in_front_and_goes_again_and_nothing_else_changes(void **state)
{
	static const char *const files[] = {"",
					    "127.0.0.1 localhost\n",
					    "no line end",
					    "\n\n",
					    "127.0.0.1 host.homeport.internal\n",
					    "# homeport 0102030405060708090a0b0c0d0e0f10\n",
					    "a\r\nb\0c"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char with[256];

		snprintf(with, sizeof(with), "%s%s", LINE, files[i]);
		check_edit(files[i], true, with);
		check_edit(with, false, files[i]);
		check_edit(with, true, with);
		check_edit(files[i], false, files[i]);
	}
	check_edit("a\n" LINE "b\n" LINE, false, "a\nb\n");
}

static char folder[64], path[96];

static int setup(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/homeport-test.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/hosts", folder);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(folder);
}

static void write_file(const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0640);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *file_text(void)
{
	static char text[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void a_file_keeps_its_mode_and_the_lines_of_other_hosts(void **state)
{
	struct stat st;

	write_file("127.0.0.1 localhost");
	assert_int_equal(chmod(path, 0604), 0);
	assert_int_equal(etc_hosts_set(path, other, true), 0);
	assert_int_equal(etc_hosts_set(path, id, true), 0);
	assert_ptr_equal(strstr(file_text(), LINE), file_text());
	assert_int_equal(etc_hosts_set(path, id, false), 0);
	assert_non_null(strstr(file_text(), "# homeport ff0000"));
	assert_int_equal(etc_hosts_set(path, other, false), 0);
	assert_string_equal(file_text(), "127.0.0.1 localhost");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
}

static void a_file_that_is_as_wanted_is_not_written(void **state)
{
	struct stat before, after;

	write_file("127.0.0.1 localhost\n");
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(etc_hosts_set(path, id, false), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
}

static void what_is_no_file_of_its_own_is_left_alone(void **state)
{
	char target[96];

	assert_int_equal(etc_hosts_set(path, id, true), -ENOENT);
	write_file("x\n");
	snprintf(target, sizeof(target), "%s/target", folder);
	assert_int_equal(rename(path, target), 0);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(etc_hosts_set(path, id, true), -ELOOP);
	assert_string_equal(file_text(), "x\n");
	unlink(target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_line_comes_in_front_and_goes_again_and_nothing_else_changes),
		cmocka_unit_test_setup_teardown(a_file_keeps_its_mode_and_the_lines_of_other_hosts, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_as_wanted_is_not_written, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_file_of_its_own_is_left_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
