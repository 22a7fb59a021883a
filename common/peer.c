/* SPDX-License-Identifier: MIT */
/*
 * One end of the pair. See peer.h. Runs on the loop's thread.
 *
 * Theory of operation. Everything that changes the peer's own state waits for the hook at the end of the turn: chan and
 * session callbacks only note what happened (drop_why, a session that is DEAD), so that neither a chan, nor the mux, is
 * freed below a function of theirs. What is noted outside of a turn's callbacks, in a later hook say, sets a timer of
 * zero, so that a turn follows at once.
 *
 * Bytes stay in the streams, where they can still be reordered, until the connection is about to take them: the session
 * is filled one write ahead, and only while the chan takes what it is given.
 */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bounds.h"
#include "chan.h"
#include "loop.h"
#include "wire.h"

/* One write ahead. */
#define PEER_FILL (4u * SESSION_FRAME_MAX)

struct peer {
	struct loop *loop;
	struct loop_hook *hook;
	struct loop_timer *timer; /* the session's next deadline */
	struct loop_timer *again; /* of zero: another turn is wanted */
	const struct peer_events *events;
	void *ctx;
	struct session *session;
	struct mux *mux; /* NULL once dead */
	struct chan *chan;
	uint64_t overtakes;      /* of the mux, as last seen, */
	uint64_t mixed_until_us; /* and until when they count */
	uint64_t timer_us;       /* when timer fires; UINT64_MAX: not set */
	uint64_t hangup_us;      /* when hang-ups have waited long enough; UINT64_MAX: there are none */
	uint64_t goodbye_us;     /* when GOODBYE is no longer waited for */
	bool blocked;            /* the chan said so; `writable` follows */
	bool dropping;           /* the connection is to be given up, */
	char drop_why[256];      /* because of this */
	bool parting;            /* GOODBYE, and then the other side's end of the connection */
	bool dead;               /* was told */
};

static void peer_kick(struct peer *p)
{
	if (!loop_timer_is_set(p->again))
		loop_timer_set(p->again, 0);
}

static void on_peer_again(void *ctx)
{
	/* The turn is what was wanted: its hook does the work. */
	(void)ctx;
}

static void peer_drop(struct peer *p, const char *why)
{
	if (!p->chan || p->dropping)
		return;
	p->dropping = true;
	snprintf(p->drop_why, sizeof(p->drop_why), "%s", why);
	peer_kick(p);
}

/* The connection is gone. */
static void peer_down(struct peer *p)
{
	p->dropping = p->blocked = false;
	chan_free(p->chan);
	p->chan = NULL;
	session_detach(p->session, loop_now_us(p->loop));
	if (session_state(p->session) != SESSION_DEAD)
		p->events->down(p->ctx, p->drop_why);
}

static void peer_die(struct peer *p)
{
	const char *text;
	enum session_reason reason = session_reason(p->session, &text);
	struct mux *m = p->mux;
	struct chan *chan = p->chan;

	p->dead = true;
	loop_timer_stop(p->timer);
	if (chan)
		chan_set_owner(chan, NULL, NULL);
	p->chan = NULL;
	p->mux = NULL;
	mux_free(m);
	p->events->dead(p->ctx, reason, text);
	/* Its end tells the other side that all is undone. */
	chan_free(chan);
}

/* -------------------------------------------------------------------------------------------- what comes from below */

static void peer_take(struct peer *p, const uint8_t *data, size_t len)
{
	int r;

	if (p->dropping || !p->chan)
		return;
	r = session_receive(p->session, data, len, loop_now_us(p->loop));
	if (r == -ECONNABORTED || r == -EBADMSG)
		peer_drop(p, session_trouble(p->session));
}

static void on_peer_data(void *ctx, const uint8_t *data, size_t len)
{
	peer_take(ctx, data, len);
}

static int on_peer_outlet(void *ctx, size_t *max)
{
	struct peer *p = ctx;

	*max = 0;
	return p->dropping || !p->chan ? -1 : session_outlet(p->session, max);
}

static void on_peer_passed(void *ctx, size_t n)
{
	struct peer *p = ctx;

	session_passed(p->session, n, loop_now_us(p->loop));
}

static void on_peer_writable(void *ctx)
{
	((struct peer *)ctx)->blocked = false;
}

static void on_peer_closed(void *ctx, int error, const char *why)
{
	(void)error;
	peer_drop(ctx, why);
}

static const struct chan_events peer_chan_events = {
	.data = on_peer_data,
	.writable = on_peer_writable,
	.outlet = on_peer_outlet,
	.passed = on_peer_passed,
	.closed = on_peer_closed,
};

static void on_session_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	struct peer *p = ctx;

	p->events->up(p->ctx, resumed, remote);
}

static void on_session_data(void *ctx, const uint8_t *data, size_t len)
{
	struct peer *p = ctx;
	const char *why;
	char text[SESSION_TEXT_MAX];

	if (mux_receive(p->mux, data, len, &why) == 0)
		return;
	snprintf(text, sizeof(text), "the other side broke the protocol: %s", why);
	peer_goodbye(p, SESSION_REASON_PROTOCOL, text);
}

