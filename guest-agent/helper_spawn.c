/* SPDX-License-Identifier: MIT */
/* Starting a helper. See helper_spawn.h. */
#include "helper_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd_packet.h"
#include "helper.h"
#include "loop.h"

/* A process, until it has been waited for: who started it may go first. */
struct helper_child {
	struct loop_fd *watch;
	pid_t pid;
	void (*gone)(void *ctx); /* NULL: nobody cares */
	void *ctx;
};

static void on_child_exit(void *ctx, int fd, unsigned what)
{
	struct helper_child c = *(struct helper_child *)ctx;

	(void)what;
	waitpid(c.pid, NULL, WNOHANG);
	loop_fd_free(c.watch);
	close(fd);
	free(ctx);
	if (c.gone)
		c.gone(c.ctx);
}

struct helper_child *helper_child_new(struct loop *loop, pid_t pid, void (*gone)(void *ctx), void *ctx)
{
	struct helper_child *c = calloc(1, sizeof(*c));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (c && fd >= 0)
		c->watch = loop_fd_new(loop, fd, LOOP_READ, on_child_exit, c);
	if (!c || !c->watch) {
		if (fd >= 0)
			close(fd);
		free(c);
		return NULL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	c->pid = pid;
	c->gone = gone;
	c->ctx = ctx;
	return c;
}

void helper_child_forget(struct helper_child *c)
{
	if (c)
		c->gone = NULL;
}

int helper_connect(void)
{
	return fd_packet_connect(HELPER_SOCKET);
}

/*
 * This program, by its name, which sudo's rules may ask for; and where that is gone, because the program was removed or
 * a newer one is in its place, by what runs: of sudo's child that is another process's, which root alone may look at.
 * False: there is no /proc.
 */
static bool own_program(enum helper_by by, char *path, size_t size)
{
	static const char gone[] = " (deleted)";
	ssize_t len = readlink("/proc/self/exe", path, size - 1);
	size_t end = sizeof(gone) - 1;

	if (len < 0)
		return false;
	path[len] = '\0';
	if ((size_t)len <= end || strcmp(path + len - end, gone) != 0 || access(path, F_OK) == 0)
		return true;
	if (by == HELPER_BY_SUDO)
		snprintf(path, size, "/proc/%d/exe", (int)getpid());
	else
		snprintf(path, size, "/proc/self/exe");
	return true;
}

/* With the other end as its stdin. */
static pid_t spawn_on(char *const argv[], int end)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, end, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (strcmp(argv[0], "sudo") == 0) /* what it says when it may not is not for our log */
		posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return rc ? -rc : pid;
}

bool helper_may_gain(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

pid_t helper_spawn(enum helper_by by, int *sock)
{
	static char self[4096];
	char *root[] = {self, (char *)"helper", NULL};
	char *sudo[] = {(char *)"sudo", (char *)"-n", self, (char *)"helper", NULL};
	char *user[] = {self, (char *)"helper", (char *)"--user", NULL};
	char *const *argv = by == HELPER_BY_ROOT ? root : by == HELPER_BY_SUDO ? sudo : user;
	int pair[2];
	pid_t pid;

	if (by != HELPER_BY_ROOT && !helper_may_gain())
		return -EPERM;
	if (!own_program(by, self, sizeof(self)) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	/* The helper's end blocks. */
	fcntl(pair[1], F_SETFL, 0);
	pid = spawn_on(argv, pair[1]);
	close(pair[1]);
	if (pid < 0)
		close(pair[0]);
	else
		*sock = pair[0];
	return pid;
}
