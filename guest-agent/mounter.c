/* SPDX-License-Identifier: MIT */
/* The agent's side of the helper. See mounter.h and helper.h. */
#include "mounter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fd_packet.h"
#include "helper.h"
#include "helper_spawn.h"
#include "keep_socket.h"
#include "log.h"
#include "loop.h"

/* In this order, but for root's, which is the only one there beside what was left. */
enum way { WAY_LEFT, WAY_ROOT, WAY_SERVICE, WAY_SUDO, WAY_USER, WAY_NONE };
static const char *const way_names[] = {"an earlier agent", "root", "the helper", "sudo", "fusermount3", "none"};

#define HELPER_GONE "the helper that mounted it has gone"

/* An agent that is ending may still have the mount: its helper answers when it has gone. */
#define LEFT_US 3000000u

/* What this one is mounted instead of has gone after so many attempts, or it stays. */
#define INSTEAD_TRIES 20u
#define INSTEAD_US    50000u

/* When it could not be made read-only because of what is open in it: how long until the next attempt. */
#define READ_ONLY_AGAIN_US 1000000u

/* TRYING a way -> (its helper ended) -> TRYING the next, or failed; -> MOUNTED -> ENDING -> ended. */
enum phase { PHASE_TRYING, PHASE_MOUNTED, PHASE_ENDING };

struct mounter {
	struct loop *loop;
	const struct mounter_events *events;
	void *ctx;
	struct helper_request request; /* its flags: what is wanted */
	uint8_t flags;                 /* what was obtained */
	bool remounting;               /* REMOUNT was sent, and is not answered; */
	bool is_again;                 /* by nobody's word but our own */
	bool same_way;                 /* is to be tried once more, */
	unsigned tries;                /* so many times at most because of what is there */
	char *keep_path;               /* NULL: not kept */
	uint32_t keep_s;
	bool kept;
	enum way way;
	enum phase phase;
	struct helper_child *child;
	int sock;
	struct loop_fd *watch;
	struct loop_timer *start; /* and the patience with who has left something */
	struct loop_timer *read_only_again;
	int error; /* of the last way that failed */
	char text[600];
};

static void mounter_try(struct mounter *m);
static void on_remount_reply(struct mounter *m, const struct helper_reply *reply);

/* The helper of the present way has gone. */
static void helper_gone(struct mounter *m)
{
	switch (m->phase) {
	case PHASE_TRYING:
		if (m->same_way) {
			m->same_way = false;
			loop_timer_set(m->start, INSTEAD_US);
			break;
		}
		if (m->way == WAY_LEFT)
			m->way = geteuid() == 0 ? WAY_ROOT : WAY_SERVICE;
		else
			m->way = m->way == WAY_ROOT ? WAY_NONE : m->way + 1;
		mounter_try(m);
		break;
	case PHASE_MOUNTED: /* the mount is served all the same */
		if (m->remounting)
			on_remount_reply(m, &(struct helper_reply){.error = ENOTCONN, .text = HELPER_GONE});
		break;
	case PHASE_ENDING:
		m->events->ended(m->ctx);
		break;
	}
}

