/* SPDX-License-Identifier: MIT */
/*
 * Bulk on a thread of its own. See lane.h.
 *
 * Theory of operation. The struct has two parts: the owner's, and the thread's, which nobody else touches while it
 * runs. What crosses is a post: an item of a handoff with what is to be done on the other side. Posts are parts of what
 * they are about, so none is lost for want of memory; each is under way once at most.
 *
 * A ride is one connection. Both sides bring theirs when their relay has left, in any order: the host's opens a stream
 * with the id it had; in the guest whichever comes first, the socket or the stream, waits for the other, which comes
 * when the session beside has a connection, or never: then the wait ends with the lane. The owner frees a ride when it
 * has heard that it ended; one that it dropped itself, when the thread has said that it heard of it, which is the last
 * word then.
 */
#include "lane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "bounds.h"
#include "chan.h"
#include "chan_fd.h"
#include "handoff.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "peer.h"
#include "relay.h"
#include "wire.h"

/* How often the owner counts what has passed; so much of it is bulk. */
#define LANE_COUNT_US 500000u
#define LANE_BUSY     (1u << 20)

struct post {
	struct handoff_item item; /* the first */
	void (*run)(struct post *post);
};

struct ride {
	struct lane *lane;
	struct post take, drop, ended;

	/* The owner's. */
	TAILQ_ENTRY(ride) next;
	struct relay *of;           /* NULL: it was dropped */
	uint64_t told_in, told_out; /* to `of` */
	struct relay_stats passed;  /* advanced by the thread */

	/* The thread's, but for when it begins. */
	TAILQ_ENTRY(ride) waits; /* lane.rides_waiting, while is_waiting */
	uint32_t id;
	struct relay_luggage luggage; /* fd -1: the relay has it, or it is gone */
	struct relay *relay;
	struct mux_stream *word; /* the host's, without a socket: to reset the guest's */
	int error;
	bool is_waiting, is_over, is_dropped;
};

/* A stream of the host's whose socket has not come yet. */
struct early {
	TAILQ_ENTRY(early) next;
	struct lane *lane;
	struct mux_stream *stream;
	uint32_t id;
	bool goes_on;
};

/* A connection on its way to the thread. */
struct arrival {
	struct post post;
	struct lane *lane; /* NULL: freed */
	struct chan *chan;
	bool greeted;
	struct session_hello hello;
	size_t len;
	uint8_t rest[];
};

struct lane {
	/* The owner's. */
	struct loop *loop;
	const struct lane_events *events;
	void *ctx;
	struct loop_fd *watch; /* of `up` */
	struct loop_timer *count;
	TAILQ_HEAD(, ride) rides;
	uint64_t empty_us;       /* since when nothing rides, if nothing does */
	uint64_t counted;        /* bytes since on_count() */
	bool busy;               /* the thread has work for a processor */
	struct arrival *arrival; /* leaves at the end of the turn */
	struct session_hello identity;
	struct post goodbye, stop;
	bool goodbye_sent, told_came;
	pthread_t thread;
	bool runs;

	struct handoff *down, *up; /* to the thread, and from it */

	/* The thread's. */
	struct loop *side;
	struct loop_fd *side_watch;
	struct peer *peer;
	enum session_role role;
	TAILQ_HEAD(, ride) rides_waiting;
	TAILQ_HEAD(, early) early;

	/* Both. */
	struct post cut; /* of lane_disconnect() */
	atomic_bool cutting;
	struct post told; /* of `state` */
	atomic_bool telling;
	_Atomic enum lane_state state;
};

static void post_down(struct lane *l, struct post *post, void (*run)(struct post *post))
{
	post->run = run;
	handoff_push(l->down, &post->item);
}

static void post_up(struct lane *l, struct post *post, void (*run)(struct post *post))
{
	post->run = run;
	handoff_push(l->up, &post->item);
}

static void run_posts(struct handoff *q)
{
	struct handoff_item *item = handoff_take_all(q);

	while (item) {
		struct post *post = (struct post *)item;

		item = item->next;
		post->run(post);
	}
}

#define RIDE_OF(post, member) ((struct ride *)((char *)(post)-offsetof(struct ride, member)))
#define LANE_OF(post, member) ((struct lane *)((char *)(post)-offsetof(struct lane, member)))

