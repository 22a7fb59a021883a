/* SPDX-License-Identifier: MIT */
/* What is masked in a home, one sentence a test. End to end: tests/e2e/test_jail.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "masks.h"

static char home[64];
static int home_fd;

static int make_home(void **state)
{
	strcpy(home, "/tmp/homeport-test.XXXXXX");
	if (!mkdtemp(home))
		return -1;
	home_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return home_fd < 0 || mkdirat(home_fd, ".config", 0755) < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static int remove_home(void **state)
{
	close(home_fd);
	return nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct masks *masks_of_home(bool hide)
{
	struct masks *masks = NULL;

	assert_int_equal(masks_new(home, hide, &masks), 0);
	return masks;
}

/* Of a name in a folder below the home ("" is the home itself). */
static enum mask check(struct masks *masks, const char *folder, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(home_fd, folder, &st, *folder ? 0 : AT_EMPTY_PATH), 0);
	if (!masks_may_hold(masks, name)) {
		assert_int_equal(masks_check(masks, st.st_dev, st.st_ino, name), MASK_NONE);
		return MASK_NONE;
	}
	return masks_check(masks, st.st_dev, st.st_ino, name);
}

static void each_kind_is_known_by_folder_and_name(void **state)
{
	static const struct {
		const char *folder, *name;
		enum mask mask;
	} rows[] = {
		{"", ".ssh", MASK_HIDDEN},
		{"", ".netrc", MASK_HIDDEN},
		{".config", "gh", MASK_HIDDEN},
		{"", ".bashrc", MASK_PROTECTED},
		{"", ".lima", MASK_PROTECTED},
		{".config", "autostart", MASK_PROTECTED},
		{"", ".config", MASK_FOLDER},
		{"", ".docker", MASK_FOLDER},
		{"", "gh", MASK_NONE},
		{".config", ".ssh", MASK_NONE},
		{"", ".ssh ", MASK_NONE},
		{"", ".SSH", MASK_NONE},
		{"", ".ss", MASK_NONE},
		{"", "file", MASK_NONE},
		{"", "", MASK_NONE},
	};
	struct masks *masks = masks_of_home(true);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (check(masks, rows[i].folder, rows[i].name) != rows[i].mask)
			fail_msg("%s/%s is %d", rows[i].folder, rows[i].name,
				 check(masks, rows[i].folder, rows[i].name));
	masks_free(masks);
}

static void without_hiding_only_protection_is_left(void **state)
{
	struct masks *masks = masks_of_home(false);

	assert_int_equal(mkdirat(home_fd, ".ssh", 0700), 0);
	assert_int_equal(check(masks, "", ".netrc"), MASK_NONE);
	assert_int_equal(check(masks, "", ".ssh"), MASK_FOLDER);
	assert_int_equal(check(masks, ".ssh", "authorized_keys"), MASK_PROTECTED);
	assert_int_equal(check(masks, "", ".zshrc"), MASK_PROTECTED);
	masks_free(masks);
}

static void a_folder_is_known_when_it_appears_and_after_it_was_renamed(void **state)
{
	struct masks *masks = masks_of_home(true);

	assert_int_equal(mkdirat(home_fd, ".docker", 0755), 0);
	assert_int_equal(check(masks, ".docker", "config.json"), MASK_HIDDEN);
	assert_int_equal(renameat(home_fd, ".docker", home_fd, "moved"), 0);
	assert_int_equal(check(masks, "moved", "config.json"), MASK_HIDDEN);
	assert_int_equal(mkdirat(home_fd, ".docker", 0755), 0);
	assert_int_equal(check(masks, ".docker", "config.json"), MASK_HIDDEN);
	masks_free(masks);
}

static void what_a_masked_link_leads_to_is_masked_where_it_lies(void **state)
{
	struct masks *masks;

	assert_int_equal(mkdirat(home_fd, "dots", 0755), 0);
	assert_int_equal(mkdirat(home_fd, "dots/keys", 0700), 0);
	assert_int_equal(symlinkat("dots/keys", home_fd, ".ssh"), 0);
	assert_int_equal(symlinkat("nowhere", home_fd, ".netrc"), 0);
	masks = masks_of_home(true);
	assert_int_equal(check(masks, "dots", "keys"), MASK_HIDDEN);
	assert_int_equal(check(masks, "", ".ssh"), MASK_HIDDEN);
	assert_int_equal(check(masks, "", ".netrc"), MASK_HIDDEN);
	assert_int_equal(check(masks, "", "keys"), MASK_NONE);
	masks_free(masks);
}

