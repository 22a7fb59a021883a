/* SPDX-License-Identifier: MIT */
/* runtime_dir: the folders of a session, who holds them, and what is in them, in a folder made for each test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime_dir.h"

static char top[64];

static int set_up(void **state)
{
	char path[96];

	snprintf(top, sizeof(top), "/tmp/test_runtime_dir.XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(path, sizeof(path), "%s/run", top);
	setenv("XDG_RUNTIME_DIR", path, 1);
	snprintf(path, sizeof(path), "%s/state", top);
	setenv("XDG_STATE_HOME", path, 1);
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static struct runtime_dir open_dir(const char *name)
{
	struct runtime_dir dir;
	char why[RUNTIME_WHY_MAX];

	assert_int_equal(runtime_dir_open(&dir, name, true, why), 0);
	return dir;
}

static void folders_are_made_for_their_owner_alone(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	struct stat st;

	assert_int_equal(stat(dir.run, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(dir.state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(strncmp(dir.run, top, strlen(top)), 0);
}

static void without_a_runtime_folder_one_is_made_below_the_state(void **state)
{
	struct runtime_dir dir;
	char want[96];

	unsetenv("XDG_RUNTIME_DIR");
	dir = open_dir("dev");
	snprintf(want, sizeof(want), "%s/state/homeport/.run/dev", top);
	assert_string_equal(dir.run, want);
}

static void a_folder_others_can_enter_is_refused(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	char why[RUNTIME_WHY_MAX];

	assert_int_equal(chmod(dir.run, 0755), 0);
	assert_int_equal(runtime_dir_open(&dir, "dev", true, why), -EPERM);
	assert_non_null(strstr(why, "nobody else can enter"));
}

static void a_session_that_never_was_is_not_made_by_looking(void **state)
{
	struct runtime_dir dir;
	char why[RUNTIME_WHY_MAX];

	assert_int_equal(runtime_dir_open(&dir, "dev", false, why), -ENOENT);
	assert_string_equal(dir.name, "dev");
}

static void names_that_would_leave_the_folder_are_none(void **state)
{
	static const char *const names[] = {"", ".", "..", ".run", "a/b", "/etc"};
	struct runtime_dir dir;
	char why[RUNTIME_WHY_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(runtime_dir_open(&dir, names[i], true, why), -EINVAL);
}

static void a_socket_path_that_does_not_fit_is_refused_with_what_to_do(void **state)
{
	struct runtime_dir dir;
	char why[RUNTIME_WHY_MAX], deep[200];

	snprintf(deep, sizeof(deep), "%s/%0100d", top, 0);
	setenv("XDG_RUNTIME_DIR", deep, 1);
	assert_int_equal(runtime_dir_open(&dir, "dev", true, why), -ENAMETOOLONG);
	assert_non_null(strstr(why, "set XDG_RUNTIME_DIR to a shorter path"));
}

static void the_place_is_held_until_its_descriptor_is_closed(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	pid_t other = 0;
	int place = runtime_dir_claim(&dir, &other);

	assert_true(place >= 0);
	assert_int_equal(runtime_dir_claim(&dir, &other), -EBUSY);
	assert_int_equal(other, getpid());
	close(place);
	place = runtime_dir_claim(&dir, &other);
	assert_true(place >= 0);
	close(place);
	runtime_dir_clean(&dir);
}

static void a_second_up_waits_for_the_first(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	int first = runtime_dir_lock_up(&dir, 0), second;

	assert_true(first >= 0);
	assert_int_equal(runtime_dir_lock_up(&dir, 0), -EBUSY);
	close(first);
	second = runtime_dir_lock_up(&dir, 0);
	assert_true(second >= 0);
	close(second);
}

static void the_instances_number_is_the_same_each_time(void **state)
{
	struct runtime_dir dir = open_dir("dev"), other = open_dir("other");
	uint8_t first[INSTANCE_SIZE], again[INSTANCE_SIZE];
	char path[RUNTIME_PATH_MAX + 16];
	struct stat st;

	assert_int_equal(runtime_dir_instance(&dir, first), 0);
	assert_int_equal(runtime_dir_instance(&dir, again), 0);
	assert_memory_equal(first, again, INSTANCE_SIZE);
	assert_int_equal(runtime_dir_instance(&other, again), 0);
	assert_memory_not_equal(first, again, INSTANCE_SIZE);
	snprintf(path, sizeof(path), "%s/instance", dir.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void half_an_instances_number_is_made_anew(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	uint8_t first[INSTANCE_SIZE], again[INSTANCE_SIZE];
	char path[RUNTIME_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/instance", dir.state);
	assert_int_equal(runtime_dir_instance(&dir, first), 0);
	assert_int_equal(truncate(path, 5), 0);
	assert_int_equal(runtime_dir_instance(&dir, first), 0);
	assert_int_equal(runtime_dir_instance(&dir, again), 0);
	assert_memory_equal(first, again, INSTANCE_SIZE);
}

static void many_that_make_the_number_at_once_agree(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	uint8_t got[8][INSTANCE_SIZE];
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < 8; i++)
		if (fork() == 0) {
			uint8_t mine[INSTANCE_SIZE];
			int rc = runtime_dir_instance(&dir, mine);

			_exit(rc || write(ends[1], mine, sizeof(mine)) != sizeof(mine));
		}
	for (int i = 0, status; i < 8; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
		assert_int_equal(read(ends[0], got[i], INSTANCE_SIZE), INSTANCE_SIZE);
		assert_memory_equal(got[i], got[0], INSTANCE_SIZE);
	}
	close(ends[0]);
	close(ends[1]);
}

/* Another process looks for the log all the while that it is filled and begun anew. */
static void a_log_that_begins_anew_is_there_at_any_moment(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	char path[RUNTIME_PATH_MAX];
	pid_t watcher;
	int status;

	close(runtime_dir_open_log(&dir));
	runtime_dir_log_path(&dir, path);
	watcher = fork();
	if (watcher == 0) {
		alarm(60);
		while (access(path, F_OK) == 0 || errno != ENOENT)
			;
		_exit(1);
	}
	for (int i = 0; i < 2000; i++) {
		struct stat st;
		int fd;

		assert_int_equal(truncate(path, (4 << 20) + 1), 0);
		fd = runtime_dir_open_log(&dir);
		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, 0);
		close(fd);
	}
	assert_int_equal(kill(watcher, SIGTERM), 0);
	assert_true(waitpid(watcher, &status, 0) == watcher);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void count_name(void *ctx, const char *name)
{
	assert_string_equal(name, "dev");
	++*(int *)ctx;
}