/* ------------------------------------------------------------------------------------------------- on the thread */

static void ride_no_longer_waits(struct ride *r)
{
	if (r->is_waiting)
		TAILQ_REMOVE(&r->lane->rides_waiting, r, waits);
	r->is_waiting = false;
}

/* The thread's last word about a ride that was not dropped. */
static void ride_end(struct ride *r, int error)
{
	ride_no_longer_waits(r);
	relay_luggage_drop(&r->luggage);
	r->relay = NULL;
	r->is_over = true;
	r->error = error;
}

static void on_ride_ended(struct post *post);
static void on_dropped(struct post *post);

static void ride_fail(struct ride *r, int error)
{
	ride_end(r, error);
	if (r->is_dropped)
		post_up(r->lane, &r->drop, on_dropped);
	else
		post_up(r->lane, &r->ended, on_ride_ended);
}

static void on_relay_done(void *ctx, int error)
{
	ride_fail(ctx, error);
}

/* Takes the stream. */
static void ride_go(struct ride *r, struct mux_stream *stream)
{
	const struct relay_caller caller = {.counters = &r->passed, .done = on_relay_done, .ctx = r};
	struct relay_luggage luggage = r->luggage;
	struct relay *relay;

	r->luggage = (struct relay_luggage){.fd = -1};
	relay = relay_go_on(r->lane->side, &luggage, stream, &caller);
	if (r->is_over) /* on_relay_done() came */
		return;
	r->relay = relay;
	if (!relay)
		ride_fail(r, -ENOMEM);
}

/* The guest has both. A socket that failed while its relay left resets the other side's. */
static void ride_meet(struct ride *r, struct mux_stream *stream, bool host_goes_on)
{
	ride_no_longer_waits(r);
	if (!host_goes_on || r->luggage.fd < 0) {
		mux_stream_refuse(stream, MUX_REASON_RESET);
		ride_fail(r, host_goes_on ? r->luggage.error : -ECONNRESET);
		return;
	}
	ride_go(r, stream);
	if (r->relay)
		mux_stream_accept(stream, NULL, NULL);
}

static void early_free(struct early *e)
{
	TAILQ_REMOVE(&e->lane->early, e, next);
	free(e);
}

/* Nothing comes to a stream that is offered, nor to one that nobody answers but by refusing it. */
static void on_no_data(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)data;
	(void)len;
}

static void on_early_closed(void *ctx, enum mux_reason reason)
{
	(void)reason;
	early_free(ctx);
}

static const struct mux_stream_events early_events = {.data = on_no_data, .closed = on_early_closed};

static void on_word_closed(void *ctx, enum mux_reason reason)
{
	struct ride *r = ctx;

	(void)reason;
	r->word = NULL;
	ride_fail(r, r->luggage.error);
}

static void on_last_closed(void *ctx, enum mux_reason reason)
{
	(void)ctx;
	(void)reason;
}

static const struct mux_stream_events last_events = {.data = on_no_data, .closed = on_last_closed};
static const struct mux_stream_events word_events = {.data = on_no_data, .closed = on_word_closed};

static struct mux_stream *ride_stream(struct ride *r, bool goes_on)
{
	struct mux *mux = peer_mux(r->lane->peer);
	uint8_t args[5];

	wire_poke_u32(args, r->id);
	args[4] = goes_on;
	return mux ? mux_open(mux, MUX_KIND_RIDE, args, sizeof(args), &word_events, r) : NULL;
}

/* Says that it does not go on. */
static void word_open(struct ride *r)
{
	r->word = ride_stream(r, false);
}

static void ride_open(struct ride *r)
{
	struct mux_stream *stream;

	if (r->luggage.fd < 0) {
		word_open(r);
		if (!r->word)
			ride_fail(r, r->luggage.error);
		return;
	}
	stream = ride_stream(r, true);
	if (stream)
		ride_go(r, stream);
	else
		ride_fail(r, -ECONNABORTED);
}

