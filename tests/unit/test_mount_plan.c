/* SPDX-License-Identifier: MIT */
/* mount_plan: which mounts come of which configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "mount_plan.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void plan(struct mount_plan *out, struct config_mount *mounts, size_t count)
{
	struct config config = {.mounts = mounts, .mount_count = count};

	assert_int_equal(mount_plan_make(out, &config, NULL, NULL), 0);
}

static void separate_mount_points_are_separate_mounts(void **state)
{
	struct config_mount mounts[] = {{.mount_point = (char *)"/src"}, {.mount_point = (char *)"/home/me"}};
	struct mount_plan p;

	plan(&p, mounts, COUNT(mounts));
	assert_int_equal(p.count, 2);
	assert_string_equal(p.mounts[0].target, "/home/me");
	assert_ptr_equal(p.mounts[0].shares[0].source, &mounts[1]);
	assert_string_equal(p.mounts[1].target, "/src");
	assert_int_equal(p.mounts[1].share_count, 1);
	assert_string_equal(p.mounts[1].shares[0].point, "");
	mount_plan_clear(&p);
}

static void what_lies_below_is_grafted_whatever_stands_between(void **state)
{
	struct config_mount mounts[] = {{.mount_point = (char *)"/a/c/d"},
					{.mount_point = (char *)"/a-b"},
					{.mount_point = (char *)"/a"},
					{.mount_point = (char *)"/a/c"},
					{.mount_point = (char *)"/ab"}};
	struct mount_plan p;

	plan(&p, mounts, COUNT(mounts));
	assert_int_equal(p.count, 3);
	assert_string_equal(p.mounts[0].target, "/a");
	assert_int_equal(p.mounts[0].share_count, 3);
	assert_string_equal(p.mounts[0].shares[0].point, "");
	assert_string_equal(p.mounts[0].shares[1].point, "c");
	assert_string_equal(p.mounts[0].shares[2].point, "c/d");
	assert_ptr_equal(p.mounts[0].shares[2].source, &mounts[0]);
	assert_string_equal(p.mounts[1].target, "/a-b");
	assert_string_equal(p.mounts[2].target, "/ab");
	mount_plan_clear(&p);
}

static bool is_alone(const void *ctx, const char *mount_point)
{
	return !strcmp(ctx, mount_point);
}

static void what_stands_alone_takes_in_nothing_and_is_taken_in(void **state)
{
	struct config_mount mounts[] = {{.mount_point = (char *)"/a/c/d"},
					{.mount_point = (char *)"/a"},
					{.mount_point = (char *)"/a/b"},
					{.mount_point = (char *)"/a/c"}};
	struct config config = {.mounts = mounts, .mount_count = COUNT(mounts)};
	struct mount_plan p;

	assert_int_equal(mount_plan_make(&p, &config, is_alone, "/a"), 0);
	assert_int_equal(p.count, 3);
	assert_true(p.mounts[0].alone && p.mounts[0].share_count == 1);
	assert_string_equal(p.mounts[1].target, "/a/b");
	assert_string_equal(p.mounts[2].target, "/a/c");
	assert_false(p.mounts[2].alone);
	assert_string_equal(p.mounts[2].shares[1].point, "d");
	mount_plan_clear(&p);
	assert_int_equal(mount_plan_make(&p, &config, is_alone, "/a/c"), 0);
	assert_int_equal(p.count, 1);
	assert_int_equal(p.mounts[0].share_count, 4);
	mount_plan_clear(&p);
}

static void no_mounts_are_a_plan_too(void **state)
{
	struct mount_plan p;

	plan(&p, NULL, 0);
	assert_int_equal(p.count, 0);
	mount_plan_clear(&p);
}

static void a_share_has_a_path_of_its_own(void **state)
{
	static const char *const rows[][3] = {
		{"/home/me", "", "/home/me"}, {"/home/me", "src", "/home/me/src"}, {"/", "a", "/a"}};

	for (size_t i = 0; i < COUNT(rows); i++) {
		char *path = mount_plan_path(rows[i][0], rows[i][1]);

		assert_string_equal(path, rows[i][2]);
		free(path);
	}
}

/* The kernel asks one agent about all locks, and all ACLs, of a mount, or nobody. */
static void one_share_that_asks_for_it_makes_all_of_its_mount_lock_on_the_host_or_have_acls(void **state)
{
	struct config_mount mounts[] = {{.mount_point = (char *)"/a"},
					{.mount_point = (char *)"/a/b", .host_locks = true},
					{.mount_point = (char *)"/c"},
					{.mount_point = (char *)"/c/d", .acl = true}};
	struct mount_plan p;

	plan(&p, mounts, COUNT(mounts));
	assert_int_equal(p.count, 2);
	assert_true(p.mounts[0].host_locks && !p.mounts[0].acl);
	assert_true(p.mounts[1].acl && !p.mounts[1].host_locks);
	mount_plan_clear(&p);
}

static void each_share_has_its_own_ids(void **state)
{
	struct id_range uids[] = {{1000, 501, 1}}, gids[] = {{100, 200, 3}, {5, 6, 7}};
	struct config_mount mounts[] = {
		{.mount_point = (char *)"/a", .uid_map = uids, .uid_map_count = 1},
		{.mount_point = (char *)"/a/b", .gid_map = gids, .gid_map_count = 2},
	};
	struct mount_plan p;

	plan(&p, mounts, COUNT(mounts));
	assert_int_equal(p.count, 1);
	assert_int_equal(p.mounts[0].shares[0].uids.count, 1);
	assert_int_equal(p.mounts[0].shares[0].gids.count, 0);
	assert_int_equal(p.mounts[0].shares[1].uids.count, 0);
	assert_int_equal(p.mounts[0].shares[1].gids.count, 2);
	assert_int_equal(p.mounts[0].shares[1].gids.ranges[1].guest, 6);
	mount_plan_clear(&p);
}

static void targets_overlap_where_one_lies_in_the_other(void **state)
{
	assert_true(mount_plan_overlap("/a", "/a"));
	assert_true(mount_plan_overlap("/a", "/a/b"));
	assert_true(mount_plan_overlap("/a/b", "/a"));
	assert_false(mount_plan_overlap("/a", "/ab"));
	assert_false(mount_plan_overlap("/a/b", "/a/c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(separate_mount_points_are_separate_mounts),
		cmocka_unit_test(targets_overlap_where_one_lies_in_the_other),
		cmocka_unit_test(what_lies_below_is_grafted_whatever_stands_between),
		cmocka_unit_test(one_share_that_asks_for_it_makes_all_of_its_mount_lock_on_the_host_or_have_acls),
		cmocka_unit_test(each_share_has_its_own_ids),
		cmocka_unit_test(what_stands_alone_takes_in_nothing_and_is_taken_in),
		cmocka_unit_test(no_mounts_are_a_plan_too),
		cmocka_unit_test(a_share_has_a_path_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
