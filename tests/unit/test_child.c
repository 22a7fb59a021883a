/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cancel.h"
#include "child.h"

static int collect(const char *script, int timeout_ms, struct cancel *cancel, struct child_output *output)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct child child = {0};

	assert_int_equal(child_start(argv, &child), 0);
	return child_collect(&child, cancel, timeout_ms, output);
}

static void both_outputs_and_the_status_are_collected(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;

	(void)state;
	assert_int_equal(collect("echo out; echo err >&2; exit 7", 5000, cancel, &o), 0);
	assert_string_equal(o.out, "out\n");
	assert_int_equal(o.out_len, 4);
	assert_string_equal(o.err, "err\n");
	assert_int_equal(WEXITSTATUS(o.status), 7);
	free(o.out);
	free(o.err);
	cancel_unref(cancel);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
	const char *argv[] = {"no-such-program-here", NULL};
	struct child child = {0};

	(void)state;
	assert_int_equal(child_start(argv, &child), -ENOENT);
	child_end(&child);
}

static void a_child_that_hangs_is_ended_in_time(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;

	(void)state;
	assert_int_equal(collect("exec sleep 100", 50, cancel, &o), -ETIMEDOUT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	cancel_unref(cancel);
}

static void a_child_that_ignores_sigterm_is_killed(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;

	(void)state;
	assert_int_equal(collect("trap '' TERM; while :; do sleep 0.05; done", 50, cancel, &o), -ETIMEDOUT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	cancel_unref(cancel);
}

static void a_child_that_prints_without_end_is_ended(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;

	(void)state;
	assert_int_equal(collect("yes", 5000, cancel, &o), -EFBIG);
	cancel_unref(cancel);
}

static void a_cancel_ends_the_wait(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;

	(void)state;
	cancel_now(cancel);
	assert_int_equal(collect("exec sleep 100", 5000, cancel, &o), -ECANCELED);
	cancel_unref(cancel);
}

static void a_child_starts_with_no_signal_blocked(void **state)
{
	struct cancel *cancel = cancel_new();
	struct child_output o;
	sigset_t all, before;

	(void)state;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	assert_int_equal(collect("grep SigBlk /proc/self/status", 5000, cancel, &o), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_string_equal(o.out, "SigBlk:\t0000000000000000\n");
	free(o.out);
	free(o.err);
	cancel_unref(cancel);
}

static void a_proxy_speaks_through_one_socket(void **state)
{
	const char *argv[] = {"cat", NULL};
	struct child child = {0};
	char buf[4];

	(void)state;
	assert_int_equal(child_start_proxy(argv, &child), 0);
	assert_int_equal(write(child.fd, "ping", 4), 4);
	assert_int_equal(read(child.fd, buf, 4), 4);
	assert_memory_equal(buf, "ping", 4);
	child_end(&child);
	assert_int_equal(child.pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Another process starts one, lets it be ended later, and has no later. */
static void a_proxy_is_asked_to_end_before_its_agent_is_gone(void **state)
{
	const char *argv[] = {"sleep", "1000", NULL};
	int tied[2]; /* open for writing in the proxy alone, once the process has ended */
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(tied), 0);
	pid = fork();
	if (pid == 0) {
		struct child child = {0};
		int rc = child_start_proxy(argv, &child);

		child_end_later(&child);
		child_end_all();
		_exit(rc < 0);
	}
	close(tied[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	alarm(20);
	assert_int_equal(read(tied[0], &byte, 1), 0);
	alarm(0);
	close(tied[0]);
}

/* It takes its time to read, and has all the same what was written before the end. */
static void a_proxy_passes_on_what_it_was_given_last(void **state)
{
	int out[2];
	char script[64], got[16] = "";
	struct child child = {0};

	assert_int_equal(pipe(out), 0);
	snprintf(script, sizeof(script), "sleep 0.05; exec cat >&%d", out[1]);
	const char *const argv[] = {"sh", "-c", script, NULL};

	assert_int_equal(child_start_proxy(argv, &child), 0);
	assert_int_equal(write(child.fd, "goodbye", 7), 7);
	child_end_later(&child);
	child_end_all();
	close(out[1]);
	assert_int_equal(read(out[0], got, sizeof(got)), 7);
	assert_string_equal(got, "goodbye");
	close(out[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_outputs_and_the_status_are_collected),
		cmocka_unit_test(a_program_that_is_not_there_is_an_error),
		cmocka_unit_test(a_child_that_hangs_is_ended_in_time),
		cmocka_unit_test(a_child_that_ignores_sigterm_is_killed),
		cmocka_unit_test(a_child_that_prints_without_end_is_ended),
		cmocka_unit_test(a_cancel_ends_the_wait),
		cmocka_unit_test(a_child_starts_with_no_signal_blocked),
		cmocka_unit_test(a_proxy_speaks_through_one_socket),
		cmocka_unit_test(a_proxy_is_asked_to_end_before_its_agent_is_gone),
		cmocka_unit_test(a_proxy_passes_on_what_it_was_given_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
