/* SPDX-License-Identifier: MIT */
/*
 * One connection of the host. sshd starts `homeport-guest attach` with the SSH channel on stdin and stdout and closes
 * the channel when it exits. The agent that owns the mounts must outlive the connection, so it is another process,
 * serve; this one passes it the two descriptors and waits. No byte of the connection passes through here.
 *
 * Where no service manager has started serve, or is about to, it is started here, detached: its own session, no
 * terminal, nothing of this connection open, so that neither sshd nor the shell waits for it. Where systemd-logind ends
 * what a login leaves behind, it is put out of the login's reach: see outlive.h.
 *
 * An agent of another build, left by a host's older version, is another process with a socket of its own. It may have
 * mounts of this very host: it gives them up before the new one begins.
 */
#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "clock.h"
#include "log.h"
#include "meet.h"
#include "outlive.h"
#include "own_unit.h"

#define ATTACH_PIPE_SIZE (1 << 20) /* a channel through sshd carries 1.1 GiB/s with these */
#define ATTACH_WAIT_MS   5000      /* for a serve just started to listen */
#define UNIT_LOOK_MS     250       /* how often systemd is asked */

/* In the child: nothing here belongs to the connection any more. */
static void serve_exec(const char *file, char *const argv[])
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = meet_open_log();

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(log >= 0 ? log : null, STDERR_FILENO) < 0)
		_exit(1);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (chdir("/") < 0)
		_exit(1);
	execvp(file, argv);
	_exit(1);
}

/* Waits for the socket of a serve that was started; while `child` lives, if there is one. -ENOENT: it did not come. */
static int serve_await(int ms, pid_t child)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	const int64_t until = clock_ms(CLOCK_MONOTONIC) + ms;
	bool ended = false;
	int fd = -ENOENT;

	while (fd == -ENOENT && !ended && clock_ms(CLOCK_MONOTONIC) < until) {
		nanosleep(&pause, NULL);
		ended = child && waitpid(child, NULL, WNOHANG) == child;
		fd = meet_connect();
	}
	return fd;
}

/*
 * Starts serve, and waits for its socket: -ENOENT when this way of starting it led nowhere. serve stays a child of this
 * process, which ends soon after it: when serve closes the connection.
 */
static int serve_start(const char *file, char *const argv[])
{
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		setsid();
		serve_exec(file, argv);
	}
	return serve_await(ATTACH_WAIT_MS, child);
}

/* The one that systemd is about to start: what serves is kept in as its unit says. Its build may be another one, with a
 * socket of its own: then there is nothing to wait for once it runs. */
static int serve_of_unit(void)
{
	const int64_t until = clock_ms(CLOCK_MONOTONIC) + ATTACH_WAIT_MS;
	int fd = -ENOENT;

	while (fd == -ENOENT && clock_ms(CLOCK_MONOTONIC) < until && own_unit_is_coming())
		fd = serve_await(UNIT_LOOK_MS, 0);
	return fd;
}

/* Connects to serve, and starts one when none runs. Several at once do no harm: the second serve finds the place taken
 * and exits. */
static int serve_connect(void)
{
	char self[PATH_MAX], *argv[OUTLIVE_ARGV_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int fd = meet_connect();

	if (fd == -ENOENT)
		fd = serve_of_unit();
	if (fd != -ENOENT)
		return fd;
	if (len < 0)
		return -errno;
	self[len] = '\0';
	for (enum outlive_way way = outlive_first(); fd == -ENOENT && way < OUTLIVE_WAYS; way++) {
		const char *file = outlive_argv(way, self, argv);

		fd = serve_start(file, argv);
	}
	return fd;
}

/* Pipes of 1 MiB, or a socketpair with as much: whichever this sshd uses. */
static void channel_enlarge(int fd)
{
	int size = ATTACH_PIPE_SIZE;

	if (fcntl(fd, F_SETPIPE_SZ, size) >= 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int attach_fail(const char *why)
{
	fprintf(stderr, "homeport-guest: attach: %s\n", why);
	return 1;
}

int attach_run(const char *instance)
{
	const int channel[MEET_FDS] = {STDIN_FILENO, STDOUT_FILENO};
	const char *connection = getenv("SSH_CONNECTION");
	char text[MEET_TEXT_MAX + 1];
	int fd, rc;

	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
		return attach_fail("the host's agent runs this through sshd, never a person");
	if (instance)
		meet_release_others(instance);
	fd = serve_connect();
	if (fd == -EPERM)
		return attach_fail("the socket of the agent belongs to another user");
	if (fd < 0) {
		snprintf(text, sizeof(text), "the agent does not answer: %s", strerror(-fd));
		return attach_fail(text);
	}
	channel_enlarge(STDIN_FILENO);
	channel_enlarge(STDOUT_FILENO);
	snprintf(text, sizeof(text), "attach %.200s", connection ? connection : "");
	rc = meet_send(fd, text, channel, MEET_FDS);
	if (rc < 0)
		return attach_fail(strerror(-rc));
	do
		rc = meet_receive(fd, text, NULL, 0);
	while (rc == -EINTR);
	/* serve ends this by closing; what it says before is for whoever reads stderr at the other end. */
	return rc > 0 ? attach_fail(text) : 0;
}
