/* SPDX-License-Identifier: MIT */
/* See run_program.h. */
#include "run_program.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	signal(SIGPIPE, SIG_DFL); /* what is ignored stays so */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(RUN_PROGRAM_NONE);
	execvp(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(RUN_PROGRAM_NONE);
}

/* Until something can be read, or the end of it; false: not before the time, if there is one. */
static bool wait_for(int fd, int64_t until_ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	int rc;

	do {
		int64_t left = until_ms - clock_ms(CLOCK_MONOTONIC);

		rc = poll(&ready, 1, until_ms < 0 ? -1 : left > 0 ? (int)left : 0);
	} while (rc < 0 && errno == EINTR);
	return rc != 0;
}

/* All is read, so that the program can end; the beginning is kept. False: the time was over. */
static bool read_all(int fd, int64_t until_ms, char *said)
{
	bool in_time;
	char chunk[512];
	size_t len = 0;
	ssize_t n = 0;

	while ((in_time = wait_for(fd, until_ms)) &&
	       ((n = read(fd, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR))) {
		size_t take = n < 0 ? 0 : (size_t)n;

		if (take > RUN_PROGRAM_SAID - 1 - len)
			take = RUN_PROGRAM_SAID - 1 - len;
		memcpy(said + len, chunk, take);
		len += take;
	}
	said[len] = '\0';
	return in_time;
}

int run_program_within(int timeout_ms, const char *const argv[], char *said)
{
	int64_t until_ms = timeout_ms < 0 ? -1 : clock_ms(CLOCK_MONOTONIC) + timeout_ms;
	bool in_time = true;
	int out[2], status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(argv, out[1]);
	close(out[1]);
	if (pid > 0)
		in_time = read_all(out[0], until_ms, said);
	close(out[0]);
	if (pid < 0)
		return -EAGAIN;
	if (!in_time)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!in_time)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_program(const char *const argv[], char *said)
{
	return run_program_within(-1, argv, said);
}
