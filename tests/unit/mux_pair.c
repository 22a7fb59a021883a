/* SPDX-License-Identifier: MIT */
#include "mux_pair.h"

#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "wire.h"

struct mux_pair {
	struct mux *host, *guest;
	struct loop_hook *hook;
	mux_pair_open_cb *guest_open, *host_open;
	void *ctx;
};

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct mux_pair *p = ctx;

	p->guest_open(p->ctx, stream, kind, args, len);
}

static void on_host_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct mux_pair *p = ctx;

	if (p->host_open)
		p->host_open(p->ctx, stream, kind, args, len);
	else
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
}

static void on_pending(void *ctx)
{
}

static const struct mux_events host_events = {.open = on_host_open, .pending = on_pending};
static const struct mux_events guest_events = {.open = on_guest_open, .pending = on_pending};

static void move(struct mux *from, struct mux *to)
{
	struct wire_buf buf = {0};
	const char *why = "";

	mux_produce(from, &buf, 1u << 20);
	if (buf.failed || mux_receive(to, buf.data, buf.len, &why) < 0) {
		fprintf(stderr, "mux_pair: %s\n", why);
		abort();
	}
	wire_buf_free(&buf);
}

static void on_turn_end(void *ctx)
{
	struct mux_pair *p = ctx;

	do {
		mux_hang_up(p->host);
		mux_hang_up(p->guest);
		move(p->host, p->guest);
		move(p->guest, p->host);
	} while (mux_pending(p->host) || mux_pending(p->guest) || mux_has_hangups(p->host) ||
		 mux_has_hangups(p->guest));
}

struct mux_pair *mux_pair_new(struct loop *loop, mux_pair_open_cb *guest_open, void *ctx)
{
	struct mux_pair *p = calloc(1, sizeof(*p));

	p->guest_open = guest_open;
	p->ctx = ctx;
	p->host = mux_new(true, &host_events, p);
	p->guest = mux_new(false, &guest_events, p);
	p->hook = loop_hook_new(loop, on_turn_end, p);
	return p;
}

void mux_pair_free(struct mux_pair *p)
{
	loop_hook_free(p->hook);
	mux_free(p->host);
	mux_free(p->guest);
	free(p);
}

struct mux *mux_pair_host(struct mux_pair *p)
{
	return p->host;
}

struct mux *mux_pair_guest(struct mux_pair *p)
{
	return p->guest;
}

void mux_pair_on_host_open(struct mux_pair *p, mux_pair_open_cb *host_open)
{
	p->host_open = host_open;
}
