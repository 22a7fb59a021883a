/* SPDX-License-Identifier: MIT */
/*
 * Two targets, by the first byte of the input: hostile bytes into a mux with streams in all states, whose users do what
 * the input says from inside every callback; and two honest muxes over sessions over a connection that breaks, where
 * every byte of every stream must arrive once and in order.
 */
#include <errno.h>
#include <string.h>

#include "bounds.h"
#include "mux_priv.h"
#include "pair.h"

/* What must hold of a mux at any time. */
static void mux_check(const struct mux *m)
{
	const struct mux_stream *s;
	size_t streams = 0, queued = 0, growth = 0;

	TAILQ_FOREACH(s, &m->streams, all)
	{
		streams++;
		if (s->state == MUX_STATE_ENDED)
			continue;
		CHECK(s->window >= MUX_CREDIT_INITIAL && s->window <= MUX_CREDIT_MAX);
		CHECK(s->send_credit <= MUX_CREDIT_MAX);
		CHECK(s->recv_credit <= s->window && s->unconsumed <= s->window && s->credit_due <= s->window);
		/* A frame whose header came is taken off the credit before all of it was delivered. */
		CHECK(s->recv_credit + s->unconsumed + s->credit_due + (m->rx_stream == s ? m->rx_left : 0) ==
		      s->window);
		CHECK(s->stored.len <= s->unconsumed);
		CHECK(s->queue.len <= MUX_MESSAGE_MAX);
		CHECK(!s->hanging_up || (s->fin_queued && !s->fin_sent));
		queued += s->queue.len;
		growth += s->window - MUX_CREDIT_INITIAL;
	}
	CHECK(streams == m->stats.streams && streams <= MUX_STREAMS_MAX);
	CHECK(queued == m->stats.queued);
	CHECK(growth == m->growth && growth <= MUX_GROWTH_MAX);
}

/* ----------------------------------------------------------------------------------------------------- a hostile peer
 */

#define HOSTILE_STREAMS 8

/* Who has which stream; a user acts in each callback as the next byte of the input says. */
static struct hostile {
	struct input *in;
	struct mux *m;
	struct hostile_stream {
		struct mux_stream *s;
		size_t unread;
		bool offered;
	} streams[HOSTILE_STREAMS];
	int acting;
} hostile;

static const struct mux_stream_events hostile_events;

static struct hostile_stream *hostile_slot(bool used)
{
	for (int i = 0; i < HOSTILE_STREAMS; i++)
		if (!hostile.streams[i].s != used)
			return &hostile.streams[i];
	return NULL;
}

static void hostile_answer(struct hostile_stream *h, bool accept)
{
	struct mux_stream *s = h->s;

	h->offered = false;
	if (accept) {
		mux_stream_accept(s, &hostile_events, h);
	} else {
		h->s = NULL;
		mux_stream_refuse(s, MUX_REASON_PROHIBITED);
	}
}

static void hostile_act(void)
{
	static const uint8_t bytes[40000];
	uint8_t op = input_u8(hostile.in);
	struct hostile_stream *h = &hostile.streams[op >> 4 & (HOSTILE_STREAMS - 1)];
	struct mux_stream *s = h->s;
	struct fifo rest;

	switch (op & 15) {
	case 0:
		if (!s && (h->s = mux_open(hostile.m, MUX_KIND_TCP + (op >> 7), bytes, op, &hostile_events, h)))
			h->unread = 0;
		break;
	case 1:
		if (s && h->offered)
			hostile_answer(h, op & 0x80);
		else if (s)
			mux_stream_fin(s);
		break;
	case 2:
		if (s) {
			*h = (struct hostile_stream){0};
			mux_stream_reset(s, (enum mux_reason)(op >> 4));
		}
		break;
	case 3:
		if (s && h->unread) {
			mux_stream_consumed(s, h->unread);
			h->unread = 0;
		}
		break;
	case 4:
		if (s)
			mux_stream_write(s, bytes, sizeof(bytes));
		break;
	case 5:
		if (s)
			mux_stream_write_all(s, bytes, 100);
		break;
	case 6:
		if (s && h->unread) {
			mux_stream_consumed(s, 1);
			h->unread--;
		}
		break;
	case 7:
		if (s) {
			mux_stream_leave(s, &rest);
			fifo_clear(&rest);
		}
		break;
	default:
		break;
	}
}

static void on_hostile(void *ctx)
{
	(void)ctx;
	hostile_act();
}

