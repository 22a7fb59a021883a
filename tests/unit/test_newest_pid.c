/* SPDX-License-Identifier: MIT */
/* What is started is noticed, also where nobody but us starts anything: in a pid namespace of our own, as root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "newest_pid.h"

static void start_something(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_is_started_is_noticed(void **state)
{
	struct newest_pid n;

	(void)state;
	assert_int_equal(newest_pid_open(&n), 0);
	start_something();
	assert_true(newest_pid_changed(&n));
	newest_pid_close(&n);
	start_something();
	assert_false(newest_pid_changed(&n));
}

/* Runs as the first process of the namespace. Its exit status says what was wrong. */
static int alone(void)
{
	struct newest_pid n;
	pid_t pid;

	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("proc", "/proc", "proc", 0, NULL) < 0)
		return 77;
	if (newest_pid_open(&n) < 0)
		return 1;
	for (int i = 0; i < 1000; i++)
		if (newest_pid_changed(&n))
			return 2;
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (waitpid(pid, NULL, 0) != pid || !newest_pid_changed(&n))
		return 3;
	return newest_pid_changed(&n) ? 4 : 0;
}

static void nothing_is_noticed_where_nothing_is_started(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(77);
		pid = fork();
		if (pid == 0)
			_exit(alone());
		waitpid(pid, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("no pid namespace of our own here\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_started_is_noticed),
		cmocka_unit_test(nothing_is_noticed_where_nothing_is_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
