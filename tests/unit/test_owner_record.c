/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "owner_record.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HOST     SFTP_OWNER_HOST

static void a_record_reads_back_as_it_was_written(void **state)
{
	static const struct {
		struct owner_record record;
		const char *text;
	} rows[] = {
		{{S_IFREG | 04755, 0, HOST, 0, 0}, "mode=104755 uid=0 gid=- rdev=0:0"},
		{{S_IFDIR | 02770, HOST, 105, 0, 0}, "mode=042770 uid=- gid=105 rdev=0:0"},
		{{S_IFIFO, 4294967294u, 1, 0, 0}, "mode=010000 uid=4294967294 gid=1 rdev=0:0"},
		{{S_IFCHR | 0666, 0, 0, 4294967295u, 4294967295u},
		 "mode=020666 uid=0 gid=0 rdev=4294967295:4294967295"},
		{{S_IFSOCK | 07777, 1, 1, 0, 0}, "mode=147777 uid=1 gid=1 rdev=0:0"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct owner_record back;
		char text[OWNER_RECORD_MAX];

		assert_int_equal(owner_record_format(&rows[i].record, text), strlen(rows[i].text));
		assert_string_equal(text, rows[i].text);
		assert_int_equal(owner_record_parse(text, strlen(text), &back), 0);
		assert_memory_equal(&back, &rows[i].record, sizeof(back));
	}
}

static void what_is_not_written_exactly_so_is_no_record(void **state)
{
	static const char *const texts[] = {
		"",
		"mode=100644",
		"mode=100644 uid=0 gid=0 rdev=0:0 ",
		" mode=100644 uid=0 gid=0 rdev=0:0",
		"mode=100644 uid=0 gid=0 rdev=0:0\n",
		"mode=100644  uid=0 gid=0 rdev=0:0",
		"mode=0100644 uid=0 gid=0 rdev=0:0",
		"mode=100648 uid=0 gid=0 rdev=0:0",
		"mode=100644 uid=00 gid=0 rdev=0:0",
		"mode=100644 uid=-1 gid=0 rdev=0:0",
		"mode=100644 uid=0 gid=1-1 rdev=0:0",
		"mode=100644 uid=4294967295 gid=0 rdev=0:0", /* is written as - */
		"mode=100644 uid=4294967296 gid=0 rdev=0:0",
		"mode=100644 uid=9999999999 gid=0 rdev=0:0",
		"mode=100644 uid=0 gid=0 rdev=0:4294967296",
		"mode=100644 uid=0 gid=0 rdev=:",
		"mode=120777 uid=0 gid=0 rdev=0:0", /* a link */
		"mode=000644 uid=0 gid=0 rdev=0:0", /* of no kind */
		"mode=110644 uid=0 gid=0 rdev=0:0",
		"mode=170644 uid=0 gid=0 rdev=0:0",
		"MODE=100644 uid=0 gid=0 rdev=0:0",
		"mode=100644 uid=0 gid=0 rdev=0:0 mode=100644 uid=0 gid=0 rdev=0:0 mode=100644 uid=0 gid=0 rdev=0:0",
	};
	struct owner_record record;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_int_equal(owner_record_parse(texts[i], strlen(texts[i]), &record), -EINVAL);
	assert_int_equal(owner_record_parse("mode=100644 uid=0 gid=0 rdev=0:0\0", 33, &record), -EINVAL);
}

static struct sftp_attr host_file(uint32_t mode)
{
	return (struct sftp_attr){.mode = mode, .uid = 1000, .gid = 1000};
}

static void a_file_shows_as_recorded(void **state)
{
	const struct owner_record record = {S_IFREG | 04000, 5, HOST, 0, 0};
	struct sftp_attr file = host_file(S_IFREG | 0600);

	(void)state;
	owner_record_show(&record, &file);
	assert_int_equal(file.mode, S_IFREG | 04000);
	assert_int_equal(file.uid, 5);
	assert_int_equal(file.gid, 1000);
	assert_int_equal(file.flags, SFTP_ATTR_UID_RECORDED);
}

static void permissions_that_the_host_has_changed_count(void **state)
{
	const struct owner_record record = {S_IFREG | 04444, HOST, 5, 0, 0};
	struct sftp_attr file = host_file(S_IFREG | 0600);

	(void)state;
	owner_record_show(&record, &file);
	assert_int_equal(file.mode, S_IFREG | 04600);
	assert_int_equal(file.flags, SFTP_ATTR_GID_RECORDED);
}

static void a_device_is_an_empty_file_of_the_host_and_nothing_else(void **state)
{
	const struct owner_record record = {S_IFBLK | 0660, 0, 6, 8, 1};
	struct sftp_attr file = host_file(S_IFREG | 0660);

	(void)state;
	assert_int_equal(owner_record_host_mode(record.mode), S_IFREG | 0660);
	owner_record_show(&record, &file);
	assert_int_equal(file.mode, S_IFBLK | 0660);
	assert_int_equal(file.rdev_major, 8);
	assert_int_equal(file.rdev_minor, 1);
	assert_true(owner_record_fits(&record, S_IFREG | 0660));
	assert_false(owner_record_fits(&record, S_IFDIR | 0760));
	assert_false(owner_record_fits(&record, S_IFLNK | 0777));
}

static void the_hosts_user_may_always_use_its_file_and_it_has_no_set_id_bits(void **state)
{
	(void)state;
	assert_int_equal(owner_record_host_mode(S_IFREG | 06055), S_IFREG | 0655);
	assert_int_equal(owner_record_host_mode(S_IFDIR | 03007), S_IFDIR | 01707);
	assert_int_equal(owner_record_host_mode(S_IFSOCK), S_IFREG | 0600);
}

static void what_the_host_keeps_itself_needs_no_record(void **state)
{
	static const struct owner_record plain[] = {{S_IFREG | 0644, HOST, HOST, 0, 0},
						    {S_IFREG | 0755, HOST, HOST, 0, 0},
						    {S_IFDIR | 01777, HOST, HOST, 0, 0}};
	static const struct owner_record special[] = {
		{S_IFREG | 0644, 0, HOST, 0, 0},    {S_IFREG | 0644, HOST, 0, 0, 0},
		{S_IFREG | 0444, HOST, HOST, 0, 0}, {S_IFREG | 04755, HOST, HOST, 0, 0},
		{S_IFDIR | 0500, HOST, HOST, 0, 0}, {S_IFIFO | 0600, HOST, HOST, 0, 0}};

	(void)state;
	for (size_t i = 0; i < COUNT(plain); i++)
		assert_false(owner_record_is_needed(&plain[i]));
	for (size_t i = 0; i < COUNT(special); i++)
		assert_true(owner_record_is_needed(&special[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_reads_back_as_it_was_written),
		cmocka_unit_test(what_is_not_written_exactly_so_is_no_record),
		cmocka_unit_test(a_file_shows_as_recorded),
		cmocka_unit_test(permissions_that_the_host_has_changed_count),
		cmocka_unit_test(a_device_is_an_empty_file_of_the_host_and_nothing_else),
		cmocka_unit_test(the_hosts_user_may_always_use_its_file_and_it_has_no_set_id_bits),
		cmocka_unit_test(what_the_host_keeps_itself_needs_no_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