static void on_hostile_data(void *ctx, const uint8_t *data, size_t len)
{
	struct hostile_stream *h = ctx;
	CHECK(h->s && len);
	h->unread += len;
	hostile_act();
	/* Valid for the whole call, whatever was done. */
	for (size_t i = 0; i < len; i++)
		input_touch(data[i]);
}

static void on_hostile_closed(void *ctx, enum mux_reason reason)
{
	struct hostile_stream *h = ctx;

	CHECK(h->s && reason < MUX_REASON_COUNT);
	*h = (struct hostile_stream){0};
	hostile_act();
}

static const struct mux_stream_events hostile_events = {
	.accepted = on_hostile,
	.data = on_hostile_data,
	.writable = on_hostile,
	.fin = on_hostile,
	.leave = on_hostile,
	.closed = on_hostile_closed,
};

static void on_hostile_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct hostile_stream *h = hostile_slot(false);

	CHECK(len <= MUX_ARGS_MAX);
	if (!h) {
		mux_stream_refuse(s, MUX_REASON_RESOURCES);
		return;
	}
	*h = (struct hostile_stream){.s = s, .offered = true};
	mux_stream_set_events(s, &hostile_events, h);
	hostile_act();
}

static const struct mux_events hostile_mux_events = {on_hostile_open, NULL};

static void hostile_receive(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	const char *why = NULL;
	int r;

	memcpy(copy, data, len);
	r = mux_receive(hostile.m, copy, len, &why);
	free(copy);
	CHECK(r == 0 || (r == -EPROTO && why));
}

/* A frame whose fields are likely to be right, or nearly. */
static void hostile_frame(struct input *in)
{
	static uint8_t frame[MUX_HEADER + MUX_FRAME_MAX];
	uint8_t a = input_u8(in), b = input_u8(in);
	uint8_t type = a & 15;
	size_t len = 0;

	if (type == MUX_OPEN)
		len = 1 + b;
	else if (type == MUX_DATA)
		len = b < 200 ? 1u + b : MUX_FRAME_MAX;
	else if (type == MUX_CREDIT)
		len = 4;
	else if (type == MUX_REFUSE || type == MUX_RESET)
		len = 1;
	wire_poke_u32(frame, type == MUX_OPEN && a & 0x10 ? hostile.m->peer_next_id : (a >> 4) + 1u);
	wire_poke_u32(frame + 4, (uint32_t)type << 24 | (uint32_t)len);
	frame[8] = type == MUX_CREDIT ? 0 : b;
	frame[9] = frame[10] = b;
	hostile_receive(frame, MUX_HEADER + len);
}

static void fuzz_hostile(struct input *in, uint8_t how)
{
	memset(&hostile, 0, sizeof(hostile));
	hostile.in = in;
	hostile.m = mux_new(how & 1, &hostile_mux_events, NULL);
	while (in->left) {
		uint8_t op = input_u8(in);
		struct wire_buf out = {0};

		if (op < 100) {
			hostile_frame(in);
		} else if (op < 150) {
			hostile_act();
		} else if (op < 200) {
			size_t max = input_size(in);
			ssize_t n = mux_produce(hostile.m, &out, max);

			CHECK(n >= 0 && (size_t)n == out.len && out.len <= max);
			wire_buf_free(&out);
		} else if (op < 240) {
			size_t n = input_u8(in);

			n = n < in->left ? n : in->left;
			hostile_receive(in->at, n);
			/* The same bytes are then decisions: cheap variety. */
			in->at += n / 2;
			in->left -= n / 2;
		} else {
			mux_deliver(hostile.m);
		}
		mux_check(hostile.m);
	}
	mux_free(hostile.m);
	for (int i = 0; i < HOSTILE_STREAMS; i++)
		CHECK(!hostile.streams[i].s);
}

/* --------------------------------------------------------------------------------------------- a connection that
 * breaks */

#define FLOWS 24

/* One side of a stream. Both sides of one stream have the same key, which OPEN carries. */
struct flow {
	struct side *side;
	struct mux_stream *s;
	uint8_t key;
	uint64_t sent, got;
	size_t unread;
	size_t pulled; /* so much is there to be pulled */
	bool finned, fin_came, closed, reset_here;
	bool used, offered;
	enum mux_reason reason;
};

struct side {
	int end;
	struct mux *m;
	struct flow flows[FLOWS];
	bool hold;  /* data are not consumed */
	bool later; /* streams are not accepted at once */
	bool moves; /* data have an outlet */
	const uint8_t *moved;
};

struct world {
	struct side sides[2];
	uint8_t next_key;
	bool settling; /* hang-ups wait no longer */
};