static void on_take(struct post *post)
{
	struct ride *r = RIDE_OF(post, take);
	struct lane *l = r->lane;
	struct mux_stream *stream;
	struct early *e;
	bool goes_on;

	if (l->role == SESSION_HOST) {
		ride_open(r);
		return;
	}
	TAILQ_FOREACH(e, &l->early, next)
	if (e->id == r->id)
		break;
	if (e) {
		stream = e->stream;
		goes_on = e->goes_on;
		early_free(e);
		ride_meet(r, stream, goes_on);
		return;
	}
	r->is_waiting = true;
	TAILQ_INSERT_TAIL(&l->rides_waiting, r, waits);
}

/* The host's, which ends before the guest has heard of it. */
static bool ride_needs_word(const struct ride *r)
{
	return r->lane->role == SESSION_HOST && r->relay && !relay_is_known(r->relay);
}

static void on_drop(struct post *post)
{
	struct ride *r = RIDE_OF(post, drop);
	bool needs_word = ride_needs_word(r);

	r->is_dropped = true;
	if (r->relay)
		relay_abort(r->relay, MUX_REASON_CANCELLED);
	if (needs_word)
		word_open(r);
	if (r->word) /* it goes on to the guest, and nobody waits for the answer */
		mux_stream_set_events(r->word, &last_events, NULL);
	r->word = NULL;
	relay_luggage_drop(&r->luggage);
	/* The host's stream, which may be under way, is refused when it comes. */
	if (r->is_waiting)
		return;
	ride_end(r, 0);
	post_up(r->lane, &r->drop, on_dropped);
}

static void on_peer_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct lane *l = ctx;
	struct ride *r;
	struct early *e;

	if (l->role != SESSION_GUEST || kind != MUX_KIND_RIDE || len != 5 || args[4] > 1) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	TAILQ_FOREACH(r, &l->rides_waiting, waits)
	if (r->id == wire_peek_u32(args)) {
		ride_meet(r, stream, args[4]);
		return;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		mux_stream_refuse(stream, MUX_REASON_RESOURCES);
		return;
	}
	*e = (struct early){.lane = l, .stream = stream, .id = wire_peek_u32(args), .goes_on = args[4]};
	TAILQ_INSERT_TAIL(&l->early, e, next);
	mux_stream_set_events(stream, &early_events, e);
}

static void on_told(struct post *post);

static void tell(struct lane *l, enum lane_state state)
{
	l->state = state;
	if (!atomic_exchange(&l->telling, true))
		post_up(l, &l->told, on_told);
}

static void on_peer_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	(void)resumed;
	(void)remote;
	tell(ctx, LANE_UP);
}

static void on_peer_down(void *ctx, const char *why)
{
	log_debug("a lane's connection is gone: %s", why);
	tell(ctx, LANE_DOWN);
}

static void on_peer_dead(void *ctx, enum session_reason reason, const char *text)
{
	(void)text; /* the other side's own words */
	log_debug("a lane is over: %s", session_reason_name(reason));
	tell(ctx, LANE_DEAD);
}

static const struct peer_events peer_events = {
	.up = on_peer_up,
	.down = on_peer_down,
	.dead = on_peer_dead,
	.open = on_peer_open,
};

static void on_arrived(struct post *post)
{
	struct arrival *a = (struct arrival *)post;
	struct lane *l = a->lane;
	int rc = chan_join_loop(a->chan, l->side);

	if (rc < 0)
		chan_free(a->chan);
	else
		rc = peer_attach(l->peer, a->chan, a->greeted ? &a->hello : NULL, a->rest, a->len);
	if (rc < 0)
		tell(l, atomic_load(&l->state));
	explicit_bzero(&a->hello, sizeof(a->hello));
	free(a);
}

static void on_goodbye(struct post *post)
{
	peer_goodbye(LANE_OF(post, goodbye)->peer, SESSION_REASON_STOPPED, "");
}

static void on_cut(struct post *post)
{
	struct lane *l = LANE_OF(post, cut);

	atomic_store(&l->cutting, false);
	peer_drop_connection(l->peer, "the connection beside it has ended");
}

static void on_stop(struct post *post)
{
	loop_stop(LANE_OF(post, stop)->side);
}

static void on_down(void *ctx, int fd, unsigned what)
{
	(void)fd;
	(void)what;
	run_posts(((struct lane *)ctx)->down);
}

static void *lane_thread(void *arg)
{
	struct lane *l = arg;
	int rc = loop_run(l->side);

	relay_thread_end();
	if (rc < 0)
		tell(l, LANE_DEAD);
	return NULL;
}

