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
	struct sftp_attr file = {.uid = 1000, .gid = 1000};
	uint32_t login = 501, group = 20, other = 7, uid = 0, gid = 0;

	(void)state;
	assert_int_equal(idmap_chown_to_host(&users, &file, &login, &group, &uid, &gid),
			 NATIVE_SET_UID | NATIVE_SET_GID);
	assert_int_equal(uid, 1000);
	assert_int_equal(gid, 1000);
	assert_int_equal(idmap_chown_to_host(&users, &file, &other, NULL, &uid, &gid), -EPERM);
	assert_int_equal(idmap_chown_to_host(&users, &file, NULL, &other, &uid, &gid), -EPERM);
	assert_int_equal(idmap_chown_to_host(&users, NULL, NULL, NULL, &uid, &gid), 0);
	assert_int_equal(idmap_chown_to_host(&roots, NULL, &other, NULL, &uid, &gid), NATIVE_SET_UID);
	assert_int_equal(uid, 7);
}

static void what_is_recorded_is_the_guests_own_number(void **state)
{
	struct idmap recorded = users;
	struct sftp_attr attr = {.uid = 7, .gid = 1000, .flags = SFTP_ATTR_UID_RECORDED};
	uint32_t login = 501, group = 20, root = 0, uid = 1, gid = 1;
	struct sftp_caller caller;
	struct stat st;

	(void)state;
	recorded.recorded = true;
	idmap_attr_to_guest(&recorded, 0, &attr, &st);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 20);
	attr.flags = SFTP_ATTR_GID_RECORDED;
	idmap_attr_to_guest(&recorded, 0, &attr, &st);
	assert_int_equal(st.st_uid, IDMAP_NOBODY);
	assert_int_equal(st.st_gid, 1000);
	idmap_owner_to_host(&recorded, 0, 20, &caller);
	assert_int_equal(caller.uid, 0);
	assert_int_equal(caller.gid, SFTP_OWNER_HOST);
	idmap_caller_to_host(&recorded, 501, 20, &caller);
	assert_int_equal(caller.uid, 501);
	assert_int_equal(caller.gid, 20);
	assert_false(idmap_chown_needs_present(&recorded));
	assert_int_equal(idmap_chown_to_host(&recorded, NULL, &root, NULL, &uid, &gid), NATIVE_SET_UID);
	assert_int_equal(uid, 0);
	assert_int_equal(idmap_chown_to_host(&recorded, NULL, &login, &group, &uid, &gid),
			 NATIVE_SET_UID | NATIVE_SET_GID);
	assert_int_equal(uid, SFTP_OWNER_HOST);
	assert_int_equal(gid, SFTP_OWNER_HOST);
}

static void with_root_on_both_sides_only_others_than_root_are_recorded(void **state)
{
	struct idmap recorded = roots;
	uint32_t root = 0, other = 7, uid = 1, gid = 1;

	(void)state;
	recorded.recorded = true;
	assert_int_equal(idmap_chown_to_host(&recorded, NULL, &root, &other, &uid, &gid),
			 NATIVE_SET_UID | NATIVE_SET_GID);
	assert_int_equal(uid, SFTP_OWNER_HOST);
	assert_int_equal(gid, 7);
}

static void chown_of_anothers_to_what_it_shows_needs_no_request(void **state)
{
	struct sftp_attr file = {.uid = 7, .gid = 1000};
	uint32_t login = 501, group = 20, nobody = IDMAP_NOBODY, uid = 0, gid = 0;

	(void)state;
	assert_int_equal(idmap_chown_to_host(&users, &file, &nobody, &group, &uid, &gid), 0);
	assert_int_equal(idmap_chown_to_host(&users, &file, &login, NULL, &uid, &gid), -EPERM);
}

static void a_group_that_the_hosts_user_has_is_the_login_users(void **state)
{
	struct sftp_attr file = {.uid = 1000, .gid = 100, .flags = SFTP_ATTR_MY_GROUP}, others = file;
	uint32_t group = 20, gid = 0;
	struct stat st;

	(void)state;
	idmap_attr_to_guest(&users, 0, &file, &st);
	assert_int_equal(st.st_gid, 20);
	/* What it shows is what it has: it stays so. */
	assert_int_equal(idmap_chown_to_host(&users, &file, NULL, &group, NULL, &gid), NATIVE_SET_GID);
	assert_int_equal(gid, 100);
	/* From a group that shows as nobody's it may be given to the user's own: the host decides. */
	others.flags = 0;
	assert_int_equal(idmap_chown_to_host(&users, &others, NULL, &group, NULL, &gid), NATIVE_SET_GID);
	assert_int_equal(gid, 1000);
}

static const struct id_map ten_from_100 = {1, {{.host = 100, .guest = 3000, .count = 10}}};

