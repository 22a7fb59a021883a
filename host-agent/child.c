/* SPDX-License-Identifier: MIT */
/* Programs run to make a connection. See child.h. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cancel.h"
#include "clock.h"

#define END_WAIT_MS 1000
/* For what a proxy was given last to leave it: it reads, encrypts and writes a few packets. */
#define GRACE_MS 300

/* Children that end in threads of their own, for the exit of the process. */
static pthread_mutex_t ending_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ending_less = PTHREAD_COND_INITIALIZER;
static unsigned ending;

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/*
 * Descriptors here are all close-on-exec, so the child has just those given. It starts with no signal blocked or
 * ignored: this thread blocks all, and the agent ignores SIGPIPE.
 */
static int spawn(const char *const argv[], int in, int out, int err, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (in >= 0)
		rc = posix_spawn_file_actions_adddup2(&files, in, 0);
	else
		rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&files, out, 1);
	if (!rc && err >= 0)
		rc = posix_spawn_file_actions_adddup2(&files, err, 2);
	if (!rc)
		rc = posix_spawnp(pid, argv[0], &files, &attr, (char *const *)(uintptr_t)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

int child_start(const char *const argv[], struct child *child)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1};
	int rc = 0;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		rc = -errno;
	if (!rc)
		rc = spawn(argv, -1, out[1], err[1], &child->pid);
	close_fd(&out[1]);
	close_fd(&err[1]);
	if (rc < 0) {
		close_fd(&out[0]);
		close_fd(&err[0]);
		child->pid = 0;
	}
	child->fd = out[0];
	child->err = err[0];
	return rc;
}

int child_start_proxy(const char *const argv[], struct child *child)
{
	int pair[2];
	int rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	rc = spawn(argv, pair[1], pair[1], -1, &child->pid);
	close(pair[1]);
	if (rc < 0) {
		close_fd(&pair[0]);
		child->pid = 0;
	}
	child->fd = pair[0];
	child->err = -1;
	return rc;
}

struct sink {
	int *fd;
	char *buf;
	size_t len;
};

/* Reads once; closes the pipe at its end. */
static int sink_read(struct sink *s)
{
	ssize_t n;

	if (s->len == CHILD_OUTPUT_MAX)
		return -EFBIG;
	n = read(*s->fd, s->buf + s->len, CHILD_OUTPUT_MAX - s->len);
	if (n > 0)
		s->len += (size_t)n;
	else if (n == 0 || errno != EINTR)
		close_fd(s->fd);
	return 0;
}

static int sinks_fill(struct sink *out, struct sink *err, struct cancel *cancel, int64_t deadline)
{
	while (*out->fd >= 0 || *err->fd >= 0) {
		struct pollfd fds[] = {
			{.fd = *out->fd, .events = POLLIN},
			{.fd = *err->fd, .events = POLLIN},
			{.fd = cancel ? cancel_fd(cancel) : -1, .events = POLLIN},
		};
		int64_t left = deadline - clock_ms(CLOCK_MONOTONIC);
		int rc = 0;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(fds, 3, (int)left) < 0 && errno != EINTR)
			return -errno;
		if (fds[2].revents)
			return -ECANCELED;
		if (fds[0].revents)
			rc = sink_read(out);
		if (!rc && fds[1].revents)
			rc = sink_read(err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int child_collect(struct child *child, struct cancel *cancel, int timeout_ms, struct child_output *output)
{
	struct sink out = {&child->fd, malloc(CHILD_OUTPUT_MAX + 1), 0};
	struct sink err = {&child->err, malloc(CHILD_OUTPUT_MAX + 1), 0};
	int rc = out.buf && err.buf ? sinks_fill(&out, &err, cancel, clock_ms(CLOCK_MONOTONIC) + timeout_ms) : -ENOMEM;

	if (rc < 0) {
		child_end(child);
		free(out.buf);
		free(err.buf);
		return rc;
	}
	/* Both pipes are closed: it is ending, or only pretends to be a program worth waiting for. */
	while (waitpid(child->pid, &output->status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	out.buf[out.len] = '\0';
	err.buf[err.len] = '\0';
	output->out = out.buf;
	output->out_len = out.len;
	output->err = err.buf;
	return 0;
}

static void child_close(struct child *child)
{
	close_fd(&child->fd);
	close_fd(&child->err);
}

/* Whether it has ended within the time; it is reaped then. */
static bool child_has_ended(struct child *child, int wait_ms)
{
	const struct timespec tick = {.tv_nsec = 5000000};
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + wait_ms;

	while (waitpid(child->pid, NULL, WNOHANG) == 0) {
		if (clock_ms(CLOCK_MONOTONIC) >= deadline)
			return false;
		nanosleep(&tick, NULL);
	}
	child->pid = 0;
	return true;
}

static void child_insist(struct child *child)
{
	kill(child->pid, SIGTERM);
	if (child_has_ended(child, END_WAIT_MS))
		return;
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
}

void child_end(struct child *child)
{
	if (child->pid == 0)
		return;
	child_close(child);
	child_insist(child);
}

static void *end_thread(void *arg)
{
	struct child *child = arg;

	if (!child_has_ended(child, GRACE_MS))
		child_insist(child);
	free(child);
	pthread_mutex_lock(&ending_lock);
	ending--;
	pthread_cond_broadcast(&ending_less);
	pthread_mutex_unlock(&ending_lock);
	return NULL;
}

void child_end_all(void)
{
	struct timespec deadline;

	/* What has not ended in its time has been asked to by then. */
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_nsec += (GRACE_MS + 100) * 1000000;
	deadline.tv_sec += deadline.tv_nsec / 1000000000;
	deadline.tv_nsec %= 1000000000;
	pthread_mutex_lock(&ending_lock);
	while (ending > 0 && pthread_cond_timedwait(&ending_less, &ending_lock, &deadline) == 0)
		;
	pthread_mutex_unlock(&ending_lock);
}

static void end_all_at_exit(void)
{
	atexit(child_end_all);
}

static bool start_end_thread(const struct child *child)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct child *copy = malloc(sizeof(*copy));
	pthread_t thread;

	if (!copy)
		return false;
	*copy = *child;
	pthread_once(&once, end_all_at_exit);
	pthread_mutex_lock(&ending_lock);
	ending++;
	pthread_mutex_unlock(&ending_lock);
	if (pthread_create(&thread, NULL, end_thread, copy) == 0) {
		pthread_detach(thread);
		return true;
	}
	pthread_mutex_lock(&ending_lock);
	ending--;
	pthread_mutex_unlock(&ending_lock);
	free(copy);
	return false;
}

void child_end_later(struct child *child)
{
	if (child->pid == 0)
		return;
	child_close(child);
	/* Without memory for it, a zombie until we end: better than a loop that waits. */
	if (!start_end_thread(child))
		kill(child->pid, SIGTERM);
	*child = (struct child){.fd = -1, .err = -1};
}