/* ------------------------------------------------------------------------------------------- on the owner's loop */

/* An owner that polled would wait for a processor behind it, where one that sleeps goes before it. */
static void set_busy(struct lane *l, bool busy)
{
	if (l->busy != busy)
		loop_hold_polling(l->loop, busy);
	l->busy = busy;
}

static void ride_free(struct ride *r)
{
	struct lane *l = r->lane;

	TAILQ_REMOVE(&l->rides, r, next);
	if (TAILQ_EMPTY(&l->rides))
		l->empty_us = loop_now_us(l->loop);
	free(r);
}

static void ride_count(struct ride *r)
{
	uint64_t in = r->passed.bytes_in, out = r->passed.bytes_out;

	r->lane->counted += in - r->told_in + out - r->told_out;
	if (r->of)
		relay_ride_passed(r->of, in - r->told_in, out - r->told_out);
	r->told_in = in;
	r->told_out = out;
}

static void on_ride_ended(struct post *post)
{
	struct ride *r = RIDE_OF(post, ended);
	struct relay *of = r->of;
	int error = r->error;

	/* Dropped meanwhile: on_dropped() follows. */
	if (!of)
		return;
	ride_count(r);
	ride_free(r);
	relay_ride_ended(of, error);
}

static void on_dropped(struct post *post)
{
	ride_free(RIDE_OF(post, drop));
}

static void on_told(struct post *post)
{
	struct lane *l = LANE_OF(post, told);

	atomic_store(&l->telling, false);
	l->told_came = true;
}

static void on_up(void *ctx, int fd, unsigned what)
{
	struct lane *l = ctx;

	(void)fd;
	(void)what;
	l->told_came = false;
	run_posts(l->up);
	if (l->told_came)
		l->events->state(l->ctx, atomic_load(&l->state));
}

static void on_count(void *ctx)
{
	struct lane *l = ctx;
	struct ride *r;

	TAILQ_FOREACH(r, &l->rides, next)
	ride_count(r);
	set_busy(l, l->counted >= LANE_BUSY);
	l->counted = 0;
	loop_timer_set(l->count, TAILQ_EMPTY(&l->rides) ? LANE_IDLE_US : LANE_COUNT_US);
	if (TAILQ_EMPTY(&l->rides) && l->events->idle && loop_now_us(l->loop) - l->empty_us >= LANE_IDLE_US)
		l->events->idle(l->ctx);
}

void *lane_take(struct lane *l, struct relay *relay, uint32_t id, struct relay_luggage *luggage)
{
	struct ride *r = calloc(1, sizeof(*r));

	if (!r) {
		relay_luggage_drop(luggage);
		return NULL;
	}
	r->lane = l;
	r->of = relay;
	r->id = id;
	r->luggage = *luggage;
	if (TAILQ_EMPTY(&l->rides))
		loop_timer_set(l->count, LANE_COUNT_US);
	set_busy(l, true);
	TAILQ_INSERT_TAIL(&l->rides, r, next);
	post_down(l, &r->take, on_take);
	return r;
}

void lane_drop(void *ride)
{
	struct ride *r = ride;

	ride_count(r);
	r->of = NULL;
	post_down(r->lane, &r->drop, on_drop);
}

void lane_does_not_take(struct lane *l, uint32_t id)
{
	struct relay_luggage none = {.fd = -1, .error = -ECONNABORTED};
	void *ride = lane_take(l, NULL, id, &none);

	if (ride)
		lane_drop(ride);
}

static void arrival_free(struct arrival *a)
{
	chan_free(a->chan);
	explicit_bzero(&a->hello, sizeof(a->hello));
	free(a);
}

static void on_arrival_due(void *ctx)
{
	struct arrival *a = ctx;
	struct lane *l = a->lane;

	if (l)
		l->arrival = NULL;
	if (!l || chan_leave_loop(a->chan) < 0)
		arrival_free(a);
	else
		post_down(l, &a->post, on_arrived);
}

