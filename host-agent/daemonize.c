/* SPDX-License-Identifier: MIT */
/* A detached process. See daemonize.h. */
#include "daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/close_range.h>

/*
 * setsid() leaves the terminal; a session leader that opens no terminal gets none (every open of ours is O_NOCTTY by
 * way of never being a terminal), so the second fork of old is not needed, and the starter can wait for its child.
 */
pid_t daemonize_start(char *const argv[], int log_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = null < 0 ? -1 : fork();

	if (pid == 0) {
		setsid();
		setenv(DAEMONIZE_ENV, "1", 1);
		if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0)
			_exit(127);
		close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	if (pid < 0)
		pid = -errno;
	if (null >= 0)
		close(null);
	return pid;
}
