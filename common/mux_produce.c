/* SPDX-License-Identifier: MIT */
/*
 * Frames out, and who goes first. See mux.h; PROTOCOL.md, "Mux: order".
 *
 * Theory of operation. A stream that has something to send is in up to two lists: `signals`, when a frame without
 * payload of its data is due (OPEN, ACCEPT, CREDIT, LIMITED, and FIN once its queue is empty), and one of the turns,
 * when it has data and credit for it. mux_produce() goes through them in this order, until nothing is left or the
 * caller's space is used up:
 *
 *	control's signals and data | answers of streams that are gone | signals | sparse | bulk | hang-ups
 *
 * Sparse and bulk are the new and old flows of fq_codel (RFC 8290), but for when a stream is new again. There, when its
 * turn among the old ones has passed, which takes a packet of each; of ours, some frames of each, too long for whoever
 * asks one question after another. So it has an allowance: a share of all that is sent, up to MUX_SPARSE_MAX, less what
 * it sends itself. What is within goes before all bulk, and a stream that writes little often cannot keep the others
 * from theirs. Bulk is deficit round robin. A pullable stream is bulk, of unknown length.
 *
 * A program that is done closes its connection, and mostly opens the next: sent by itself, a FIN costs both sides a
 * wakeup that the next one then waits for. It is a signal only where it may end a message; else it is in `hangups`.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mux_priv.h"
#include "wire.h"

/* Some frames in a row: their reader then writes them on in one go, which costs the whole way a quarter less. Of more,
 * what waits for its turn would notice. */
#define MUX_QUANTUM (4 * (int32_t)MUX_FRAME_MAX)
/* A frame of data is not cut below this to fill the caller's space. */
#define MUX_CUT_MIN 1024u

struct mux_out {
	struct wire_buf *buf;
	size_t left;
};

/* The place of the payload, or NULL when the frame does not fit. */
static uint8_t *mux_frame_reserve(struct mux_out *out, size_t len)
{
	uint8_t *p = out->left < MUX_HEADER + len ? NULL : wire_buf_reserve(out->buf, MUX_HEADER + len);

	return p ? p + MUX_HEADER : NULL;
}

/* Ends the frame whose payload was put there. */
static void mux_frame_commit(struct mux_out *out, uint8_t *payload, uint32_t id, enum mux_frame type, size_t len)
{
	wire_poke_u32(payload - MUX_HEADER, id);
	wire_poke_u32(payload - MUX_HEADER + 4, (uint32_t)type << 24 | (uint32_t)len);
	out->buf->len += MUX_HEADER + len;
	out->left -= MUX_HEADER + len;
}

/* Both, for a payload that is put there afterwards. */
static uint8_t *mux_frame_put(struct mux_out *out, uint32_t id, enum mux_frame type, size_t len)
{
	uint8_t *p = mux_frame_reserve(out, len);

	if (p)
		mux_frame_commit(out, p, id, type, len);
	return p;
}

/* ------------------------------------------------------------------------------------------------------ in which list
 */

static bool mux_credit_is_due(const struct mux_stream *s)
{
	/* In quarters of the window, so that a reader of single bytes does not cost a frame for each. */
	return s->credit_due >= s->window / 4 && !s->fin_came && s->state == MUX_STATE_OPEN;
}

static bool mux_fin_is_due(const struct mux_stream *s)
{
	return s->fin_queued && !s->fin_sent && !s->queue.len;
}

/* ACCEPT is no news to anybody but in front of what follows it: it waits for that, and is in the same packet. */
static bool mux_accept_has_come(const struct mux_stream *s)
{
	return s->accept_due && mux_stream_sendable(s);
}

static bool mux_stream_has_signal(const struct mux_stream *s)
{
	if (s->state == MUX_STATE_OFFERED || s->state == MUX_STATE_ENDED)
		return false;
	return !s->id || mux_accept_has_come(s) || s->limited_due || mux_credit_is_due(s) ||
	       (mux_fin_is_due(s) && (!s->heard_last || s->leaving));
}