static void what_a_map_has_passes_both_ways(void **state)
{
	struct idmap m = users;
	struct sftp_attr file = {.uid = 105, .gid = 109, .flags = SFTP_ATTR_MY_GROUP};
	struct sftp_caller caller;
	uint32_t id = 3001, host = 0;
	struct stat st;

	(void)state;
	m.uids = m.gids = ten_from_100;
	idmap_attr_to_guest(&m, 0, &file, &st);
	assert_int_equal(st.st_uid, 3005);
	assert_int_equal(st.st_gid, 3009);
	idmap_caller_to_host(&m, 3002, 3003, &caller);
	assert_int_equal(caller.uid, 102);
	assert_int_equal(caller.gid, 103);
	/* The host decides. */
	assert_int_equal(idmap_chown_to_host(&m, &file, &id, NULL, &host, NULL), NATIVE_SET_UID);
	assert_int_equal(host, 101);
	assert_int_equal(idmap_chown_to_host(&m, &file, NULL, &id, NULL, &host), NATIVE_SET_GID);
	assert_int_equal(host, 101);
	id = 3010;
	assert_int_equal(idmap_chown_to_host(&m, &file, &id, NULL, &host, NULL), -EPERM);
}

static void what_no_map_has_is_as_without_one(void **state)
{
	struct idmap m = users;
	struct sftp_attr mine = {.uid = 1000, .gid = 1000}, others = {.uid = 3000, .gid = 99};
	struct sftp_caller caller;
	struct stat st;

	(void)state;
	m.uids = m.gids = ten_from_100;
	idmap_attr_to_guest(&m, 0, &mine, &st);
	assert_int_equal(st.st_uid, 501);
	assert_int_equal(st.st_gid, 20);
	idmap_attr_to_guest(&m, 0, &others, &st);
	assert_int_equal(st.st_uid, IDMAP_NOBODY);
	assert_int_equal(st.st_gid, IDMAP_NOBODY);
	idmap_caller_to_host(&m, 0, 0, &caller);
	assert_int_equal(caller.uid, 1000);
	assert_int_equal(caller.gid, 1000);
}

/* Two owners in one would let one use the other's files. */
static void a_number_that_a_map_gives_away_is_nobody_elses(void **state)
{
	struct idmap m = roots;
	struct sftp_attr file = {.uid = 3005, .gid = 3005};
	struct sftp_caller caller;
	uint32_t id = 105, host;
	struct stat st;

	(void)state;
	m.uids = m.gids = ten_from_100;
	idmap_attr_to_guest(&m, 0, &file, &st);
	assert_int_equal(st.st_uid, IDMAP_NOBODY);
	assert_int_equal(st.st_gid, IDMAP_NOBODY);
	idmap_caller_to_host(&m, 105, 105, &caller);
	assert_int_equal(caller.uid, IDMAP_NOBODY);
	assert_int_equal(idmap_chown_to_host(&m, NULL, &id, NULL, &host, NULL), -EPERM);
	m = users;
	m.uids = (struct id_map){1, {{.host = 7, .guest = 501, .count = 1}}};
	file.uid = 1000;
	idmap_attr_to_guest(&m, 0, &file, &st);
	assert_int_equal(st.st_uid, IDMAP_NOBODY);
}

/* Numbers about the edges of the ranges, in no order that matters. */
static uint32_t some_id(unsigned n)
{
	static const uint32_t near[] = {0, 20, 100, 501, 1000, 3000, IDMAP_NOBODY, ID_MOST};

	return near[n % 8] + (n / 8) % 21 - 10;
}

static void what_shows_as_somebodys_comes_back_as_theirs(void **state)
{
	static const struct id_map maps[] = {
		{0},
		{1, {{100, 3000, 10}}},
		{3, {{100, 3000, 10}, {3000, 100, 10}, {1000, 1000, 1}}},
		{2, {{0, 100000, 65536}, {ID_MOST - 5, 0, 6}}},
		{1, {{0, 0, UINT32_MAX}}},
	};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(maps) / sizeof(maps[0]); i++) {
		struct idmap m = i & 1 ? roots : users;

		m.uids = m.gids = maps[i / 2];
		for (unsigned n = 0; n < 8 * 21; n++) {
			struct sftp_attr file = {.uid = some_id(n), .gid = some_id(n + 1)};
			struct sftp_caller back;
			struct stat st;

			if (file.uid > ID_MOST || file.gid > ID_MOST)
				continue;
			idmap_attr_to_guest(&m, 0, &file, &st);
			idmap_caller_to_host(&m, st.st_uid, st.st_gid, &back);
			if (st.st_uid != IDMAP_NOBODY)
				assert_int_equal(back.uid, file.uid);
			if (st.st_gid != IDMAP_NOBODY)
				assert_int_equal(back.gid, file.gid);
		}
	}
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
		cmocka_unit_test(what_is_recorded_is_the_guests_own_number),
		cmocka_unit_test(with_root_on_both_sides_only_others_than_root_are_recorded),
		cmocka_unit_test(chown_of_anothers_to_what_it_shows_needs_no_request),
		cmocka_unit_test(a_group_that_the_hosts_user_has_is_the_login_users),
		cmocka_unit_test(what_a_map_has_passes_both_ways),
		cmocka_unit_test(what_no_map_has_is_as_without_one),
		cmocka_unit_test(a_number_that_a_map_gives_away_is_nobody_elses),
		cmocka_unit_test(what_shows_as_somebodys_comes_back_as_theirs),
		cmocka_unit_test(shares_and_devices_do_not_share_inode_numbers),
		cmocka_unit_test(a_mode_is_type_and_permissions_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