static void on_child_gone(void *ctx)
{
	struct mounter *m = ctx;

	m->child = NULL;
	/* One that sudo has started goes on alone: its end is that of the socket. */
	if (m->sock < 0)
		helper_gone(m);
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

static int request_send(struct mounter *m, const struct helper_request *request, const int *fds, size_t count);

static int request_unmount(struct mounter *m, bool lazy)
{
	struct helper_request request = {.type = HELPER_UNMOUNT, .flags = lazy ? HELPER_LAZY : 0};

	snprintf(request.target, sizeof(request.target), "%s", m->request.target);
	return m->sock < 0 ? -ENOTCONN : request_send(m, &request, NULL, 0);
}

/* Whether what is mounted with these flags can become what is wanted, or can stay what it is: see mounter.h. */
static bool can_be(uint8_t flags, uint8_t wanted)
{
	return flags & HELPER_CAN_REMOUNT || !(flags & HELPER_READ_ONLY) || wanted & HELPER_READ_ONLY;
}

/* What an earlier agent left. Who cannot have it goes on to the next way, when it was unmounted or at once. */
static void on_take_reply(struct mounter *m, const struct helper_reply *reply, const int fds[HELPER_FDS])
{
	bool fits = !reply->error && fds[0] >= 0 && fds[1] >= 0;
	int rc = 0;

	loop_timer_stop(m->start);
	if (fits && m->phase == PHASE_TRYING && can_be(reply->flags, m->request.flags)) {
		m->kept = true;
		m->phase = PHASE_MOUNTED;
		m->flags = reply->flags;
		rc = m->events->taken(m->ctx, fds[0], fds[1], reply->flags & HELPER_ALLOW_OTHER);
		if (rc == 0) {
			log_info("mount %s: taken up where an earlier agent left it", m->request.target);
			return;
		}
		m->phase = PHASE_TRYING;
		m->kept = false;
		log_warn("mount %s: what an earlier agent left there is mounted anew", m->request.target);
	} else {
		for (size_t i = 0; i < HELPER_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		if (!fits)
			log_warn("%s", reply->text);
	}
	if (fits && request_unmount(m, true) == 0) {
		unlink(m->keep_path);
		return; /* goes on with the answer */
	}
	helper_end(m);
}

static void on_mount_reply(struct mounter *m, const struct helper_reply *reply, int fd)
{
	if (m->phase == PHASE_ENDING) {
		/* Too late: it is taken away again. */
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0 && !can_be(reply->flags, m->request.flags)) {
		/* It was wanted writable only meanwhile. */
		close(fd);
		m->same_way = true;
		helper_end(m);
		return;
	}
	if (!reply->error && fd >= 0) {
		log_debug("mounted %s by %s", m->request.target, way_names[m->way]);
		m->phase = PHASE_MOUNTED;
		m->flags = reply->flags;
		m->events->mounted(m->ctx, fd, reply->flags & HELPER_ALLOW_OTHER);
		return;
	}
	m->error = reply->error ? (int)reply->error : EPROTO;
	snprintf(m->text, sizeof(m->text), "%s", reply->text);
	if (m->error == EBUSY && m->tries > 0) {
		m->tries--;
		m->same_way = true;
		helper_end(m);
		return;
	}
	/* Root has looked at the mount point: nobody else will find it better. But who has no leave may have sudo's. */
	if (m->way == WAY_SUDO || (m->way == WAY_SERVICE && m->error != EACCES))
		m->way = WAY_USER;
	helper_end(m);
}

static void on_helper(void *ctx, int sock, unsigned what)
{
	struct mounter *m = ctx;
	char buf[HELPER_MESSAGE_MAX];
	struct helper_reply reply;
	int fds[HELPER_FDS];
	ssize_t len = fd_packet_receive(sock, buf, sizeof(buf), fds, HELPER_FDS);

	(void)what;
	if (len == -EAGAIN || len == -EINTR)
		return;
	if (len <= 0 || helper_reply_get(buf, (size_t)len, &reply) < 0) {
		/* It never came to be (no sudo, or no right to it), or it has died. */
		on_socket_end(m);
		return;
	}
	switch (reply.type) {
	case HELPER_MOUNT:
		on_mount_reply(m, &reply, fds[0]);
		break;
	case HELPER_TAKE:
		on_take_reply(m, &reply, fds);
		break;
	case HELPER_KEEP:
		if (reply.error)
			log_warn("mount %s: it ends with this agent: %s", m->request.target, reply.text);
		m->kept = !reply.error;
		break;
	case HELPER_REMOUNT:
		on_remount_reply(m, &reply);
		break;
	case HELPER_UNMOUNT:
		if (m->phase == PHASE_TRYING)
			helper_end(m); /* of what an earlier agent left */
		else
			m->events->unmounted(m->ctx, (int)reply.error, reply.text);
		break;
	}
}

static int request_send(struct mounter *m, const struct helper_request *request, const int *fds, size_t count)
{
	struct wire_buf out = {0};
	int rc = -ENOMEM;

	helper_request_put(&out, request);
	if (!out.failed)
		rc = fd_packet_send(m->sock, out.data, out.len, fds, count);
	wire_buf_free(&out);
	return rc;
}

/* Of one that nobody is connected to, or that is not watched, no end would be heard. */
static int helper_begin(struct mounter *m, const struct helper_request *request)
{
	m->watch = loop_fd_new(m->loop, m->sock, LOOP_READ, on_helper, m);
	if (m->watch)
		return request_send(m, request, NULL, 0);
	close(m->sock);
	m->sock = -1;
	return -ENOMEM;
}

/* systemd starts one for the connection. */
static int service_connect(struct mounter *m)
{
	int fd = helper_connect();

	if (fd < 0)
		return fd;
	m->sock = fd;
	return helper_begin(m, &m->request);
}

/* The helper of a mount whose agent has gone. */
static int left_connect(struct mounter *m)
{
	struct helper_request take = {.type = HELPER_TAKE, .value = HELPER_VERSION};
	int fd = m->keep_path ? keep_socket_connect(m->keep_path) : -ENOENT;

	if (fd < 0)
		return fd;
	m->sock = fd;
	snprintf(take.target, sizeof(take.target), "%s", m->request.target);
	loop_timer_set(m->start, LEFT_US);
	return helper_begin(m, &take);
}

static int helper_start(struct mounter *m)
{
	pid_t pid = helper_spawn(m->way == WAY_ROOT   ? HELPER_BY_ROOT
				 : m->way == WAY_SUDO ? HELPER_BY_SUDO
						      : HELPER_BY_USER,
				 &m->sock);

	if (pid < 0)
		return pid;
	m->child = helper_child_new(m->loop, pid, on_child_gone, m);
	return helper_begin(m, &m->request);
}

static void mounter_try(struct mounter *m)
{
	int rc;

	if (m->way == WAY_NONE) {
		if (!m->text[0])
			snprintf(m->text, sizeof(m->text),
				 helper_may_gain() ? "%.400s: neither root, nor sudo, nor fusermount3 could mount it"
						   : "%.400s: " HELPER_SOCKET
						     " does not answer, and what starts the agent "
						     "lets it mount in no other way (NoNewPrivileges): see "
						     "homeport-guest(8), SERVICE",
				 m->request.target);
		m->events->failed(m->ctx, m->error ? m->error : EPERM, m->text);
		return;
	}
	if (m->way == WAY_LEFT)
		rc = left_connect(m);
	else
		rc = m->way == WAY_SERVICE ? service_connect(m) : helper_start(m);
	if (rc < 0) {
		if (m->way != WAY_LEFT)
			m->error = -rc;
		on_socket_end(m);
	}
}

static void on_start(void *ctx)
{
	struct mounter *m = ctx;

	if (m->sock >= 0)
		on_socket_end(m); /* whoever has what was left there does not let go */
	else
		mounter_try(m);
}

/* -------------------------------------------------------------------------------------------------------- read-only */

static bool is_as_wanted(const struct mounter *m)
{
	return !((m->flags ^ m->request.flags) & HELPER_READ_ONLY);
}

static int remount_ask(struct mounter *m)
{
	struct helper_request remount = {.type = HELPER_REMOUNT, .flags = m->request.flags & HELPER_READ_ONLY};
	int rc = m->sock < 0 ? -ENOTCONN : request_send(m, &remount, NULL, 0);

	m->remounting = rc == 0;
	return rc;
}

static void on_read_only_again(void *ctx)
{
	struct mounter *m = ctx;

	if (m->phase == PHASE_MOUNTED && !m->remounting && !is_as_wanted(m) && remount_ask(m) == 0)
		m->is_again = true;
}

static void on_remount_reply(struct mounter *m, const struct helper_reply *reply)
{
	bool is_again = m->is_again;

	m->remounting = m->is_again = false;
	if (m->phase != PHASE_MOUNTED)
		return;
	if (!reply->error)
		m->flags = reply->flags;
	if (!is_as_wanted(m) && reply->error == EBUSY)
		loop_timer_set(m->read_only_again, READ_ONLY_AGAIN_US);
	else if (!is_as_wanted(m) && !reply->error && remount_ask(m) == 0)
		return; /* it was changed meanwhile */
	if (reply->error && reply->error != EBUSY)
		log_warn("mount %s: it stays %s: %s", m->request.target,
			 m->flags & HELPER_READ_ONLY ? "read-only" : "writable", reply->text);
	if (!is_again)
		m->events->remounted(m->ctx, reply->text);
}

int mounter_set_read_only(struct mounter *m, bool read_only)
{
	uint8_t wanted = (uint8_t)((m->request.flags & ~HELPER_READ_ONLY) | (read_only ? HELPER_READ_ONLY : 0));

	if (m->phase == PHASE_MOUNTED && !can_be(m->flags, wanted))
		return -EINVAL;
	m->request.flags = wanted;
	if (m->phase != PHASE_MOUNTED)
		return 0;
	if (m->remounting) {
		m->is_again = false;
		return 1;
	}
	loop_timer_stop(m->read_only_again);
	if (is_as_wanted(m) || !(m->flags & HELPER_CAN_REMOUNT))
		return 0;
	if (remount_ask(m) == 0)
		return 1;
	return read_only ? 0 : -EINVAL;
}

bool mounter_is_read_only(const struct mounter *m)
{
	return m->flags & HELPER_READ_ONLY;
}

/* ------------------------------------------------------------------------------------------------------ begin, end */

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
	m->way = WAY_LEFT;
	m->keep_s = params->keep_s;
	m->tries = params->instead ? INSTEAD_TRIES : 0;
	m->request.type = HELPER_MOUNT;
	m->request.value = params->owner;
	m->request.flags =
		(uint8_t)((params->allow_other ? HELPER_ALLOW_OTHER : 0) | (params->read_only ? HELPER_READ_ONLY : 0));
	snprintf(m->request.target, sizeof(m->request.target), "%s", params->target);
	m->start = loop_timer_new(loop, on_start, m);
	m->read_only_again = loop_timer_new(loop, on_read_only_again, m);
	m->keep_path = params->keep_path ? strdup(params->keep_path) : NULL;
	if (!m->start || !m->read_only_again || (params->keep_path && !m->keep_path)) {
		mounter_leave(m);
		return NULL;
	}
	loop_timer_set(m->start, 0);
	return m;
}

/* Without a word the helper would keep it: ours, or that of an earlier agent, which we may just have asked. */
static void give_up(struct mounter *m)
{
	if (m->kept) {
		request_unmount(m, true);
		unlink(m->keep_path);
	} else if (m->keep_path && m->phase == PHASE_TRYING && m->way == WAY_LEFT) {
		keep_socket_unmount(m->keep_path);
	}
	m->kept = false;
}

void mounter_free(struct mounter *m)
{
	if (m)
		give_up(m);
	mounter_leave(m);
}

void mounter_leave(struct mounter *m)
{
	if (!m)
		return;
	socket_close(m);
	helper_child_forget(m->child);
	loop_timer_free(m->start);
	loop_timer_free(m->read_only_again);
	free(m->keep_path);
	free(m);
}

void mounter_keep(struct mounter *m, int memory)
{
	struct helper_request keep = {.type = HELPER_KEEP, .value = m->keep_s};
	int fds[HELPER_FDS] = {-1, memory}, rc;

	if (!m->keep_path)
		return;
	fds[0] = keep_socket_listen(m->keep_path);
	rc = fds[0] < 0 ? fds[0] : request_send(m, &keep, fds, HELPER_FDS);
	if (fds[0] >= 0)
		close(fds[0]);
	if (rc < 0)
		log_warn("mount %s: it ends with this agent: %s", m->request.target, strerror(-rc));
	m->kept = rc == 0;
}

void mounter_unmount(struct mounter *m, bool lazy)
{
	int rc = request_unmount(m, lazy);

	if (rc < 0)
		m->events->unmounted(m->ctx, -rc, HELPER_GONE);
}

void mounter_end(struct mounter *m)
{
	give_up(m);
	m->phase = PHASE_ENDING;
	loop_timer_stop(m->start);
	loop_timer_stop(m->read_only_again);
	helper_end(m);
}