static void mux_turn_set(struct mux_stream *s, enum mux_turn turn)
{
	struct mux *m = s->mux;

	if (s->turn == turn)
		return;
	if (s->turn != MUX_TURN_NONE)
		TAILQ_REMOVE(&m->turns[s->turn], s, turned);
	if (turn != MUX_TURN_NONE)
		TAILQ_INSERT_TAIL(&m->turns[turn], s, turned);
	s->turn = turn;
}

static void mux_allow(struct mux_stream *s)
{
	uint64_t gain = (s->mux->stats.bytes_out - s->allowance_at) / MUX_SPARSE_SHARE;
	uint64_t most = (uint64_t)((int64_t)MUX_SPARSE_MAX - s->allowance);

	s->allowance_at += gain * MUX_SPARSE_SHARE;
	s->allowance += (int32_t)(gain < most ? gain : most);
}

static void mux_spend(struct mux_stream *s, int32_t n)
{
	s->allowance -= n;
	if (s->allowance < -(int32_t)MUX_SPARSE_DEBT)
		s->allowance = -(int32_t)MUX_SPARSE_DEBT;
}

static enum mux_turn mux_turn_of(const struct mux_stream *s)
{
	if (s->kind == MUX_KIND_CONTROL)
		return mux_stream_sendable(s) ? MUX_TURN_CONTROL : MUX_TURN_NONE;
	if (!mux_stream_sendable(s))
		return MUX_TURN_NONE;
	if (s->turn == MUX_TURN_BULK || s->pullable || (int64_t)s->queue.len > s->allowance)
		return MUX_TURN_BULK;
	return MUX_TURN_SPARSE;
}

static void mux_signal_set(struct mux_stream *s, bool on)
{
	struct mux *m = s->mux;

	if (s->signalled == on)
		return;
	s->signalled = on;
	if (!on)
		TAILQ_REMOVE(&m->signals, s, signal);
	else if (s->kind == MUX_KIND_CONTROL)
		TAILQ_INSERT_HEAD(&m->signals, s, signal);
	else
		TAILQ_INSERT_TAIL(&m->signals, s, signal);
}

static bool mux_stream_hangs_up(const struct mux_stream *s)
{
	return s->state == MUX_STATE_OPEN && mux_fin_is_due(s) && s->heard_last && !s->leaving;
}

static void mux_hangup_set(struct mux_stream *s, bool on)
{
	if (s->hanging_up == on)
		return;
	s->hanging_up = on;
	if (on)
		TAILQ_INSERT_TAIL(&s->mux->hangups, s, idle);
	else
		TAILQ_REMOVE(&s->mux->hangups, s, idle);
}

static void mux_ready_set(struct mux_stream *s, bool ready)
{
	if (s->ready == ready)
		return;
	s->ready = ready;
	s->mux->ready += ready ? 1 : (size_t)-1;
}

void mux_stream_update(struct mux_stream *s)
{
	enum mux_turn turn;

	mux_allow(s);
	turn = mux_turn_of(s);
	if ((s->queue.len || s->pullable) && !s->send_credit && !s->limited_told)
		s->limited_due = s->limited_told = true;
	if (turn == MUX_TURN_BULK && s->turn != MUX_TURN_BULK)
		s->deficit = MUX_QUANTUM;
	mux_turn_set(s, turn);
	mux_signal_set(s, mux_stream_has_signal(s));
	mux_hangup_set(s, mux_stream_hangs_up(s));
	mux_ready_set(s, mux_stream_sendable(s));
	mux_tell_pending(s->mux);
}

void mux_stream_unlist(struct mux_stream *s)
{
	mux_turn_set(s, MUX_TURN_NONE);
	mux_signal_set(s, false);
	mux_hangup_set(s, false);
	mux_ready_set(s, false);
}

bool mux_pending(const struct mux *m)
{
	return m->ready || m->orphans.len || !TAILQ_EMPTY(&m->signals);
}

