/* SPDX-License-Identifier: MIT */
/*
 * Streams, and what their users do with them. See mux.h; PROTOCOL.md, "Mux".
 *
 * Theory of operation. A stream is in the table by id from the moment its OPEN was sent or came until either side ended
 * it; what the peer sends for it later is ignored. Users are called from two places only: mux_receive(), for what a
 * frame brought, and mux_deliver(), for everything that is told later (data stored before the stream was accepted,
 * `writable`, `closed`); so no function that a user calls ever calls back before it returns.
 *
 * Any callback may end any stream, also its own: a stream that is let go is buried, and the graveyard is swept when the
 * outermost function of the mux returns.
 */
#include "mux.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mux_priv.h"
#include "wire.h"

#define MUX_BUCKETS_MIN 64u
/* Each is one stream the peer opened and we ended. Twice as many as it may have open: it does not read, but opens. */
#define MUX_ORPHAN      (MUX_HEADER + 1u)
#define MUX_ORPHANS_MAX (2u * MUX_STREAMS_MAX * MUX_ORPHAN)

static const char *const mux_reason_names[] = {
	[MUX_REASON_NONE] = "none",
	[MUX_REASON_PROHIBITED] = "prohibited",
	[MUX_REASON_NOT_FOUND] = "not found",
	[MUX_REASON_REFUSED] = "connection refused",
	[MUX_REASON_UNREACHABLE] = "unreachable",
	[MUX_REASON_TIMED_OUT] = "timed out",
	[MUX_REASON_RESET] = "connection reset",
	[MUX_REASON_RESOURCES] = "out of resources",
	[MUX_REASON_CANCELLED] = "cancelled",
	[MUX_REASON_INTERNAL] = "internal error",
	[MUX_REASON_LOST] = "session lost",
};
static_assert(sizeof(mux_reason_names) / sizeof(mux_reason_names[0]) == MUX_REASON_COUNT, "each reason has a name");

const char *mux_reason_name(enum mux_reason reason)
{
	return (unsigned)reason < MUX_REASON_COUNT ? mux_reason_names[reason] : "unknown";
}

const struct mux_stats *mux_stats(const struct mux *m)
{
	return &m->stats;
}

struct mux *mux_new(bool opener, const struct mux_events *events, void *ctx)
{
	struct mux *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->buckets = calloc(MUX_BUCKETS_MIN, sizeof(struct mux_stream *));
	if (!m->buckets) {
		free(m);
		return NULL;
	}
	m->bucket_count = MUX_BUCKETS_MIN;
	m->events = events;
	m->ctx = ctx;
	m->next_id = opener ? 1 : 2;
	m->peer_next_id = opener ? 2 : 1;
	TAILQ_INIT(&m->streams);
	TAILQ_INIT(&m->graveyard);
	TAILQ_INIT(&m->signals);
	TAILQ_INIT(&m->notices);
	TAILQ_INIT(&m->hangups);
	for (int i = 0; i < MUX_TURN_COUNT; i++)
		TAILQ_INIT(&m->turns[i]);
	return m;
}

/* ---------------------------------------------------------------------------------------------- the table by id */

static struct mux_stream **mux_bucket(const struct mux *m, uint32_t id)
{
	/* Ids are consecutive (the peer's as well: it must), so their low bits spread as well as any hash. */
	return &m->buckets[id & (m->bucket_count - 1)];
}

struct mux_stream *mux_find(const struct mux *m, uint32_t id)
{
	struct mux_stream *s = *mux_bucket(m, id);

	while (s && s->id != id)
		s = s->hashed;
	return s;
}

static void mux_rehash(struct mux *m)
{
	size_t count = m->bucket_count * 2;
	struct mux_stream **buckets = calloc(count, sizeof(struct mux_stream *));
	struct mux_stream *s;

	/* Without memory the chains grow longer, and everything works. */
	if (!buckets)
		return;
	free(m->buckets);
	m->buckets = buckets;
	m->bucket_count = count;
	TAILQ_FOREACH(s, &m->streams, all)
	{
		if (s->id && s->state != MUX_STATE_ENDED) {
			s->hashed = *mux_bucket(m, s->id);
			*mux_bucket(m, s->id) = s;
		}
	}
}

