/* SPDX-License-Identifier: MIT */
/*
 * lane: a second connection beside a session's own, for bulk, with a thread, a loop and a session of its own.
 *
 * Whatever passes through an agent in small pieces waits for the agent's present turn to end, and for a processor that
 * its agent, which has worked a lot, is not the first to get. So a relay that much passes through leaves (relay.h): its
 * socket goes to the lane, on both sides, and the agents themselves stay idle and quick. The lane's session survives a
 * reconnect as any other does; its connection is a direct one, or, when that is lost, a stream of the session it stands
 * beside. PROTOCOL.md, "Lanes".
 *
 * All of it is called on the owner's loop, and calls back there.
 */
#ifndef HOMEPORT_LANE_H
#define HOMEPORT_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session.h"

struct chan;
struct lane;
struct loop;
struct mux_stream;
struct relay;
struct relay_caller;
struct relay_luggage;

enum lane_state {
	LANE_DOWN, /* there is no connection */
	LANE_UP,
	LANE_DEAD, /* its session is over; it can only be freed */
};

struct lane_events {
	/* The state is another, or was for a moment. It may free the lane. */
	void (*state)(void *ctx, enum lane_state state);
	/* Nothing has ridden on it for LANE_IDLE_US. It may free the lane. NULL: that is the other side's matter. */
	void (*idle)(void *ctx);
};

/* Without a connection yet. hello: the session's identity, as for peer_new(). NULL: out of memory or threads. */
struct lane *lane_new(struct loop *loop, enum session_role role, const struct session_hello *hello,
		      const struct lane_events *events, void *ctx);

/* Resets what rides on it, and waits for its thread to end, which never blocks. NULL is fine. */
void lane_free(struct lane *l);

/* Says goodbye to the other side; the state becomes DEAD. */
void lane_goodbye(struct lane *l);

/*
 * Gives it a connection, which has no owner and is the lane's from here on, at the end of this turn; one that is there
 * is closed. Guest: hello, which is the lane's (lane_is()), is what the greeter parsed, rest what came behind it. Host:
 * NULL, NULL, 0.
 */
void lane_attach(struct lane *l, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		 size_t rest_len);

/*
 * A connection that a stream carries, open or offered: its other end is *relay, which the caller, who may be NULL,
 * hears of; the chan is our caller's. NULL: out of memory or descriptors, and the stream is reset (refused).
 */
struct chan *lane_through(struct loop *loop, struct mux_stream *stream, const struct relay_caller *caller,
			  struct relay **relay);

/* Gives the connection up, if there is one: the state becomes DOWN. */
void lane_disconnect(struct lane *l);

/* Is this the HELLO of a connection of the lane's? */
bool lane_is(const struct lane *l, const struct session_hello *hello);

/* What struct relay_carrier asks for. take: the host opens the stream that goes on, the guest waits for it. */
void *lane_take(struct lane *l, struct relay *relay, uint32_t id, struct relay_luggage *luggage);
void lane_drop(void *ride);

/* Host: the guest may bring its part of what was this stream, and there is none here to go on with. */
void lane_does_not_take(struct lane *l, uint32_t id);

#endif
