/* SPDX-License-Identifier: MIT */
/*
 * Starts, watches and ends the servers. See shares.h.
 *
 * A server ends by itself when its socket does (end of file), and is killed when it does not: it may hang in a call on
 * a disk that does not answer, and nobody waits for it. What it counts it counts in a memfd shared with us, so that a
 * process that may be killed at any moment need not report.
 */
#include "shares.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "bounds.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "relay.h"
#include "share_counters.h"

#define SHARE_DEATHS_MAX       5u
#define SHARE_DEATHS_WITHIN_US 10000000u
#define SHARE_KILL_AFTER_US    1000000u
/* What is withdrawn may still take what was written: a guest gives an unmount 2 s. */
#define SHARE_RETIRE_US 3000000u
/* A guest that opens streams without end starts processes without end: so many of a share may be there at once, those
 * that were given up and have not gone (a disk hangs) included, and so many be started in SHARE_DEATHS_WITHIN_US. */
#define SHARE_SERVERS_MAX 4u
#define SHARE_STARTS_MAX  20u
#define SHARE_COUNTERS_FD 3 /* where a server finds its counters */

/* One process. It outlives its relay until it was reaped. */
struct server {
	TAILQ_ENTRY(server) next;
	struct served *share;
	pid_t pid;
	struct relay *relay; /* NULL: it is to end */
	struct loop_timer *kill_timer;
	bool killed; /* by us: no death to speak of */
};

struct served {
	TAILQ_ENTRY(served) next;
	struct shares *shares;
	struct share_source source;
	struct server *current;
	struct share_counters *counters; /* in the memfd */
	int counters_fd;
	uint64_t deaths_since_us, starts_since_us;
	unsigned deaths, starts;
	unsigned servers;           /* processes of its own, until they are reaped */
	struct loop_timer *retired; /* NULL: it is shared */
	char error[160];
};

struct shares {
	struct loop *loop;
	const struct shares_events *events;
	void *ctx;
	struct loop_signal *sigchld;
	bool timed;
	TAILQ_HEAD(, served) list;
	TAILQ_HEAD(, server) servers;
};

static void served_free(struct served *share)
{
	if (share->counters)
		munmap(share->counters, sizeof(*share->counters));
	if (share->counters_fd >= 0)
		close(share->counters_fd);
	loop_timer_free(share->retired);
	free((char *)share->source.location);
	free(share);
}

static void server_free(struct server *server)
{
	struct served *share = server->share;
	struct shares *s = share->shares;

	if (share->current == server)
		share->current = NULL;
	share->servers--;
	TAILQ_REMOVE(&s->servers, server, next);
	loop_timer_free(server->kill_timer);
	free(server);
	if (share->retired && !share->servers) {
		TAILQ_REMOVE(&s->list, share, next);
		served_free(share);
	}
}

static void served_set_error(struct served *share, const char *error)
{
	snprintf(share->error, sizeof(share->error), "%s", error);
	share->shares->events->changed(share->shares->ctx);
}