void lane_attach(struct lane *l, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		 size_t rest_len)
{
	struct arrival *a = malloc(sizeof(*a) + rest_len);

	if (!a) {
		chan_free(chan);
		return;
	}
	if (l->arrival)
		l->arrival->lane = NULL;
	*a = (struct arrival){.lane = l, .chan = chan, .greeted = hello, .len = rest_len};
	if (hello)
		a->hello = *hello;
	if (rest_len)
		memcpy(a->rest, rest, rest_len);
	l->arrival = a;
	/* We may stand below a callback of the chan's. */
	loop_defer(l->loop, on_arrival_due, a);
}

struct chan *lane_through(struct loop *loop, struct mux_stream *stream, const struct relay_caller *caller,
			  struct relay **relay)
{
	struct chan *chan;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		mux_stream_reset(stream, MUX_REASON_RESOURCES);
		return NULL;
	}
	chan = chan_fd_new(loop, pair[1], pair[1]);
	*relay = relay_new(loop, pair[0], stream, caller);
	if (chan && *relay)
		return chan;
	chan_free(chan);
	if (*relay)
		relay_abort(*relay, MUX_REASON_RESOURCES);
	return NULL;
}

bool lane_is(const struct lane *l, const struct session_hello *hello)
{
	return session_matches(&l->identity, hello);
}

void lane_disconnect(struct lane *l)
{
	if (!atomic_exchange(&l->cutting, true))
		post_down(l, &l->cut, on_cut);
}

void lane_goodbye(struct lane *l)
{
	if (l->goodbye_sent)
		return;
	l->goodbye_sent = true;
	post_down(l, &l->goodbye, on_goodbye);
}

/* The thread has ended: what was its part is ours. */
static void side_free(struct lane *l)
{
	struct handoff_item *item = handoff_take_all(l->down);
	struct ride *r;

	while (item) {
		struct post *post = (struct post *)item;

		item = item->next;
		if (post->run == on_arrived)
			arrival_free((struct arrival *)post);
	}
	TAILQ_FOREACH(r, &l->rides, next)
	if (!r->is_over) {
		if (r->relay)
			relay_abort(r->relay, MUX_REASON_CANCELLED);
		ride_end(r, -ECONNABORTED);
	}
	peer_free(l->peer);
	loop_fd_free(l->side_watch);
	loop_free(l->side);
}

void lane_free(struct lane *l)
{
	struct ride *r;

	if (!l)
		return;
	if (l->runs) {
		post_down(l, &l->stop, on_stop);
		pthread_join(l->thread, NULL);
	}
	if (l->arrival)
		l->arrival->lane = NULL;
	if (l->side)
		side_free(l);
	while ((r = TAILQ_FIRST(&l->rides))) {
		struct relay *of = r->of;
		int error = r->error;

		ride_count(r);
		ride_free(r);
		if (of)
			relay_ride_ended(of, error);
	}
	set_busy(l, false);
	loop_fd_free(l->watch);
	loop_timer_free(l->count);
	handoff_free(l->up);
	handoff_free(l->down);
	free(l);
}

/* Signals are the owner's. */
static int thread_begin(struct lane *l)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, NULL, lane_thread, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->runs = rc == 0;
	return -rc;
}

static bool side_make(struct lane *l, const struct session_hello *hello)
{
	l->side = loop_new();
	if (!l->side)
		return false;
	l->side_watch = loop_fd_new(l->side, handoff_fd(l->down), LOOP_READ, on_down, l);
	l->peer = peer_new(l->side, l->role, hello, &peer_events, l);
	return l->side_watch && l->peer;
}

struct lane *lane_new(struct loop *loop, enum session_role role, const struct session_hello *hello,
		      const struct lane_events *events, void *ctx)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->loop = loop;
	l->role = role;
	l->identity = *hello;
	l->events = events;
	l->ctx = ctx;
	l->empty_us = loop_now_us(loop);
	TAILQ_INIT(&l->rides);
	TAILQ_INIT(&l->rides_waiting);
	TAILQ_INIT(&l->early);
	l->down = handoff_new();
	l->up = handoff_new();
	l->watch = l->up ? loop_fd_new(loop, handoff_fd(l->up), LOOP_READ, on_up, l) : NULL;
	l->count = loop_timer_new(loop, on_count, l);
	if (l->down && l->watch && l->count && side_make(l, hello) && thread_begin(l) == 0) {
		loop_timer_set(l->count, LANE_IDLE_US);
		return l;
	}
	lane_free(l);
	return NULL;
}