void mux_hash(struct mux *m, struct mux_stream *s)
{
	s->hashed = *mux_bucket(m, s->id);
	*mux_bucket(m, s->id) = s;
	if (++m->hashed > m->bucket_count)
		mux_rehash(m);
}

static void mux_unhash(struct mux *m, struct mux_stream *s)
{
	struct mux_stream **at = mux_bucket(m, s->id);

	while (*at != s)
		at = &(*at)->hashed;
	*at = s->hashed;
	m->hashed--;
}

/* ---------------------------------------------------------------------------------------------------- life and death
 */

struct mux_stream *mux_stream_new(struct mux *m, enum mux_state state, enum mux_kind kind)
{
	struct mux_stream *s;

	if (m->stats.streams >= MUX_STREAMS_MAX || m->freeing)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->mux = m;
	s->kind = kind;
	s->state = state;
	s->send_credit = s->recv_credit = s->window = MUX_CREDIT_INITIAL;
	s->allowance = MUX_SPARSE_MAX;
	s->allowance_at = m->stats.bytes_out;
	s->others_at = m->stats.bytes_in + m->stats.bytes_out;
	TAILQ_INSERT_TAIL(&m->streams, s, all);
	m->stats.streams++;
	return s;
}

void mux_leave(struct mux *m)
{
	struct mux_stream *s;

	if (--m->depth)
		return;
	while ((s = TAILQ_FIRST(&m->graveyard))) {
		TAILQ_REMOVE(&m->graveyard, s, all);
		fifo_clear(&s->queue);
		fifo_clear(&s->stored);
		free(s->args);
		free(s);
	}
}

/* Nobody knows the stream any more. Its memory stays while a caller of ours may look at it. */
static void mux_stream_bury(struct mux_stream *s)
{
	struct mux *m = s->mux;

	assert(s->state == MUX_STATE_ENDED && !s->buried);
	s->buried = true;
	if (s->noticed)
		TAILQ_REMOVE(&m->notices, s, notice);
	TAILQ_REMOVE(&m->streams, s, all);
	m->stats.streams--;
	m->depth++;
	TAILQ_INSERT_TAIL(&m->graveyard, s, all);
	mux_leave(m);
}

void mux_stream_notice(struct mux_stream *s)
{
	if (s->noticed || s->buried)
		return;
	s->noticed = true;
	TAILQ_INSERT_TAIL(&s->mux->notices, s, notice);
}

void mux_stream_end(struct mux_stream *s, enum mux_reason reason)
{
	struct mux *m = s->mux;

	if (s->state == MUX_STATE_ENDED)
		return;
	if (s->id)
		mux_unhash(m, s);
	mux_stream_unlist(s);
	if (m->rx_stream == s)
		m->rx_stream = NULL;
	m->stats.queued -= s->queue.len;
	m->growth -= s->window - MUX_CREDIT_INITIAL;
	s->state = MUX_STATE_ENDED;
	s->reason = reason;
	mux_stream_notice(s);
}

void mux_stream_end_if_finished(struct mux_stream *s)
{
	if (s->fin_sent && s->fin_told)
		mux_stream_end(s, MUX_REASON_NONE);
}

void mux_orphan(struct mux *m, uint32_t id, enum mux_frame type, enum mux_reason reason)
{
	uint8_t frame[MUX_ORPHAN];

	if (m->freeing)
		return;
	wire_poke_u32(frame, id);
	wire_poke_u32(frame + 4, (uint32_t)type << 24 | 1u);
	frame[MUX_HEADER] = (uint8_t)reason;
	if (m->orphans.len + sizeof(frame) > MUX_ORPHANS_MAX)
		m->broken = "opens streams without end and does not read our answers";
	else if (!fifo_append(&m->orphans, frame, sizeof(frame)))
		m->broken = "out of memory";
	mux_tell_pending(m);
}

