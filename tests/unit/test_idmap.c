/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "idmap.h"

static const struct idmap users = {.host_uid = 1000, .host_gid = 1000, .guest_uid = 501, .guest_gid = 20};
static const struct idmap roots = {0};

static struct stat shown(const struct idmap *m, uint32_t uid, uint32_t gid)
{
	struct sftp_attr attr = {.ino = 5, .mode = S_IFREG | 0644, .uid = uid, .gid = gid, .nlink = 1};
	struct stat st;

	idmap_attr_to_guest(m, 0, &attr, &st);
	return st;
}

static void the_hosts_user_is_the_login_user_and_others_are_nobody(void **state)
{
	struct stat mine = shown(&users, 1000, 1000), others = shown(&users, 0, 33);

	(void)state;
	assert_int_equal(mine.st_uid, 501);
	assert_int_equal(mine.st_gid, 20);
	assert_int_equal(others.st_uid, IDMAP_NOBODY);
	assert_int_equal(others.st_gid, IDMAP_NOBODY);
}

static void with_root_on_both_sides_owners_pass_unchanged(void **state)
{
	struct stat st = shown(&roots, 33, 44);
	struct sftp_caller caller;

	(void)state;
	assert_int_equal(st.st_uid, 33);
	assert_int_equal(st.st_gid, 44);
	idmap_caller_to_host(&roots, 7, 8, &caller);
	assert_int_equal(caller.uid, 7);
	assert_int_equal(caller.gid, 8);
}

static void every_caller_is_the_hosts_user_there(void **state)
{
	struct sftp_caller caller;

	(void)state;
	idmap_caller_to_host(&users, 0, 0, &caller);
	assert_int_equal(caller.uid, 1000);
	assert_int_equal(caller.gid, 1000);
}

static void chown_to_whom_it_belongs_is_sent_and_to_others_refused(void **state)
{
	struct stat st = shown(&users, 1000, 1000);
	uint32_t login = 501, group = 20, other = 7, uid = 0, gid = 0;

	(void)state;
	assert_int_equal(idmap_chown_to_host(&users, &st, &login, &group, &uid, &gid), NATIVE_SET_UID | NATIVE_SET_GID);
	assert_int_equal(uid, 1000);
	assert_int_equal(gid, 1000);
	assert_int_equal(idmap_chown_to_host(&users, &st, &other, NULL, &uid, &gid), -EPERM);
	assert_int_equal(idmap_chown_to_host(&users, &st, NULL, &other, &uid, &gid), -EPERM);
	assert_int_equal(idmap_chown_to_host(&users, &st, NULL, NULL, &uid, &gid), 0);
	assert_int_equal(idmap_chown_to_host(&roots, &st, &other, NULL, &uid, &gid), NATIVE_SET_UID);
	assert_int_equal(uid, 7);
}

static void chown_of_anothers_to_what_it_shows_needs_no_request(void **state)
{
	struct stat st = shown(&users, 7, 1000);
	uint32_t login = 501, group = 20, nobody = IDMAP_NOBODY, uid = 0, gid = 0;

	(void)state;
	assert_int_equal(idmap_chown_to_host(&users, &st, &nobody, &group, &uid, &gid), 0);
	assert_int_equal(idmap_chown_to_host(&users, &st, &login, NULL, &uid, &gid), -EPERM);
}

static void shares_and_devices_do_not_share_inode_numbers(void **state)
{
	(void)state;
	assert_int_equal(idmap_ino_to_guest(0, 0, 5), 5);
	assert_int_not_equal(idmap_ino_to_guest(1, 0, 5), idmap_ino_to_guest(0, 0, 5));
	assert_int_not_equal(idmap_ino_to_guest(0, 1, 5), idmap_ino_to_guest(1, 0, 5));
	assert_int_not_equal(idmap_ino_to_guest(0, 1, 5), idmap_ino_to_guest(0, 2, 5));
}

static void a_mode_is_type_and_permissions_alone(void **state)
{
	(void)state;
	assert_int_equal(idmap_mode_to_host(S_IFREG | 06755), S_IFREG | 06755);
	assert_int_equal(idmap_mode_to_host(0xffff0000u | S_IFDIR | 0700), S_IFDIR | 0700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hosts_user_is_the_login_user_and_others_are_nobody),
		cmocka_unit_test(with_root_on_both_sides_owners_pass_unchanged),
		cmocka_unit_test(every_caller_is_the_hosts_user_there),
		cmocka_unit_test(chown_to_whom_it_belongs_is_sent_and_to_others_refused),
		cmocka_unit_test(chown_of_anothers_to_what_it_shows_needs_no_request),
		cmocka_unit_test(shares_and_devices_do_not_share_inode_numbers),
		cmocka_unit_test(a_mode_is_type_and_permissions_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
