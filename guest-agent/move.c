/* SPDX-License-Identifier: MIT */
/* See move.h. Runs on the loop's thread. */
#include "move.h"

#include <errno.h>
#include <stdlib.h>

#include "anchor.h"
#include "chan.h"
#include "direct.h"
#include "greeter.h"
#include "log.h"
#include "loop.h"
#include "own_sockets.h"
#include "ssh_ends.h"

/* The host hears of the end of its login as we do, and gives the session's connection up itself; one that does not is
 * helped to it. */
#define MOVE_ENDED_US 1000000u

struct move {
	struct loop *loop;
	struct ssh_ends ends;
	const struct move_events *events;
	void *ctx;
	uint32_t number; /* of the host's last DIRECT */
	struct direct *attempt;
	uint64_t listening; /* the inode of our socket, of this attempt or an earlier one; 0: none */
	struct greeter *greeter;
	struct anchor *anchor;
	struct loop_timer *ended;
};

static void on_ended(void *ctx)
{
	struct move *m = ctx;

	m->events->ended(m->ctx, "the ssh connection has ended");
}

struct move *move_new(struct loop *loop, const struct ssh_ends *ends, const struct move_events *events, void *ctx)
{
	struct move *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	*m = (struct move){.loop = loop, .ends = *ends, .events = events, .ctx = ctx};
	m->ended = loop_timer_new(loop, on_ended, m);
	if (m->ended)
		return m;
	free(m);
	return NULL;
}

void move_free(struct move *m)
{
	if (!m)
		return;
	direct_free(m->attempt);
	own_sockets_closed(m->listening);
	greeter_free(m->greeter);
	anchor_free(m->anchor);
	loop_timer_free(m->ended);
	free(m);
}

static void tell(struct move *m, uint16_t port, int error)
{
	struct control_msg msg = {.type = CONTROL_DIRECT_STATE};

	msg.direct_state.number = m->number;
	msg.direct_state.port = port;
	msg.direct_state.error = (uint32_t)error;
	m->events->message(m->ctx, &msg);
}

static void on_greeted(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		       size_t rest_len, const char *why)
{
	struct move *m = ctx;

	m->greeter = NULL; /* it frees itself */
	if (chan)
		m->events->connected(m->ctx, chan, hello, rest, rest_len);
	else
		log_info("a direct connection came to nothing: %s", why);
}

static void on_listened(void *ctx, struct chan *chan, const char *why)
{
	struct move *m = ctx;

	m->attempt = NULL;
	own_sockets_closed(m->listening);
	if (chan)
		m->greeter = greeter_new(m->loop, chan, on_greeted, m);
	else
		log_debug("no direct connection: %s", why);
}

/* The host, which listens, hears of a failure from us. */
static void on_connected(void *ctx, struct chan *chan, const char *why)
{
	struct move *m = ctx;

	on_listened(ctx, chan, why);
	if (!m->greeter)
		tell(m, 0, ETIMEDOUT);
}

static void guest_listens(struct move *m, const uint8_t *key)
{
	uint16_t port;
	int rc = direct_listen(m->loop, &m->ends.server, key, on_listened, m, &m->attempt, &port, &m->listening);

	if (rc < 0) {
		tell(m, 0, -rc);
		return;
	}
	own_sockets_add(m->listening);
	tell(m, port, 0);
}

static void host_listens(struct move *m, uint16_t port, const uint8_t *key)
{
	struct sock_address to = m->ends.client;
	int rc;

	sock_address_set_port(&to, port);
	rc = direct_connect(m->loop, &to, key, on_connected, m, &m->attempt);
	if (rc < 0)
		tell(m, 0, -rc);
}

void move_ask(struct move *m, const struct control_direct *direct)
{
	direct_free(m->attempt);
	m->attempt = NULL;
	own_sockets_closed(m->listening);
	greeter_free(m->greeter);
	m->greeter = NULL;
	m->number = direct->number;
	if (!m->ends.server.len)
		tell(m, 0, EAFNOSUPPORT);
	else if (direct->way == DIRECT_GUEST_LISTENS)
		guest_listens(m, direct->key);
	else
		host_listens(m, direct->port, direct->key);
}

static void on_anchor_ended(void *ctx, const char *why)
{
	struct move *m = ctx;

	(void)why;
	loop_timer_set(m->ended, MOVE_ENDED_US);
}

int move_leave(struct move *m, struct chan *ssh)
{
	anchor_free(m->anchor);
	m->anchor = anchor_new(m->loop, ssh, ANCHOR_GUEST, on_anchor_ended, m);
	return m->anchor ? 0 : -ENOMEM;
}
