/* SPDX-License-Identifier: MIT */
/* The agent's side of the helper. See mounter.h and helper.h. */
#include "mounter.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "log.h"
#include "loop.h"
#include "sock_address.h"

/* In this order, but for root's, which is the only one there. */
enum way { WAY_ROOT, WAY_SERVICE, WAY_SUDO, WAY_USER, WAY_NONE };
static const char *const way_names[] = {"root", "the helper", "sudo", "fusermount3", "none"};

/* TRYING a way -> (its helper ended) -> TRYING the next, or failed; -> MOUNTED -> ENDING -> ended. */
enum phase { PHASE_TRYING, PHASE_MOUNTED, PHASE_ENDING };

/* The process we have started, until it has been waited for: a mounter that goes first leaves it behind. */
struct child {
	struct mounter *mounter; /* NULL: nobody cares */
	struct loop_fd *watch;
	pid_t pid;
};

struct mounter {
	struct loop *loop;
	const struct mounter_events *events;
	void *ctx;
	struct helper_request request;
	enum way way;
	enum phase phase;
	struct child *child;
	int sock;
	struct loop_fd *watch;
	struct loop_timer *start;
	int error; /* of the last way that failed */
	char text[600];
};

static void mounter_try(struct mounter *m);

/* The helper of the present way has gone. */
static void helper_gone(struct mounter *m)
{
	switch (m->phase) {
	case PHASE_TRYING:
		m->way = m->way == WAY_ROOT ? WAY_NONE : m->way + 1;
		mounter_try(m);
		break;
	case PHASE_MOUNTED: /* the mount is served all the same */
		break;
	case PHASE_ENDING:
		m->events->ended(m->ctx);
		break;
	}
}

static void on_child_exit(void *ctx, int fd, unsigned what)
{
	struct child *c = ctx;
	struct mounter *m = c->mounter;

	(void)what;
	waitpid(c->pid, NULL, WNOHANG);
	loop_fd_free(c->watch);
	close(fd);
	free(c);
	if (!m)
		return;
	m->child = NULL;
	/* One that sudo has started goes on alone: its end is that of the socket. */
	if (m->sock < 0)
		helper_gone(m);
}