static void only_sessions_with_a_socket_are_listed(void **state)
{
	struct runtime_dir dir = open_dir("dev");
	char path[RUNTIME_PATH_MAX];
	int count = 0, fd;

	open_dir("other");
	runtime_dir_each(count_name, &count);
	assert_int_equal(count, 0);
	runtime_dir_socket_path(&dir, path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	runtime_dir_each(count_name, &count);
	assert_int_equal(count, 1);
	runtime_dir_clean(&dir);
	assert_int_equal(access(path, F_OK), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(folders_are_made_for_their_owner_alone),
		TEST(without_a_runtime_folder_one_is_made_below_the_state),
		TEST(a_folder_others_can_enter_is_refused),
		TEST(a_session_that_never_was_is_not_made_by_looking),
		TEST(names_that_would_leave_the_folder_are_none),
		TEST(a_socket_path_that_does_not_fit_is_refused_with_what_to_do),
		TEST(the_place_is_held_until_its_descriptor_is_closed),
		TEST(a_second_up_waits_for_the_first),
		TEST(the_instances_number_is_the_same_each_time),
		TEST(half_an_instances_number_is_made_anew),
		TEST(many_that_make_the_number_at_once_agree),
		TEST(a_log_that_begins_anew_is_there_at_any_moment),
		TEST(only_sessions_with_a_socket_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