static int on_session_outlet(void *ctx, size_t *max)
{
	return mux_outlet(((struct peer *)ctx)->mux, max);
}

static void on_session_passed(void *ctx, size_t n)
{
	mux_passed(((struct peer *)ctx)->mux, n);
}

static void on_session_skipped(void *ctx, const uint8_t *data, size_t len)
{
	struct peer *p = ctx;

	if (p->events->skipped)
		p->events->skipped(p->ctx, data, len);
}

static const struct session_events peer_session_events = {
	.up = on_session_up,
	.data = on_session_data,
	.outlet = on_session_outlet,
	.passed = on_session_passed,
	.skipped = on_session_skipped,
};

static void on_mux_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct peer *p = ctx;

	p->events->open(p->ctx, stream, kind, args, len);
}

static void on_mux_pending(void *ctx)
{
	peer_kick(ctx);
}

static const struct mux_events peer_mux_events = {on_mux_open, on_mux_pending};

/* ------------------------------------------------------------------------------------------------- what goes to it */

/* Whether small messages pass amid bulk, or did a moment ago. */
static bool peer_is_mixed(struct peer *p)
{
	uint64_t overtakes = mux_overtakes(p->mux);

	if (overtakes != p->overtakes) {
		p->overtakes = overtakes;
		p->mixed_until_us = loop_now_us(p->loop) + PEER_MIXED_US;
	}
	return p->mixed_until_us && loop_now_us(p->loop) < p->mixed_until_us;
}

/*
 * What is under way cannot be overtaken any more. Alone, bulk may fill the connection; while small messages go before
 * it, half of that, which costs it some throughput and saves them most of their waiting.
 */
static void peer_hold_bulk(struct peer *p)
{
	mux_hold_bulk(p->mux, session_crowded(p->session) && peer_is_mixed(p));
}

/* Moves frames from the mux into the session, in place. */
static void peer_fill(struct peer *p)
{
	peer_hold_bulk(p);
	while (session_unsent(p->session) < PEER_FILL && mux_pending(p->mux)) {
		size_t len;
		uint8_t *place = session_reserve(p->session, SESSION_FRAME_MAX, &len);
		/* Never grown: no more is asked for than is there. */
		struct wire_buf buf = {.data = place, .cap = len};
		ssize_t n = place ? mux_produce(p->mux, &buf, len) : 0;

		if (n < 0 || (!place && session_room(p->session)))
			peer_goodbye(p, SESSION_REASON_RESOURCES, "out of memory");
		if (n <= 0)
			return;
		session_commit(p->session, (size_t)n);
		peer_hold_bulk(p);
	}
}

static void peer_write(struct peer *p)
{
	bool mixed = p->chan && peer_is_mixed(p);
	size_t budget = mixed ? PEER_TURN_MIXED : PEER_TURN;

	if (p->chan)
		chan_set_turn(p->chan, mixed ? PEER_TURN_MIXED : 0);
	while (p->chan && !p->blocked && !p->dropping) {
		const uint8_t *data;
		size_t len, taken;
		bool kept;

		if (!budget) {
			peer_kick(p);
			return;
		}
		if (session_state(p->session) == SESSION_UP && session_unsent(p->session) < SESSION_FRAME_MAX)
			peer_fill(p);
		len = session_produce(p->session, &data, &kept);
		if (!len)
			return;
		if (len > budget)
			len = budget;
		taken = kept ? chan_write_kept(p->chan, data, len) : chan_write(p->chan, data, len);
		p->blocked = taken < len;
		session_produced(p->session, taken, loop_now_us(p->loop));
		budget -= taken;
	}
}

static void peer_tick_hangups(struct peer *p, uint64_t now_us)
{
	if (!mux_has_hangups(p->mux)) {
		p->hangup_us = UINT64_MAX;
	} else if (p->hangup_us == UINT64_MAX) {
		p->hangup_us = now_us + MUX_HANGUP_US;
	} else if (now_us >= p->hangup_us) {
		p->hangup_us = UINT64_MAX;
		mux_hang_up(p->mux);
	}
}

static void peer_tick(struct peer *p)
{
	uint64_t now_us = loop_now_us(p->loop);
	uint64_t next_us;

	if (session_tick(p->session, now_us, &next_us) == -ETIMEDOUT)
		peer_drop(p, session_trouble(p->session));
	if (now_us >= p->goodbye_us)
		peer_drop(p, "goodbye");
	if (p->goodbye_us < next_us)
		next_us = p->goodbye_us;
	peer_tick_hangups(p, now_us);
	if (p->hangup_us < next_us)
		next_us = p->hangup_us;
	/* Deadlines mostly move away: a timer that fires too early is cheaper than one set every turn. */
	if (next_us >= p->timer_us || next_us == UINT64_MAX)
		return;
	p->timer_us = next_us;
	loop_timer_set(p->timer, next_us > now_us ? next_us - now_us : 0);
}