void mux_tell_pending(struct mux *m)
{
	if (m->pending_told || m->freeing || !mux_pending(m))
		return;
	m->pending_told = true;
	if (m->events->pending)
		m->events->pending(m->ctx);
}

/* ------------------------------------------------------------------------------------------------------------- signals
 */

static bool mux_put_open(struct mux_stream *s, struct mux_out *out)
{
	struct mux *m = s->mux;
	uint8_t *p = mux_frame_put(out, m->next_id, MUX_OPEN, 1 + s->args_len);

	if (!p)
		return false;
	p[0] = (uint8_t)s->kind;
	memcpy(p + 1, s->args, s->args_len);
	free(s->args);
	s->args = NULL;
	/* Only now, so that ids go out in order whatever the priorities. */
	s->id = m->next_id;
	m->next_id += 2;
	mux_hash(m, s);
	return true;
}

static bool mux_put_credit(struct mux_stream *s, struct mux_out *out)
{
	uint8_t *p = mux_frame_put(out, s->id, MUX_CREDIT, 4);

	if (!p)
		return false;
	wire_poke_u32(p, s->credit_due);
	s->recv_credit += s->credit_due;
	s->credit_due = 0;
	return true;
}

/* All that the stream has to say; false when it did not fit. */
static bool mux_put_signals(struct mux_stream *s, struct mux_out *out)
{
	if (!s->id && !mux_put_open(s, out))
		return false;
	if (s->accept_due) {
		if (!mux_frame_put(out, s->id, MUX_ACCEPT, 0))
			return false;
		s->accept_due = false;
	}
	if (mux_credit_is_due(s) && !mux_put_credit(s, out))
		return false;
	if (s->limited_due) {
		if (!mux_frame_put(out, s->id, MUX_LIMITED, 0))
			return false;
		s->limited_due = false;
	}
	if (mux_fin_is_due(s)) {
		if (!mux_frame_put(out, s->id, s->leaving ? MUX_LEAVE : MUX_FIN, 0))
			return false;
		s->fin_sent = true;
	}
	return true;
}

static bool mux_produce_signals(struct mux *m, struct mux_out *out, bool control_only)
{
	struct mux_stream *s;

	while ((s = TAILQ_FIRST(&m->signals))) {
		if (control_only && s->kind != MUX_KIND_CONTROL)
			break;
		if (!mux_put_signals(s, out))
			return false;
		mux_stream_update(s);
		mux_stream_end_if_finished(s);
	}
	return true;
}

static void mux_produce_hangups(struct mux *m, struct mux_out *out)
{
	struct mux_stream *s;

	while ((s = TAILQ_FIRST(&m->hangups)) && mux_put_signals(s, out)) {
		mux_stream_update(s);
		mux_stream_end_if_finished(s);
	}
}

bool mux_has_hangups(const struct mux *m)
{
	return !TAILQ_EMPTY(&m->hangups);
}

void mux_hang_up(struct mux *m)
{
	struct mux_stream *s;

	while ((s = TAILQ_FIRST(&m->hangups))) {
		s->heard_last = false;
		mux_stream_update(s);
	}
}

static bool mux_produce_orphans(struct mux *m, struct mux_out *out)
{
	const size_t size = MUX_HEADER + 1;

	while (m->orphans.len) {
		uint8_t *p = out->left < size ? NULL : wire_buf_reserve(out->buf, size);

		if (!p)
			return false;
		fifo_take(&m->orphans, p, size);
		out->buf->len += size;
		out->left -= size;
	}
	return true;
}

/* ---------------------------------------------------------------------------------------------------------------- data
 */

/* Moves up to n bytes of what the stream has to its place in the frame. */
static size_t mux_stream_take(struct mux_stream *s, uint8_t *place, size_t n)
{
	size_t got = n;

	if (s->queue.len) {
		fifo_take(&s->queue, place, n);
		s->mux->stats.queued -= n;
	} else {
		got = s->events->pull(s->ctx, place, n);
		assert(got <= n);
		if (got < n) {
			s->pullable = false;
			s->want_writable = true;
		}
	}
	if (s->want_writable && s->queue.len <= MUX_QUEUE_MAX / 2)
		mux_stream_notice(s);
	return got;
}