/* It died while it was wanted: count, and say so. */
static void on_server_died(struct served *share, int status)
{
	uint64_t now = loop_now_us(share->shares->loop);
	char error[160];

	if (now - share->deaths_since_us > SHARE_DEATHS_WITHIN_US) {
		share->deaths_since_us = now;
		share->deaths = 0;
	}
	share->deaths++;
	if (WIFSIGNALED(status))
		snprintf(error, sizeof(error), "its file server was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(error, sizeof(error), "its file server ended with status %d", WEXITSTATUS(status));
	log_warn("share %s: %s; the guest opens another", share->source.location, error);
	served_set_error(share, error);
}

static void on_sigchld(void *ctx, int signo)
{
	struct shares *s = ctx;
	struct server *server, *after;
	int status;

	(void)signo;
	for (server = TAILQ_FIRST(&s->servers); server; server = after) {
		after = TAILQ_NEXT(server, next);
		if (waitpid(server->pid, &status, WNOHANG) != server->pid)
			continue;
		if (!server->killed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
			on_server_died(server->share, status);
		/* Its end of the socket is closed; the relay carries over what it still wrote, and ends. */
		server->pid = -1;
		if (!server->relay)
			server_free(server);
	}
}

static void on_kill_timer(void *ctx)
{
	struct server *server = ctx;

	server->killed = true;
	if (server->pid > 0)
		kill(server->pid, SIGKILL);
}

/* The stream is over, for whichever reason: the server has end of file, and a while to see it. */
static void server_dismiss(struct server *server)
{
	server->relay = NULL;
	if (server->share->current == server)
		server->share->current = NULL;
	if (server->pid < 0)
		server_free(server);
	else
		loop_timer_set(server->kill_timer, SHARE_KILL_AFTER_US);
}

static void on_relay_done(void *ctx, int error)
{
	(void)error;
	server_dismiss(ctx);
}

/* In the child: three descriptors and the counters, nothing else, and an end when the agent ends. */
static void server_exec(const struct served *share, int fd, pid_t agent)
{
	char counters[32];
	const char *argv[12] = {"homeport", "sftp-server"};
	size_t n = 2;
	sigset_t none;

	snprintf(counters, sizeof(counters), "--counters-fd=%d", SHARE_COUNTERS_FD);
	argv[n++] = counters;
	if (share->source.writable)
		argv[n++] = "--writable";
	if (!share->source.mask)
		argv[n++] = "--no-mask";
	if (share->source.locks)
		argv[n++] = "--locks";
	if (share->source.virtual_owners)
		argv[n++] = "--ownership=virtual";
	if (share->source.acl)
		argv[n++] = "--acl";
	argv[n++] = "--";
	argv[n++] = share->source.location;
	argv[n] = NULL;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != agent)
		_exit(1);
	/* Neither number may be overwritten before it was copied: both lie above 3 first. */
	fd = fcntl(fd, F_DUPFD, SHARE_COUNTERS_FD + 1);
	if (fd < 0 || dup2(share->counters_fd, SHARE_COUNTERS_FD) < 0 || dup2(fd, STDIN_FILENO) < 0 ||
	    dup2(fd, STDOUT_FILENO) < 0)
		_exit(1);
	close_range(SHARE_COUNTERS_FD + 1, ~0u, 0);
	execv("/proc/self/exe", (char *const *)argv);
	_exit(127);
}

static pid_t server_spawn(const struct served *share, int fd)
{
	pid_t agent = getpid(), pid = fork();

	if (pid == 0)
		server_exec(share, fd, agent);
	return pid < 0 ? -errno : pid;
}

/* A server on one end of a socketpair. Returns the other end, or a negative errno. */
static int server_start(struct served *share, struct server *server)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	server->pid = server_spawn(share, pair[1]);
	close(pair[1]);
	if (server->pid < 0) {
		close(pair[0]);
		return (int)server->pid;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	return pair[0];
}

static bool served_is_failing(struct served *share)
{
	return share->deaths > SHARE_DEATHS_MAX &&
	       loop_now_us(share->shares->loop) - share->deaths_since_us < SHARE_DEATHS_WITHIN_US;
}

/* Whether one more process may be started; counts it. */
static bool served_may_start(struct served *share)
{
	uint64_t now = loop_now_us(share->shares->loop);

	if (now - share->starts_since_us > SHARE_DEATHS_WITHIN_US) {
		share->starts_since_us = now;
		share->starts = 0;
	}
	return share->servers < SHARE_SERVERS_MAX && share->starts < SHARE_STARTS_MAX && ++share->starts;
}

void served_stream(struct served *share, struct mux_stream *stream)
{
	struct shares *s = share->shares;
	struct server *old = share->current, *server;
	int fd;

	if (served_is_failing(share)) {
		mux_stream_refuse(stream, MUX_REASON_INTERNAL);
		return;
	}
	if (!served_may_start(share)) {
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
		return;
	}
	if (old) {
		struct relay *relay = old->relay;

		server_dismiss(old);
		relay_abort(relay, MUX_REASON_CANCELLED);
	}
	server = calloc(1, sizeof(*server));
	if (!server || !(server->kill_timer = loop_timer_new(s->loop, on_kill_timer, server))) {
		free(server);
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
		return;
	}
	server->share = share;
	fd = server_start(share, server);
	if (fd < 0) {
		log_error("share %s: its file server cannot be started: %s", share->source.location, strerror(-fd));
		loop_timer_free(server->kill_timer);
		free(server);
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
		return;
	}
	TAILQ_INSERT_TAIL(&s->servers, server, next);
	share->servers++;
	share->current = server;
	/* Out of memory resets the stream and closes fd: the server ends, and is reaped as one without a relay. */
	server->relay = relay_new(s->loop, fd, stream, &(struct relay_caller){.done = on_relay_done, .ctx = server});
	if (!server->relay) {
		server_dismiss(server);
		return;
	}
	mux_stream_accept(stream, NULL, NULL);
	if (share->error[0])
		served_set_error(share, "");
}

uint64_t served_requests(const struct served *share)
{
	return share->counters->requests;
}

void served_bytes(const struct served *share, uint64_t *read, uint64_t *written)
{
	*read = share->counters->bytes_read;
	*written = share->counters->bytes_written;
}

void served_count(const struct served *share, struct op_counters *sum)
{
	share_counters_add(share->counters, sum);
}

void shares_time(struct shares *s, bool timed)
{
	struct served *share;

	s->timed = timed;
	TAILQ_FOREACH(share, &s->list, next)
	share->counters->timed = timed;
}

const char *served_error(const struct served *share)
{
	return share->error[0] ? share->error : NULL;
}

const struct share_source *served_source(const struct served *share)
{
	return &share->source;
}

static void on_retire_timer(void *ctx)
{
	struct served *share = ctx;
	struct server *server = share->current;
	struct relay *relay = server ? server->relay : NULL;

	if (!server)
		return; /* those it has are on their way out */
	server_dismiss(server);
	if (relay)
		relay_abort(relay, MUX_REASON_CANCELLED);
}

void served_retire(struct served *share)
{
	struct shares *s = share->shares;

	if (share->servers)
		share->retired = loop_timer_new(s->loop, on_retire_timer, share);
	if (share->retired) {
		loop_timer_set(share->retired, SHARE_RETIRE_US);
		return;
	}
	/* Nobody reads it; or there is no memory to wait with, and it stays, without a stream, until the end. */
	if (share->servers) {
		on_retire_timer(share);
		return;
	}
	TAILQ_REMOVE(&s->list, share, next);
	served_free(share);
}

struct served *shares_add(struct shares *s, const struct share_source *source)
{
	struct served *share = calloc(1, sizeof(*share));
	void *counters;

	if (!share)
		return NULL;
	*share = (struct served){.shares = s, .source = *source};
	share->source.location = strdup(source->location);
	share->counters_fd = memfd_create("homeport-counters", MFD_CLOEXEC);
	counters = MAP_FAILED;
	if (share->source.location && share->counters_fd >= 0 &&
	    !ftruncate(share->counters_fd, sizeof(*share->counters)))
		counters =
			mmap(NULL, sizeof(*share->counters), PROT_READ | PROT_WRITE, MAP_SHARED, share->counters_fd, 0);
	if (counters == MAP_FAILED) {
		served_free(share);
		return NULL;
	}
	share->counters = counters;
	share->counters->timed = s->timed;
	TAILQ_INSERT_TAIL(&s->list, share, next);
	return share;
}

struct shares *shares_new(struct loop *loop, const struct shares_events *events, void *ctx)
{
	struct shares *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct shares){.loop = loop, .events = events, .ctx = ctx};
	TAILQ_INIT(&s->list);
	TAILQ_INIT(&s->servers);
	s->sigchld = loop_signal_new(loop, SIGCHLD, on_sigchld, s);
	if (!s->sigchld) {
		free(s);
		return NULL;
	}
	return s;
}

void shares_free(struct shares *s)
{
	struct server *server;
	struct served *share;

	if (!s)
		return;
	while ((server = TAILQ_FIRST(&s->servers))) {
		if (server->pid > 0) {
			kill(server->pid, SIGKILL);
			waitpid(server->pid, NULL, WNOHANG);
		}
		if (server->relay)
			relay_abort(server->relay, MUX_REASON_CANCELLED);
		server_free(server);
	}
	while ((share = TAILQ_FIRST(&s->list))) {
		TAILQ_REMOVE(&s->list, share, next);
		served_free(share);
	}
	loop_signal_free(s->sigchld);
	free(s);
}