/* Tells the peer, as far as it knows of the stream. */
static void mux_stream_abandon(struct mux_stream *s, enum mux_reason reason)
{
	enum mux_frame type = s->state == MUX_STATE_OFFERED ? MUX_REFUSE : MUX_RESET;

	if (reason == MUX_REASON_NONE || reason >= MUX_REASON_LOST)
		reason = MUX_REASON_CANCELLED;
	if (s->state != MUX_STATE_ENDED && s->id)
		mux_orphan(s->mux, s->id, type, reason);
	mux_stream_end(s, reason);
}

void mux_free(struct mux *m)
{
	struct mux_stream *s;

	if (!m)
		return;
	assert(!m->depth);
	m->freeing = true;
	TAILQ_FOREACH(s, &m->streams, all)
	mux_stream_end(s, MUX_REASON_LOST);
	mux_deliver(m);
	/* What is left was handed to a user who never set events, and cannot be told. */
	while ((s = TAILQ_FIRST(&m->streams)))
		mux_stream_bury(s);
	fifo_clear(&m->orphans);
	free(m->buckets);
	free(m);
}

/* -------------------------------------------------------------------------------------------------- calls that wait */

static void mux_stream_deliver_stored(struct mux_stream *s)
{
	while (s->stored.len && s->state == MUX_STATE_OPEN) {
		size_t len;
		const uint8_t *data = fifo_peek(&s->stored, &len);

		s->events->data(s->ctx, data, len);
		if (s->state == MUX_STATE_OPEN)
			fifo_drop(&s->stored, len);
	}
	if (s->state != MUX_STATE_OPEN || !s->fin_came || s->fin_told)
		return;
	s->fin_told = true;
	if (s->leave_came && !s->events->leave) {
		mux_stream_abandon(s, MUX_REASON_PROHIBITED);
		return;
	}
	if (s->leave_came)
		s->events->leave(s->ctx);
	else if (s->events->fin)
		s->events->fin(s->ctx);
	if (s->state == MUX_STATE_OPEN)
		mux_stream_end_if_finished(s);
}

static void mux_stream_deliver(struct mux_stream *s)
{
	if (s->state == MUX_STATE_OPEN)
		mux_stream_deliver_stored(s);
	if (s->want_writable && s->state != MUX_STATE_ENDED && s->queue.len <= MUX_QUEUE_MAX / 2) {
		s->want_writable = false;
		if (s->events && s->events->writable)
			s->events->writable(s->ctx);
	}
	if (s->state != MUX_STATE_ENDED || s->buried || !s->events)
		return;
	/* Buried first: what the user calls for the stream from inside `closed` must find it gone. */
	mux_stream_bury(s);
	s->events->closed(s->ctx, s->reason);
}

void mux_deliver(struct mux *m)
{
	struct mux_stream *s;

	if (m->delivering)
		return;
	m->delivering = true;
	m->depth++;
	while ((s = TAILQ_FIRST(&m->notices))) {
		TAILQ_REMOVE(&m->notices, s, notice);
		s->noticed = false;
		mux_stream_deliver(s);
	}
	m->delivering = false;
	mux_leave(m);
}

/* ------------------------------------------------------------------------------------------------- what users call */

struct mux_stream *mux_open(struct mux *m, enum mux_kind kind, const uint8_t *args, size_t len,
			    const struct mux_stream_events *events, void *ctx)
{
	struct mux_stream *s;

	if (len > MUX_ARGS_MAX || m->next_id > MUX_LAST_ID - 2 * MUX_STREAMS_MAX)
		return NULL;
	s = mux_stream_new(m, MUX_STATE_OPENING, kind);
	if (!s)
		return NULL;
	s->args = malloc(len ? len : 1);
	if (!s->args) {
		s->state = MUX_STATE_ENDED;
		mux_stream_bury(s);
		return NULL;
	}
	if (len)
		memcpy(s->args, args, len);
	s->args_len = len;
	mux_stream_set_events(s, events, ctx);
	mux_stream_update(s);
	return s;
}