/* One frame of the stream's data; false when there is no space for it. */
static bool mux_put_data(struct mux_stream *s, struct mux_out *out)
{
	size_t n = s->queue.len ? s->queue.len : MUX_FRAME_MAX;
	uint8_t *p;

	if (n > s->send_credit)
		n = s->send_credit;
	if (n > MUX_FRAME_MAX)
		n = MUX_FRAME_MAX;
	if (n + MUX_HEADER > out->left) {
		if (out->left < MUX_CUT_MIN)
			return false;
		n = out->left - MUX_HEADER;
	}
	assert(n && s->id);
	p = mux_frame_reserve(out, n);
	if (!p)
		return false;
	n = mux_stream_take(s, p, n);
	if (!n)
		return true;
	mux_frame_commit(out, p, s->id, MUX_DATA, n);
	s->send_credit -= (uint32_t)n;
	s->deficit -= (int32_t)n;
	mux_spend(s, (int32_t)n);
	s->heard_last = false;
	s->passed += n;
	s->mux->stats.bytes_out += n;
	return true;
}

static void mux_overtake(struct mux_stream *s)
{
	const struct mux_stats *all = &s->mux->stats;
	uint64_t others = all->bytes_in + all->bytes_out - s->passed;

	if (others - s->others_at < MUX_OVERTAKEN_MIN)
		return;
	s->others_at = others;
	s->mux->overtakes++;
}

/* Streams of a list that are served until they have nothing more to say. */
static bool mux_produce_turn(struct mux *m, struct mux_out *out, enum mux_turn turn)
{
	struct mux_stream *s;

	while ((s = TAILQ_FIRST(&m->turns[turn]))) {
		if (!mux_put_data(s, out))
			return false;
		if (turn == MUX_TURN_SPARSE)
			mux_overtake(s);
		mux_stream_update(s);
	}
	return true;
}

static bool mux_produce_bulk(struct mux *m, struct mux_out *out)
{
	struct mux_list *bulk = &m->turns[MUX_TURN_BULK];
	struct mux_stream *s;

	if (m->bulk_held)
		return true;
	while ((s = TAILQ_FIRST(bulk))) {
		if (!mux_stream_sendable(s)) {
			mux_turn_set(s, MUX_TURN_NONE);
		} else if (s->deficit <= 0) {
			s->deficit += MUX_QUANTUM;
			TAILQ_REMOVE(bulk, s, turned);
			TAILQ_INSERT_TAIL(bulk, s, turned);
		} else if (!mux_put_data(s, out)) {
			return false;
		} else {
			mux_stream_update(s);
		}
	}
	return true;
}

void mux_hold_bulk(struct mux *m, bool hold)
{
	m->bulk_held = hold;
}

uint64_t mux_overtakes(const struct mux *m)
{
	return m->overtakes;
}

ssize_t mux_produce(struct mux *m, struct wire_buf *out, size_t max)
{
	struct mux_out o = {out, max};
	bool done;

	m->depth++;
	done = mux_produce_signals(m, &o, true) && mux_produce_turn(m, &o, MUX_TURN_CONTROL) &&
	       mux_produce_orphans(m, &o) && mux_produce_signals(m, &o, false) &&
	       mux_produce_turn(m, &o, MUX_TURN_SPARSE) && mux_produce_bulk(m, &o);
	/* What data left behind: FIN behind a queue that is empty now, LIMITED. */
	if (done && mux_produce_signals(m, &o, false))
		mux_produce_hangups(m, &o);
	m->pending_told = mux_pending(m);
	mux_deliver(m);
	mux_leave(m);
	return out->failed ? -ENOMEM : (ssize_t)(max - o.left);
}
