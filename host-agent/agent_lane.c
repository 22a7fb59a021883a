/* SPDX-License-Identifier: MIT */
/*
 * The session's lane (lane.h): where bulk goes, so that what is small does not wait for it.
 *
 * There is one while bulk passes and the session itself goes directly: it is asked for as the session's own direct
 * connection was, in the way in which that came about. Where it does not come about bulk stays where it is, and nobody
 * asks for a while. A lane that loses its connection goes on through a stream of the session's, and is given nothing
 * more until bulk passes there, another direct one is asked for, and comes about.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "agent_state.h"
#include "bounds.h"
#include "chan.h"
#include "direct.h"
#include "lane.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "peer.h"
#include "runtime_dir.h"

/* One that breaks so soon is not asked for again for a while, nor one that did not come about. */
#define LANE_SHORT_US  10000000u
#define LANE_PAUSE_US  600000000u
#define LANE_TUNNEL_US 1000000u /* one stream of the session's after the other, at the most so often */

static void tunnel_end(struct agent *a)
{
	if (a->lane.tunnel)
		relay_abort(a->lane.tunnel, MUX_REASON_CANCELLED);
	a->lane.tunnel = NULL;
}

static void lane_end(struct agent *a)
{
	struct lane *lane = a->lane.lane;

	a->lane.lane = NULL;
	a->lane.up = a->lane.direct = a->lane.short_lived = false;
	a->lane.began_us = 0;
	loop_timer_stop(a->lane.again);
	tunnel_end(a);
	lane_free(lane);
}

/* ------------------------------------------------------------------------------- through a stream of the session's */

/* The guest does not know the lane any more; else a stream that ends is the end of a connection like any other. */
static void on_tunnel_done(void *ctx, int error)
{
	struct agent *a = ctx;

	a->lane.tunnel = NULL;
	if (error == -ENOENT && a->lane.lane)
		lane_goodbye(a->lane.lane);
}

static void tunnel(struct agent *a)
{
	const struct relay_caller caller = {.carrier = &a->lane.tunnel_carrier, .done = on_tunnel_done, .ctx = a};
	struct mux_stream *stream;
	struct chan *chan;

	tunnel_end(a);
	stream = mux_open(peer_mux(a->peer), MUX_KIND_LANE, NULL, 0, NULL, NULL);
	chan = stream ? lane_through(a->loop, stream, &caller, &a->lane.tunnel) : NULL;
	if (!chan) {
		a->lane.tunnel = NULL;
		return;
	}
	log_info("session %s: bulk goes on through the session's own connection", a->dir->name);
	lane_attach(a->lane.lane, chan, NULL, NULL, 0);
}

static void on_again(void *ctx)
{
	struct agent *a = ctx;

	if (!a->lane.lane || a->lane.up || a->stopping || !a->peer || !peer_is_up(a->peer) ||
	    !control_stream_is_open(&a->control))
		return;
	a->lane.tunnel_us = loop_now_us(a->loop);
	loop_timer_set(a->lane.again, SESSION_GREETING_US);
	tunnel(a);
}

/* None is waited for any more. */
static void attempt_end(struct agent *a)
{
	direct_free(a->lane.attempt);
	a->lane.attempt = NULL;
	a->lane.number = 0;
	explicit_bzero(a->lane.key, sizeof(a->lane.key));
}

/* A lane hangs on the login as the session's direct connection does, and goes on as that does: with the next one. */
void agent_lane_lost(struct agent *a)
{
	attempt_end(a);
	a->lane.began_us = 0;
	a->lane.short_lived = false;
	if (a->lane.lane)
		lane_disconnect(a->lane.lane);
}

/* Where the session has no connection either, it is waited for. */
void agent_lane_resume(struct agent *a)
{
	if (a->lane.lane && !a->lane.up)
		loop_timer_set(a->lane.again, 0);
}

/* ------------------------------------------------------------------------------------------------------ as it goes */

static void on_state(void *ctx, enum lane_state state)
{
	struct agent *a = ctx;
	uint64_t since_us = loop_now_us(a->loop) - a->lane.tunnel_us;

	if (state == LANE_DEAD) {
		lane_end(a);
		return;
	}
	a->lane.up = state == LANE_UP;
	if (a->lane.up) {
		/* Nothing has ended but that connection: something between the two does not like it. */
		if (a->lane.short_lived)
			a->lane.not_before_us = loop_now_us(a->loop) + LANE_PAUSE_US;
		a->lane.short_lived = false;
		return;
	}
	if (a->lane.began_us)
		a->lane.short_lived = loop_now_us(a->loop) - a->lane.began_us < LANE_SHORT_US;
	a->lane.direct = false;
	a->lane.began_us = 0;
	loop_timer_set(a->lane.again, since_us < LANE_TUNNEL_US ? LANE_TUNNEL_US - since_us : 0);
}