static void on_peer_timer(void *ctx)
{
	struct peer *p = ctx;

	p->timer_us = UINT64_MAX;
}

static void on_peer_turn(void *ctx)
{
	struct peer *p = ctx;

	if (p->dead)
		return;
	loop_timer_stop(p->again);
	mux_deliver(p->mux);
	peer_tick(p);
	peer_write(p);
	if (p->dropping)
		peer_down(p);
	/* Our GOODBYE may still be on its way out; goodbye_us ends the waiting. */
	if (session_state(p->session) == SESSION_DEAD && p->chan && p->goodbye_us != UINT64_MAX &&
	    (p->parting || !chan_is_flushed(p->chan)))
		return;
	if (session_state(p->session) == SESSION_DEAD)
		peer_die(p);
	else if (session_state(p->session) != SESSION_UP)
		/* Without a connection nothing wakes us for the next deadline but the timer. */
		peer_tick(p);
}

/* --------------------------------------------------------------------------------------------------- from above */

struct peer *peer_new(struct loop *loop, enum session_role role, const struct session_hello *hello,
		      const struct peer_events *events, void *ctx)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->loop = loop;
	p->events = events;
	p->ctx = ctx;
	p->timer_us = p->goodbye_us = p->hangup_us = UINT64_MAX;
	p->session = session_new(role, hello, &peer_session_events, p);
	p->mux = mux_new(role == SESSION_HOST, &peer_mux_events, p);
	p->hook = loop_hook_new(loop, on_peer_turn, p);
	p->timer = loop_timer_new(loop, on_peer_timer, p);
	p->again = loop_timer_new(loop, on_peer_again, p);
	if (!p->session || !p->mux || !p->hook || !p->timer || !p->again) {
		peer_free(p);
		return NULL;
	}
	return p;
}

void peer_free(struct peer *p)
{
	struct mux *m;

	if (!p)
		return;
	m = p->mux;
	p->mux = NULL;
	p->dead = true;
	mux_free(m);
	chan_free(p->chan);
	session_free(p->session);
	loop_hook_free(p->hook);
	loop_timer_free(p->timer);
	loop_timer_free(p->again);
	free(p);
}

/* moves: the connection that is there has to be a good one. */
static int exchange(struct peer *p, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		    size_t rest_len, struct chan **old, bool moves)
{
	int r = peer_check_attach(p, hello);

	*old = NULL;
	if (r == 0 && p->dropping && p->chan && moves)
		r = -ENOTCONN;
	if (r < 0) {
		chan_free(chan);
		return r;
	}
	*old = p->chan;
	if (*old)
		chan_set_owner(*old, NULL, NULL);
	p->dropping = p->blocked = false;
	p->chan = chan;
	chan_set_owner(chan, &peer_chan_events, p);
	r = session_attach(p->session, hello, loop_now_us(p->loop));
	if (r < 0) {
		chan_free(chan);
		p->chan = *old;
		*old = NULL;
		peer_drop(p, "the connection could not be changed for another");
		return r;
	}
	if (rest_len)
		peer_take(p, rest, rest_len);
	peer_kick(p);
	return 0;
}

int peer_move(struct peer *p, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
	      size_t rest_len, struct chan **old)
{
	return exchange(p, chan, hello, rest, rest_len, old, true);
}

int peer_attach(struct peer *p, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		size_t rest_len)
{
	struct chan *old;
	int r = exchange(p, chan, hello, rest, rest_len, &old, false);

	/* Not `down`: whoever hears of it might attach another one, from in here. */
	chan_free(old);
	return r;
}

int peer_check_attach(const struct peer *p, const struct session_hello *hello)
{
	return p->dead ? -EPROTO : session_check_attach(p->session, hello);
}

void peer_goodbye(struct peer *p, enum session_reason reason, const char *text)
{
	if (p->dead)
		return;
	session_goodbye(p->session, reason, text);
	p->goodbye_us = loop_now_us(p->loop) + PEER_GOODBYE_WAIT_US;
	peer_kick(p);
}

void peer_part(struct peer *p, enum session_reason reason, const char *text)
{
	if (p->dead)
		return;
	peer_goodbye(p, reason, text);
	p->parting = true;
	p->goodbye_us = loop_now_us(p->loop) + PEER_PART_WAIT_US;
}

void peer_drop_connection(struct peer *p, const char *why)
{
	peer_drop(p, why);
}

bool peer_is_up(const struct peer *p)
{
	return !p->dead && session_state(p->session) == SESSION_UP;
}

struct mux *peer_mux(struct peer *p)
{
	return p->mux;
}

uint32_t peer_rtt_us(const struct peer *p)
{
	return session_rtt_us(p->session);
}

uint64_t peer_heard_us(const struct peer *p)
{
	return session_heard_us(p->session);
}

const struct session_hello *peer_identity(const struct peer *p)
{
	return session_identity(p->session);
}