static uint8_t byte_at(const struct flow *f, bool theirs, uint64_t i)
{
	int end = theirs ? 1 - f->side->end : f->side->end;

	return (uint8_t)((i * 2654435761u + (unsigned)end * 77u + f->key * 131u) >> 5);
}

static void on_flow_data(void *ctx, const uint8_t *data, size_t len)
{
	struct flow *f = ctx;

	CHECK(f->s && !f->closed && !f->fin_came);
	for (size_t i = 0; i < len; i++)
		CHECK(data[i] == byte_at(f, true, f->got + i));
	f->got += len;
	if (f->side->hold)
		f->unread += len;
	else
		mux_stream_consumed(f->s, len);
}

static int on_flow_outlet(void *ctx)
{
	struct flow *f = ctx;

	CHECK(f->s && !f->closed);
	return f->side->moves ? 0 : -1;
}

static void on_flow_passed(void *ctx, size_t n)
{
	struct flow *f = ctx;

	CHECK(n > 0 && f->side->moves);
	on_flow_data(f, f->side->moved, n);
}

static size_t on_flow_pull(void *ctx, uint8_t *place, size_t max)
{
	struct flow *f = ctx;
	size_t n = f->pulled < max ? f->pulled : max;

	CHECK(f->s && !f->finned && max > 0);
	for (size_t i = 0; i < n; i++)
		place[i] = byte_at(f, false, f->sent + i);
	f->sent += n;
	f->pulled -= n;
	return n;
}

static void on_flow_fin(void *ctx)
{
	struct flow *f = ctx;

	CHECK(f->s && !f->fin_came && !f->closed);
	f->fin_came = true;
}

static void on_flow_closed(void *ctx, enum mux_reason reason)
{
	struct flow *f = ctx;

	CHECK(f->s && !f->closed);
	CHECK(reason != MUX_REASON_NONE || (f->fin_came && f->finned));
	f->closed = true;
	f->reason = reason;
	f->s = NULL;
}

static const struct mux_stream_events flow_events = {
	.data = on_flow_data,
	.pull = on_flow_pull,
	.outlet = on_flow_outlet,
	.passed = on_flow_passed,
	.fin = on_flow_fin,
	.leave = on_flow_fin,
	.closed = on_flow_closed,
};

static void flow_accept(struct flow *f)
{
	if (f->s && f->offered)
		mux_stream_accept(f->s, NULL, NULL);
	f->offered = false;
}

static void on_side_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct side *side = ctx;
	struct flow *f;

	CHECK(len == 1 && args[0] < FLOWS);
	f = &side->flows[args[0]];
	CHECK(!f->used);
	*f = (struct flow){.side = side, .s = s, .key = args[0], .used = true, .offered = true};
	mux_stream_set_events(s, &flow_events, f);
	if (!side->later)
		flow_accept(f);
}

static const struct mux_events side_events = {.open = on_side_open};

static void world_open(struct world *w, int end, enum mux_kind kind)
{
	struct side *side = &w->sides[end];
	uint8_t key = w->next_key;
	struct flow *f;

	if (key >= FLOWS)
		return;
	w->next_key++;
	f = &side->flows[key];
	*f = (struct flow){.side = side, .key = key, .used = true};
	f->s = mux_open(side->m, kind, &key, 1, &flow_events, f);
	CHECK(f->s);
}

static void flow_write(struct flow *f, size_t n)
{
	static uint8_t block[1 << 16];
	size_t took;

	if (!f->s || f->finned)
		return;
	if (n > sizeof(block))
		n = sizeof(block);
	for (size_t i = 0; i < n; i++)
		block[i] = byte_at(f, false, f->sent + i);
	took = mux_stream_write(f->s, block, n);
	CHECK(took <= n);
	f->sent += took;
}

static void flow_offer(struct flow *f, size_t n)
{
	if (!f->s || f->finned)
		return;
	f->pulled += n;
	mux_stream_set_pullable(f->s);
}

/* What was not sent is as if it had not been written. */
static void flow_leave(struct flow *f)
{
	struct fifo rest;

	CHECK(mux_stream_leave(f->s, &rest));
	f->sent -= rest.len;
	fifo_clear(&rest);
}

static void flow_consume(struct flow *f)
{
	if (f->s && f->unread)
		mux_stream_consumed(f->s, f->unread);
	f->unread = 0;
}

