/* SPDX-License-Identifier: MIT */
/* Asking a helper for a watch of ports. See lent_watch.h and helper.h. */
#include "lent_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fd_packet.h"
#include "helper.h"
#include "helper_spawn.h"
#include "log.h"
#include "loop.h"

/* SERVICE -> (no answer, or no) SUDO -> NONE; from either of the former -> LENT -> NONE. */
enum lent_state { LENT_SERVICE, LENT_SUDO, LENT_LENT, LENT_NONE };

struct lent_watch {
	struct loop *loop;
	const struct lent_watch_events *events;
	void *ctx;
	enum lent_state state;
	int sock;
	struct loop_fd *watch;
	struct helper_child *child;
	struct loop_timer *next; /* of zero: the next way is tried */
	char why[128];           /* of the last one that said no */
};

static void socket_close(struct lent_watch *l)
{
	loop_fd_free(l->watch);
	l->watch = NULL;
	if (l->sock >= 0)
		close(l->sock);
	l->sock = -1;
}

static void leave_way(struct lent_watch *l)
{
	socket_close(l);
	l->state = l->state == LENT_SERVICE ? LENT_SUDO : LENT_NONE;
	loop_timer_set(l->next, 0);
}

static int packet_receive(int sock, struct helper_reply *reply, int *ring)
{
	char buf[HELPER_MESSAGE_MAX];
	ssize_t len = fd_packet_receive(sock, buf, sizeof(buf), ring, 1);

	if (len < 0)
		return (int)len;
	return len == 0 ? -ENOTCONN : helper_reply_get(buf, (size_t)len, reply);
}

static void on_helper(void *ctx, int sock, unsigned what)
{
	struct lent_watch *l = ctx;
	struct helper_reply reply = {.error = EIO};
	int ring, rc = packet_receive(sock, &reply, &ring);

	(void)what;
	if (rc == -EAGAIN || rc == -EINTR)
		return;
	if (rc == 0 && !reply.error && ring >= 0 && l->state != LENT_LENT) {
		l->state = LENT_LENT;
		l->events->lent(l->ctx, ring);
		return;
	}
	if (ring >= 0)
		close(ring);
	if (rc == 0)
		text_printable(l->why, sizeof(l->why), reply.text, strlen(reply.text));
	leave_way(l);
}

static void on_child_gone(void *ctx)
{
	struct lent_watch *l = ctx;

	l->child = NULL;
}

static int way_try(struct lent_watch *l)
{
	const struct helper_request request = {.type = HELPER_WATCH};
	struct wire_buf out = {0};
	int rc = 0;
	pid_t pid;

	if (l->state == LENT_SERVICE) {
		rc = l->sock = helper_connect();
	} else {
		rc = pid = helper_spawn(HELPER_BY_SUDO, &l->sock);
		if (pid > 0)
			l->child = helper_child_new(l->loop, pid, on_child_gone, l);
	}
	if (rc < 0)
		return rc;
	l->watch = loop_fd_new(l->loop, l->sock, LOOP_READ, on_helper, l);
	helper_request_put(&out, &request);
	rc = -ENOMEM;
	if (l->watch && !out.failed)
		rc = fd_packet_send(l->sock, out.data, out.len, NULL, 0);
	wire_buf_free(&out);
	return rc;
}

static void on_next(void *ctx)
{
	struct lent_watch *l = ctx;

	if (l->state == LENT_NONE)
		l->events->ended(l->ctx, l->why[0] ? l->why : NULL);
	else if (way_try(l) < 0)
		leave_way(l);
}

struct lent_watch *lent_watch_new(struct loop *loop, const struct lent_watch_events *events, void *ctx)
{
	struct lent_watch *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct lent_watch){.loop = loop, .events = events, .ctx = ctx, .sock = -1};
	l->next = loop_timer_new(loop, on_next, l);
	if (!l->next) {
		free(l);
		return NULL;
	}
	loop_timer_set(l->next, 0);
	return l;
}

void lent_watch_free(struct lent_watch *l)
{
	if (!l)
		return;
	socket_close(l);
	helper_child_forget(l->child);
	loop_timer_free(l->next);
	free(l);
}
