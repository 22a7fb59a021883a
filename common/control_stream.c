/* SPDX-License-Identifier: MIT */
/* See control_stream.h. Runs on the loop's thread. */
#include "control_stream.h"

#include <errno.h>
#include <stdio.h>

#include "mux.h"
#include "peer.h"

static int take_messages(struct control_stream *c)
{
	struct control_msg msg;
	size_t at = 0;
	ssize_t used = 0;
	int rc = 0;

	while (!rc && (used = control_msg_get(c->in.data + at, c->in.len - at, &msg)) > 0) {
		at += (size_t)used;
		rc = c->events->message(c->ctx, &msg);
		control_msg_clear(&msg);
	}
	wire_buf_consume(&c->in, at);
	return used < 0 ? (int)used : rc;
}

static void on_control_data(void *ctx, const uint8_t *data, size_t len)
{
	struct control_stream *c = ctx;
	char text[64];
	int rc;

	wire_put_bytes(&c->in, data, len);
	mux_stream_consumed(c->stream, len);
	rc = c->in.failed ? -ENOMEM : take_messages(c);
	if (rc >= 0)
		return;
	snprintf(text, sizeof(text), "a control message of the %s could not be taken", c->events->other);
	peer_goodbye(c->peer, rc == -EPROTO ? SESSION_REASON_PROTOCOL : SESSION_REASON_RESOURCES, text);
}

static void on_control_fin(void *ctx)
{
	struct control_stream *c = ctx;
	char text[64];

	snprintf(text, sizeof(text), "the %s ended the control stream", c->events->other);
	peer_goodbye(c->peer, SESSION_REASON_PROTOCOL, text);
}

static void on_control_closed(void *ctx, enum mux_reason reason)
{
	struct control_stream *c = ctx;

	c->stream = NULL;
	if (reason != MUX_REASON_LOST)
		on_control_fin(c);
}

static const struct mux_stream_events stream_events = {
	.data = on_control_data,
	.fin = on_control_fin,
	.closed = on_control_closed,
};

static void begin(struct control_stream *c, struct peer *peer, const struct control_stream_events *events, void *ctx)
{
	wire_buf_reset(&c->in);
	c->events = events;
	c->ctx = ctx;
	c->peer = peer;
}

int control_stream_open(struct control_stream *c, struct peer *peer, const struct control_stream_events *events,
			void *ctx)
{
	begin(c, peer, events, ctx);
	c->stream = mux_open(peer_mux(peer), MUX_KIND_CONTROL, NULL, 0, &stream_events, c);
	return c->stream ? 0 : -ENOMEM;
}

void control_stream_accept(struct control_stream *c, struct peer *peer, struct mux_stream *stream,
			   const struct control_stream_events *events, void *ctx)
{
	begin(c, peer, events, ctx);
	c->stream = stream;
	mux_stream_accept(stream, &stream_events, c);
}

bool control_stream_is_open(const struct control_stream *c)
{
	return c->stream != NULL;
}

int control_stream_send(struct control_stream *c, const struct control_msg *msg)
{
	struct wire_buf out = {0};
	int rc;

	if (!c->stream)
		return -ENOTCONN;
	control_msg_put(&out, msg);
	rc = out.failed ? -ENOMEM : mux_stream_write_all(c->stream, out.data, out.len);
	wire_buf_free(&out);
	return rc;
}

void control_stream_forget(struct control_stream *c)
{
	c->stream = NULL;
}

void control_stream_reset(struct control_stream *c)
{
	if (c->stream)
		mux_stream_reset(c->stream, MUX_REASON_CANCELLED);
	control_stream_forget(c);
}

void control_stream_free(struct control_stream *c)
{
	control_stream_forget(c);
	wire_buf_free(&c->in);
}