static void flow_step(struct world *w, struct input *in, uint8_t op)
{
	struct side *side = &w->sides[op & 1];
	struct flow *f = &side->flows[input_u8(in) % FLOWS];

	switch (op >> 1 & 7) {
	case 0:
		world_open(w, side->end, MUX_KIND_TCP);
		break;
	case 1:
		world_open(w, side->end, op & 0x80 ? MUX_KIND_CONTROL : MUX_KIND_SFTP);
		break;
	case 2:
		side->hold = op & 0x80;
		side->later = op & 0x40;
		side->moves = op & 0x20;
		break;
	case 3:
		flow_accept(f);
		flow_consume(f);
		break;
	case 4:
		if (f->s && !f->finned && op & 0x80)
			flow_leave(f);
		else if (f->s && !f->finned)
			mux_stream_fin(f->s);
		f->finned = f->finned || f->s;
		break;
	case 5:
		if (f->s && op & 0x80) {
			mux_stream_reset(f->s, MUX_REASON_CANCELLED);
			f->s = NULL;
			f->reset_here = true;
		}
		break;
	case 6:
		flow_offer(f, input_size(in));
		break;
	default:
		flow_write(f, input_size(in));
	}
}

static void world_data(struct pair *p, int end, const uint8_t *data, size_t len)
{
	struct world *w = p->ctx;
	const char *why;

	CHECK(mux_receive(w->sides[end].m, data, len, &why) == 0);
	mux_check(w->sides[end].m);
}

static int world_outlet(struct pair *p, int end, size_t *max)
{
	struct world *w = p->ctx;

	return mux_outlet(w->sides[end].m, max);
}

static void world_passed(struct pair *p, int end, const uint8_t *data, size_t len)
{
	struct world *w = p->ctx;

	w->sides[end].moved = data;
	mux_passed(w->sides[end].m, len);
	mux_check(w->sides[end].m);
}

static void world_fill(struct pair *p, int end)
{
	struct mux *m = ((struct world *)p->ctx)->sides[end].m;

	/* As once a turn. */
	mux_deliver(m);
	if (((struct world *)p->ctx)->settling)
		mux_hang_up(m);
	while (mux_pending(m)) {
		size_t len;
		uint8_t *place = session_reserve(p->session[end], SESSION_FRAME_MAX, &len);
		struct wire_buf buf = {.data = place, .cap = len};
		ssize_t n = place ? mux_produce(m, &buf, len) : 0;

		CHECK(n >= 0 && (size_t)n <= len && (!place || buf.data == place));
		if (!n)
			break;
		session_commit(p->session[end], (size_t)n);
	}
	mux_check(m);
}

static const struct pair_user world_user = {
	.data = world_data, .outlet = world_outlet, .passed = world_passed, .fill = world_fill};

/* Both sides of a stream, when everything has arrived. */
static void world_compare(const struct flow *a, const struct flow *b)
{
	if (!a->used || a->reset_here || b->reset_here)
		return;
	CHECK(b->used);
	CHECK(a->got == b->sent && b->got == a->sent);
	CHECK(a->fin_came == b->finned && b->fin_came == a->finned);
	CHECK(a->closed == b->closed && a->closed == (a->finned && b->finned));
	CHECK(!a->closed || a->reason == MUX_REASON_NONE);
}

static void fuzz_broken(struct input *in)
{
	static struct world w;
	struct pair p;

	memset(&w, 0, sizeof(w));
	pair_init(&p, &world_user, &w);
	for (int end = 0; end < 2; end++) {
		w.sides[end].end = end;
		w.sides[end].m = mux_new(end == PAIR_HOST, &side_events, &w.sides[end]);
	}
	while (in->left) {
		uint8_t op = input_u8(in);

		if (op & 0x10)
			flow_step(&w, in, op);
		else
			pair_step(&p, in, op);
	}
	for (int i = 0; i < 2 * FLOWS; i++) {
		w.sides[i & 1].hold = w.sides[i & 1].later = false;
		flow_accept(&w.sides[i & 1].flows[i / 2]);
		flow_consume(&w.sides[i & 1].flows[i / 2]);
	}
	w.settling = true;
	pair_settle(&p);
	for (int i = 0; i < FLOWS; i++) {
		world_compare(&w.sides[0].flows[i], &w.sides[1].flows[i]);
		world_compare(&w.sides[1].flows[i], &w.sides[0].flows[i]);
	}
	for (int end = 0; end < 2; end++) {
		CHECK(mux_stats(w.sides[end].m)->queued == 0);
		mux_free(w.sides[end].m);
	}
	for (int i = 0; i < 2 * FLOWS; i++)
		CHECK(!w.sides[i & 1].flows[i / 2].s);
	pair_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = input_u8(&in);

	if (how & 0x80)
		fuzz_broken(&in);
	else
		fuzz_hostile(&in, how);
	return 0;
}