static void on_idle(void *ctx)
{
	struct agent *a = ctx;

	if (a->lane.promised)
		return;
	a->lane.up = false; /* nothing more is given to it */
	lane_goodbye(a->lane.lane);
}

static const struct lane_events lane_events = {.state = on_state, .idle = on_idle};

static void give_up(struct agent *a, const char *why)
{
	log_info("session %s: bulk has no connection of its own: %s", a->dir->name, why);
	attempt_end(a);
	a->lane.not_before_us = loop_now_us(a->loop) + LANE_PAUSE_US;
}

static void on_done(void *ctx, struct chan *chan, const char *why)
{
	struct agent *a = ctx;
	struct session_hello hello;

	a->lane.attempt = NULL; /* it frees itself */
	if (!chan) {
		give_up(a, why);
		return;
	}
	attempt_end(a);
	if (!a->lane.lane && agent_new_hello(a, &hello) == 0)
		a->lane.lane = lane_new(a->loop, SESSION_HOST, &hello, &lane_events, a);
	if (!a->lane.lane) {
		chan_free(chan);
		give_up(a, "out of memory");
		return;
	}
	a->lane.direct = true;
	a->lane.began_us = loop_now_us(a->loop);
	lane_attach(a->lane.lane, chan, NULL, NULL, 0);
	log_info("session %s: bulk has a connection of its own", a->dir->name);
}

static void ask(struct agent *a)
{
	struct control_msg msg = {.type = CONTROL_DIRECT, .direct = {.way = a->direct.way, .lane = true}};
	struct agent_lane *l = &a->lane;
	uint64_t inode;
	int rc = getrandom(l->key, sizeof(l->key), 0) == sizeof(l->key) ? 0 : -EIO;

	if (rc == 0 && a->direct.way == DIRECT_HOST_LISTENS)
		rc = direct_listen(a->loop, &a->direct.local, l->key, on_done, a, &l->attempt, &msg.direct.port,
				   &inode);
	if (rc < 0) {
		give_up(a, strerror(-rc));
		return;
	}
	memcpy(msg.direct.key, l->key, sizeof(l->key));
	msg.direct.number = l->number = ++a->direct.number;
	agent_guest_send(a, &msg);
	explicit_bzero(&msg, sizeof(msg));
}

void agent_lane_state(struct agent *a, const struct control_direct_state *state)
{
	struct agent_lane *l = &a->lane;
	struct sock_address to = a->direct.remote;
	int rc = -(int)state->error;

	if (rc == 0 && !l->attempt) {
		sock_address_set_port(&to, state->port);
		rc = direct_connect(a->loop, &to, l->key, on_done, a, &l->attempt);
	}
	if (rc < 0)
		give_up(a, strerror(-rc));
}

/* ----------------------------------------------------------------------------------------------------- the carrier */

/* Bulk passes through the session's own connection. */
static void ask_if_due(struct agent *a)
{
	struct agent_lane *l = &a->lane;

	if (!l->direct && !l->number && !l->attempt && a->direct.up && l->not_before_us <= loop_now_us(a->loop) &&
	    control_stream_is_open(&a->control) && !a->stopping)
		ask(a);
}

static bool on_wanted(void *ctx)
{
	struct agent *a = ctx;

	if (a->lane.lane && a->lane.up && a->lane.direct) {
		a->lane.promised++;
		return true;
	}
	ask_if_due(a);
	return false;
}

static bool on_tunnel_wanted(void *ctx)
{
	ask_if_due(ctx);
	return false;
}

static void on_stayed(void *ctx, uint32_t id)
{
	struct agent *a = ctx;

	a->lane.promised--;
	if (id && a->lane.lane)
		lane_does_not_take(a->lane.lane, id);
}

static void *on_take(void *ctx, struct relay *relay, uint32_t id, struct relay_luggage *luggage)
{
	struct agent *a = ctx;

	a->lane.promised--;
	if (a->lane.lane)
		return lane_take(a->lane.lane, relay, id, luggage);
	relay_luggage_drop(luggage);
	return NULL;
}

int agent_lane_begin(struct agent *a)
{
	a->lane.carrier = (struct relay_carrier){
		.wanted = on_wanted, .stayed = on_stayed, .take = on_take, .drop = lane_drop, .ctx = a};
	a->lane.tunnel_carrier = (struct relay_carrier){.wanted = on_tunnel_wanted, .ctx = a};
	a->lane.again = loop_timer_new(a->loop, on_again, a);
	return a->lane.again ? 0 : -ENOMEM;
}

void agent_lane_end(struct agent *a)
{
	agent_lane_lost(a);
	if (a->lane.lane)
		lane_end(a);
}
