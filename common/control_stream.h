/* SPDX-License-Identifier: MIT */
/*
 * control_stream: messages of control_msg.h on the one stream of a session that carries them. PROTOCOL.md, "Control".
 *
 * It is the host's to open and nobody's to end: with it the session ends, though that may take a moment, in which
 * nothing is said any more. So does it with a message that cannot be taken.
 */
#ifndef HOMEPORT_CONTROL_STREAM_H
#define HOMEPORT_CONTROL_STREAM_H

#include <stdbool.h>

#include "control_msg.h"
#include "wire.h"

struct mux_stream;
struct peer;

struct control_stream_events {
	const char *other; /* who is at the other end: "host" or "guest" */
	/* What is in the message, and not taken out of it, is freed afterwards. 0; -EPROTO: it may not be said, or not
	 * now; another negative errno. */
	int (*message)(void *ctx, struct control_msg *msg);
};

/* Lies in its owner, who looks at nothing in it; all zero: not there. */
struct control_stream {
	const struct control_stream_events *events;
	void *ctx;
	struct peer *peer;
	struct mux_stream *stream; /* NULL: not begun, or over */
	struct wire_buf in;        /* of the message that has not come whole */
};

/* The host's end: opens it, in a session that is up. 0 or -ENOMEM. */
int control_stream_open(struct control_stream *c, struct peer *peer, const struct control_stream_events *events,
			void *ctx);

/* The guest's: takes the stream that the host opens. */
void control_stream_accept(struct control_stream *c, struct peer *peer, struct mux_stream *stream,
			   const struct control_stream_events *events, void *ctx);

bool control_stream_is_open(const struct control_stream *c);

/* Queues a message. -ENOTCONN: it is not open; -EAGAIN: the other side has long stopped reading; -ENOMEM. */
int control_stream_send(struct control_stream *c, const struct control_msg *msg);

/* The session is over, and its mux gone or about to go: nothing of that is touched any more. */
void control_stream_forget(struct control_stream *c);

/* The same in a session that goes on for a moment. */
void control_stream_reset(struct control_stream *c);

/* Frees what it holds; not within `message`. */
void control_stream_free(struct control_stream *c);

#endif
