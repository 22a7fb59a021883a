/* SPDX-License-Identifier: MIT */
/*
 * One connection of the host. sshd starts `homeport-guest attach` with the SSH channel on stdin and stdout and closes
 * the channel when it exits. The agent that owns the mounts must outlive the connection, so it is another process,
 * serve; this one passes it the two descriptors and waits. No byte of the connection passes through here.
 *
 * Where no service manager has started serve, it is started here, detached: its own session, no terminal, nothing of
 * this connection open, so that neither sshd nor the shell waits for it.
 */
#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "log.h"
#include "meet.h"

#define ATTACH_PIPE_SIZE (1 << 20) /* a channel through sshd carries 1.1 GiB/s with these */
#define ATTACH_WAIT_MS   5000      /* for a serve just started to listen */

/* In the child of the child: nothing here belongs to the connection any more. */
static void serve_exec(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = meet_open_log();

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(log >= 0 ? log : null, STDERR_FILENO) < 0)
		_exit(1);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (chdir("/") < 0)
		_exit(1);
	execl("/proc/self/exe", "homeport-guest", "serve", "--on-demand", (char *)NULL);
	_exit(1);
}

/* Two forks: serve is a child of init, not of this process, which would not wait for it. */
static int serve_start(void)
{
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		setsid();
		child = fork();
		if (child == 0)
			serve_exec();
		_exit(child < 0);
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

/* Connects to serve, and starts one when none runs. Several at once do no harm: the second serve finds the place taken
 * and exits. */
static int serve_connect(void)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	int fd = meet_connect(), rc;

	if (fd != -ENOENT)
		return fd;
	rc = serve_start();
	if (rc < 0)
		return rc;
	for (int waited = 0; fd == -ENOENT && waited < ATTACH_WAIT_MS; waited += 5) {
		nanosleep(&pause, NULL);
		fd = meet_connect();
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

int attach_run(void)
{
	const int channel[MEET_FDS] = {STDIN_FILENO, STDOUT_FILENO};
	const char *connection = getenv("SSH_CONNECTION");
	char text[MEET_TEXT_MAX + 1];
	int fd, rc;

	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
		return attach_fail("the host's agent runs this through sshd, never a person");
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