void mux_stream_set_events(struct mux_stream *s, const struct mux_stream_events *events, void *ctx)
{
	s->events = events;
	s->ctx = ctx;
	if (s->state == MUX_STATE_ENDED)
		mux_stream_notice(s);
}

void mux_stream_accept(struct mux_stream *s, const struct mux_stream_events *events, void *ctx)
{
	if (events)
		mux_stream_set_events(s, events, ctx);
	assert(s->events);
	if (s->state == MUX_STATE_ENDED)
		return;
	assert(s->state == MUX_STATE_OFFERED);
	s->state = MUX_STATE_OPEN;
	s->accept_due = true;
	if (s->stored.len || s->fin_came)
		mux_stream_notice(s);
	mux_stream_update(s);
}

void mux_stream_refuse(struct mux_stream *s, enum mux_reason reason)
{
	assert(s->state == MUX_STATE_OFFERED || s->state == MUX_STATE_ENDED);
	mux_stream_reset(s, reason);
}

void mux_stream_reset(struct mux_stream *s, enum mux_reason reason)
{
	if (s->buried)
		return;
	mux_stream_abandon(s, reason);
	mux_stream_bury(s);
}

size_t mux_stream_space(const struct mux_stream *s)
{
	if (s->state == MUX_STATE_ENDED || s->fin_queued || s->queue.len >= MUX_QUEUE_MAX)
		return 0;
	return MUX_QUEUE_MAX - s->queue.len;
}

static bool mux_stream_queue(struct mux_stream *s, const void *data, size_t len)
{
	if (!fifo_append(&s->queue, data, len))
		return false;
	s->mux->stats.queued += len;
	if (s->queue.len >= MUX_QUEUE_MAX)
		s->want_writable = true;
	mux_stream_update(s);
	return true;
}

size_t mux_stream_write(struct mux_stream *s, const void *data, size_t len)
{
	size_t space = mux_stream_space(s);
	size_t n = len < space ? len : space;

	if (s->state == MUX_STATE_ENDED || s->fin_queued)
		return 0;
	if (!mux_stream_queue(s, data, n))
		n = 0;
	if (n < len)
		s->want_writable = true;
	return n;
}

int mux_stream_write_all(struct mux_stream *s, const void *data, size_t len)
{
	if (s->state == MUX_STATE_ENDED || s->fin_queued)
		return -EPIPE;
	if (len > MUX_MESSAGE_MAX || s->queue.len > MUX_MESSAGE_MAX - len)
		return -EAGAIN;
	return mux_stream_queue(s, data, len) ? 0 : -ENOMEM;
}

void mux_stream_consumed(struct mux_stream *s, size_t n)
{
	if (s->state == MUX_STATE_ENDED)
		return;
	assert(n <= s->unconsumed);
	s->unconsumed -= (uint32_t)n;
	s->credit_due += (uint32_t)n;
	mux_stream_update(s);
}

void mux_stream_set_pullable(struct mux_stream *s)
{
	if (s->state == MUX_STATE_ENDED || s->fin_queued)
		return;
	assert(s->events->pull);
	s->pullable = true;
	mux_stream_update(s);
}

void mux_stream_fin(struct mux_stream *s)
{
	if (s->state == MUX_STATE_ENDED || s->fin_queued)
		return;
	s->fin_queued = true;
	s->pullable = false;
	mux_stream_update(s);
}

bool mux_stream_leave(struct mux_stream *s, struct fifo *rest)
{
	*rest = (struct fifo){0};
	if (s->state == MUX_STATE_ENDED || s->fin_sent)
		return false;
	*rest = s->queue;
	s->queue = (struct fifo){0};
	s->mux->stats.queued -= rest->len;
	s->leaving = s->fin_queued = true;
	s->pullable = false;
	mux_stream_update(s);
	return true;
}

uint32_t mux_stream_id(const struct mux_stream *s)
{
	return s->id;
}