/* NULL (no memory, no descriptor): it stays a zombie until we end. */
static struct child *child_new(struct mounter *m, pid_t pid)
{
	struct child *c = calloc(1, sizeof(*c));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (c && fd >= 0)
		c->watch = loop_fd_new(m->loop, fd, LOOP_READ, on_child_exit, c);
	if (!c || !c->watch) {
		if (fd >= 0)
			close(fd);
		free(c);
		return NULL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	c->mounter = m;
	c->pid = pid;
	return c;
}

static void socket_close(struct mounter *m)
{
	loop_fd_free(m->watch);
	m->watch = NULL;
	if (m->sock >= 0)
		close(m->sock);
	m->sock = -1;
}

/* The helper has closed its end. */
static void on_socket_end(struct mounter *m)
{
	socket_close(m);
	if (!m->child)
		helper_gone(m);
}

/* The helper ends when it hears no more from us; we wait for that. */
static void helper_end(struct mounter *m)
{
	if (m->sock < 0 || shutdown(m->sock, SHUT_WR) < 0)
		on_socket_end(m);
}

static void on_mount_reply(struct mounter *m, const struct helper_reply *reply, int fd)
{
	if (m->phase == PHASE_ENDING) {
		/* Too late: it is taken away again. */
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!reply->error && fd >= 0) {
		log_debug("mounted %s by %s", m->request.target, way_names[m->way]);
		m->phase = PHASE_MOUNTED;
		m->events->mounted(m->ctx, fd, reply->flags & HELPER_ALLOW_OTHER);
		return;
	}
	m->error = reply->error ? (int)reply->error : EPROTO;
	snprintf(m->text, sizeof(m->text), "%s", reply->text);
	/* Root has looked at the mount point: nobody else will find it better. But who has no leave may have sudo's. */
	if (m->way == WAY_SUDO || (m->way == WAY_SERVICE && m->error != EACCES))
		m->way = WAY_USER;
	helper_end(m);
}

/* One packet and the descriptor that came with it (or -1). 0: the helper has gone. */
static ssize_t packet_receive(int sock, char *buf, size_t size, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {buf, size};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *c = len > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return len < 0 ? -errno : len;
}

static void on_helper(void *ctx, int sock, unsigned what)
{
	struct mounter *m = ctx;
	char buf[HELPER_MESSAGE_MAX];
	struct helper_reply reply;
	int fd;
	ssize_t len = packet_receive(sock, buf, sizeof(buf), &fd);

	(void)what;
	if (len == -EAGAIN || len == -EINTR)
		return;
	if (len <= 0 || helper_reply_get(buf, (size_t)len, &reply) < 0) {
		/* It never came to be (no sudo, or no right to it), or it has died. */
		on_socket_end(m);
		return;
	}
	if (reply.type == HELPER_MOUNT)
		on_mount_reply(m, &reply, fd);
	else
		m->events->unmounted(m->ctx, (int)reply.error, reply.text);
}

static int request_send(struct mounter *m)
{
	struct wire_buf out = {0};
	int rc = -ENOMEM;

	helper_request_put(&out, &m->request);
	if (!out.failed)
		rc = send(m->sock, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
	wire_buf_free(&out);
	return rc;
}

/* Starts the helper with the other end as its stdin. */
static int helper_spawn(char *const argv[], int end)
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

/* systemd starts one for the connection. */
static int helper_connect(struct mounter *m)
{
	struct sock_address at;
	int rc;

	sock_address_unix(&at, HELPER_SOCKET);
	m->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->sock < 0)
		return -errno;
	rc = connect(m->sock, &at.any, at.len) < 0 ? -errno : 0;
	if (rc == 0)
		m->watch = loop_fd_new(m->loop, m->sock, LOOP_READ, on_helper, m);
	if (m->watch)
		return request_send(m);
	/* Of one that nobody is connected to, or that is not watched, no end would be heard. */
	close(m->sock);
	m->sock = -1;
	return rc < 0 ? rc : -ENOMEM;
}

/*
 * This program, by its name, which sudo's rules may ask for; and where that is gone, because the program was removed or
 * a newer one is in its place, by what runs: of sudo's child that is another process's, which root alone may look at.
 * False: there is no /proc.
 */
static bool own_program(enum way way, char *path, size_t size)
{
	static const char gone[] = " (deleted)";
	ssize_t len = readlink("/proc/self/exe", path, size - 1);
	size_t end = sizeof(gone) - 1;

	if (len < 0)
		return false;
	path[len] = '\0';
	if ((size_t)len <= end || strcmp(path + len - end, gone) != 0 || access(path, F_OK) == 0)
		return true;
	if (way == WAY_SUDO)
		snprintf(path, size, "/proc/%d/exe", (int)getpid());
	else
		snprintf(path, size, "/proc/self/exe");
	return true;
}

static int helper_start(struct mounter *m)
{
	static char self[4096];
	char *root[] = {self, (char *)"helper", NULL};
	char *sudo[] = {(char *)"sudo", (char *)"-n", self, (char *)"helper", NULL};
	char *user[] = {self, (char *)"helper", (char *)"--user", NULL};
	char *const *argv = m->way == WAY_ROOT ? root : m->way == WAY_SUDO ? sudo : user;
	int pair[2], pid;

	if (!own_program(m->way, self, sizeof(self)) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	/* The helper's end blocks. */
	fcntl(pair[1], F_SETFL, 0);
	pid = helper_spawn(argv, pair[1]);
	close(pair[1]);
	m->sock = pair[0];
	if (pid < 0)
		return pid;
	m->child = child_new(m, pid);
	m->watch = loop_fd_new(m->loop, m->sock, LOOP_READ, on_helper, m);
	return m->watch ? request_send(m) : -ENOMEM;
}

static void mounter_try(struct mounter *m)
{
	int rc;

	if (m->way == WAY_NONE) {
		if (!m->text[0])
			snprintf(m->text, sizeof(m->text),
				 "%.500s: neither root, nor sudo, nor fusermount3 could mount it", m->request.target);
		m->events->failed(m->ctx, m->error ? m->error : EPERM, m->text);
		return;
	}
	rc = m->way == WAY_SERVICE ? helper_connect(m) : helper_start(m);
	if (rc < 0) {
		m->error = -rc;
		on_socket_end(m);
	}
}

static void on_start(void *ctx)
{
	mounter_try(ctx);
}

struct mounter *mounter_new(struct loop *loop, const struct mounter_params *params, const struct mounter_events *events,
			    void *ctx)
{
	struct mounter *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->loop = loop;
	m->events = events;
	m->ctx = ctx;
	m->sock = -1;
	m->way = geteuid() == 0 ? WAY_ROOT : WAY_SERVICE;
	m->request.type = HELPER_MOUNT;
	m->request.owner = params->owner;
	m->request.flags =
		(uint8_t)((params->allow_other ? HELPER_ALLOW_OTHER : 0) | (params->read_only ? HELPER_READ_ONLY : 0));
	snprintf(m->request.target, sizeof(m->request.target), "%s", params->target);
	m->start = loop_timer_new(loop, on_start, m);
	if (!m->start) {
		free(m);
		return NULL;
	}
	loop_timer_set(m->start, 0);
	return m;
}

void mounter_free(struct mounter *m)
{
	if (!m)
		return;
	socket_close(m);
	if (m->child)
		m->child->mounter = NULL;
	loop_timer_free(m->start);
	free(m);
}

void mounter_unmount(struct mounter *m, bool lazy)
{
	int rc;

	m->request.type = HELPER_UNMOUNT;
	m->request.flags = lazy ? HELPER_LAZY : 0;
	rc = m->sock < 0 ? -ENOTCONN : request_send(m);
	if (rc < 0)
		m->events->unmounted(m->ctx, -rc, "the helper that mounted it has gone");
}

void mounter_end(struct mounter *m)
{
	m->phase = PHASE_ENDING;
	helper_end(m);
}