static void a_folder_reached_through_a_link_is_the_folder_itself(void **state)
{
	struct masks *masks;

	assert_int_equal(mkdirat(home_fd, "real", 0755), 0);
	assert_int_equal(symlinkat("real", home_fd, ".kube"), 0);
	assert_int_equal(symlinkat("real", home_fd, ".cargo"), 0);
	masks = masks_of_home(true);
	assert_int_equal(check(masks, "real", "credentials.toml"), MASK_HIDDEN);
	masks_free(masks);
}

static void the_way_to_the_home_cannot_be_replaced(void **state)
{
	struct masks *masks = masks_of_home(true);
	struct stat st;

	assert_int_equal(stat("/tmp", &st), 0);
	assert_int_equal(masks_check(masks, st.st_dev, st.st_ino, strrchr(home, '/') + 1), MASK_FOLDER);
	assert_int_equal(masks_check(masks, st.st_dev, st.st_ino, "other"), MASK_NONE);
	masks_free(masks);
}

static void what_the_environment_has_elsewhere_is_masked_there(void **state)
{
	char path[96];
	struct masks *masks;

	assert_int_equal(mkdirat(home_fd, "vms", 0755), 0);
	assert_int_equal(mkdirat(home_fd, "vms/lima", 0755), 0);
	assert_int_equal(mkdirat(home_fd, "vms/lima/_config", 0755), 0);
	assert_int_equal(mkdirat(home_fd, "conf", 0755), 0);
	assert_int_equal(mkdirat(home_fd, "real", 0755), 0);
	assert_int_equal(symlinkat("../real", home_fd, "conf/homeport"), 0);
	snprintf(path, sizeof(path), "%s/vms/lima/", home);
	assert_int_equal(setenv("LIMA_HOME", path, 1), 0);
	snprintf(path, sizeof(path), "%s/conf", home);
	assert_int_equal(setenv("XDG_CONFIG_HOME", path, 1), 0);
	assert_int_equal(setenv("XDG_DATA_HOME", "relative", 1), 0);
	masks = masks_of_home(true);
	unsetenv("LIMA_HOME");
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("XDG_DATA_HOME");
	assert_int_equal(check(masks, "vms", "lima"), MASK_PROTECTED);
	assert_int_equal(check(masks, "", "vms"), MASK_FOLDER);
	assert_int_equal(check(masks, "vms/lima/_config", "user"), MASK_HIDDEN);
	assert_int_equal(check(masks, "", ".lima"), MASK_PROTECTED);
	assert_int_equal(check(masks, "conf", "homeport"), MASK_PROTECTED);
	assert_int_equal(check(masks, "", "real"), MASK_PROTECTED);
	assert_int_equal(check(masks, "conf", "gh"), MASK_HIDDEN);
	assert_int_equal(check(masks, "conf", "other"), MASK_NONE);
	masks_free(masks);
}

static void a_home_that_is_not_there_is_said_so(void **state)
{
	struct masks *masks;

	assert_int_equal(masks_new("/nonexistent/home", true, &masks), -ENOENT);
	assert_int_equal(masks_new("/dev/null", true, &masks), -ENOTDIR);
	masks_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_is_known_by_folder_and_name, make_home, remove_home),
		cmocka_unit_test_setup_teardown(without_hiding_only_protection_is_left, make_home, remove_home),
		cmocka_unit_test_setup_teardown(a_folder_is_known_when_it_appears_and_after_it_was_renamed, make_home,
						remove_home),
		cmocka_unit_test_setup_teardown(what_a_masked_link_leads_to_is_masked_where_it_lies, make_home,
						remove_home),
		cmocka_unit_test_setup_teardown(a_folder_reached_through_a_link_is_the_folder_itself, make_home,
						remove_home),
		cmocka_unit_test_setup_teardown(the_way_to_the_home_cannot_be_replaced, make_home, remove_home),
		cmocka_unit_test_setup_teardown(what_the_environment_has_elsewhere_is_masked_there, make_home,
						remove_home),
		cmocka_unit_test(a_home_that_is_not_there_is_said_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
