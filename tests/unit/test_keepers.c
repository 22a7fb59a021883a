/* SPDX-License-Identifier: MIT */
/* Descriptions kept in other tables of descriptors, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keepers.h"

/* A file of one letter that has no name any more. */
static int file_of(char letter)
{
	char path[] = "/tmp/keepers-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pwrite(fd, &letter, 1, 0), 1);
	return fd;
}

static char letter_of(int fd)
{
	char letter = '-';

	assert_int_equal(pread(fd, &letter, 1, 0), 1);
	return letter;
}

static struct kept keep(struct keepers *all, int fd)
{
	struct kept kept = KEPT_NOWHERE;

	assert_int_equal(keepers_keep(all, fd, &kept), 0);
	assert_true(kept.keeper >= 0);
	return kept;
}

static int lend(struct keepers *all, const struct kept *kept)
{
	int fd = keepers_lend(all, kept);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return fd;
}

static void the_description_itself_is_kept(void **state)
{
	struct keepers *all = keepers_new(2, 4);
	int fd = file_of('a');
	struct kept kept = keep(all, fd);

	assert_int_equal(lseek(fd, 77, SEEK_SET), 77);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	close(fd);
	fd = lend(all, &kept);
	assert_int_equal(letter_of(fd), 'a');
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 77);
	assert_true(fcntl(fd, F_GETFL) & O_APPEND);
	close(fd);
	keepers_free(all);
}

static void what_is_lent_is_kept_on(void **state)
{
	struct keepers *all = keepers_new(1, 4);
	int fd = file_of('a'), again;
	struct kept kept = keep(all, fd);

	close(fd);
	fd = lend(all, &kept);
	again = lend(all, &kept);
	close(fd);
	assert_int_equal(letter_of(again), 'a');
	close(again);
	fd = lend(all, &kept);
	assert_int_equal(letter_of(fd), 'a');
	close(fd);
	keepers_free(all);
}

static void a_full_keeper_is_followed_by_another_and_the_last_by_none(void **state)
{
	struct keepers *all = keepers_new(2, 2);
	struct kept kept[5];
	int fd;

	for (int i = 0; i < 4; i++) {
		fd = file_of((char)('a' + i));
		kept[i] = keep(all, fd);
		close(fd);
	}
	assert_int_equal(kept[1].keeper, 0);
	assert_int_equal(kept[2].keeper, 1);
	fd = file_of('e');
	assert_int_equal(keepers_keep(all, fd, &kept[4]), -EMFILE);
	keepers_drop(all, &kept[1]);
	assert_int_equal(kept[1].keeper, -1);
	kept[4] = keep(all, fd);
	assert_int_equal(kept[4].keeper, 0);
	close(fd);
	fd = lend(all, &kept[4]);
	assert_int_equal(letter_of(fd), 'e');
	close(fd);
	for (int i = 2; i < 4; i++) {
		fd = lend(all, &kept[i]);
		assert_int_equal(letter_of(fd), 'a' + i);
		close(fd);
	}
	keepers_free(all);
}

/* The writing end is closed when its reader sees the end. */
static void what_is_dropped_is_closed_and_so_is_all_in_the_end(void **state)
{
	struct keepers *all = keepers_new(1, 4);
	int one[2], two[2];
	struct kept kept;
	char c;

	assert_int_equal(pipe(one), 0);
	assert_int_equal(pipe(two), 0);
	kept = keep(all, one[1]);
	close(one[1]);
	keep(all, two[1]);
	close(two[1]);
	keepers_drop(all, &kept);
	assert_int_equal(read(one[0], &c, 1), 0);
	keepers_free(all);
	assert_int_equal(read(two[0], &c, 1), 0);
	close(one[0]);
	close(two[0]);
}

static void the_keepers_table_is_its_own(void **state)
{
	const struct rlimit few = {64, 64};
	struct keepers *all;
	struct kept kept[180];
	struct rlimit before;
	int fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){few.rlim_cur, before.rlim_max}), 0);
	all = keepers_new(4, 48);
	for (int i = 0; i < 180; i++) {
		fd = file_of((char)i);
		kept[i] = keep(all, fd);
		close(fd);
	}
	for (int i = 0; i < 180; i++) {
		fd = lend(all, &kept[i]);
		assert_int_equal((unsigned char)letter_of(fd), i);
		close(fd);
	}
	keepers_free(all);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void without_a_descriptor_to_lend_it_says_so_and_keeps_on(void **state)
{
	struct keepers *all = keepers_new(1, 4);
	int fd = file_of('a');
	struct kept kept = keep(all, fd);
	struct rlimit before;

	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)fd, before.rlim_max}), 0);
	assert_int_equal(keepers_lend(all, &kept), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	fd = lend(all, &kept);
	assert_int_equal(letter_of(fd), 'a');
	close(fd);
	keepers_free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_description_itself_is_kept),
		cmocka_unit_test(what_is_lent_is_kept_on),
		cmocka_unit_test(a_full_keeper_is_followed_by_another_and_the_last_by_none),
		cmocka_unit_test(what_is_dropped_is_closed_and_so_is_all_in_the_end),
		cmocka_unit_test(the_keepers_table_is_its_own),
		cmocka_unit_test(without_a_descriptor_to_lend_it_says_so_and_keeps_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
