/* SPDX-License-Identifier: MIT */
/*
 * peer: one end of the pair. Glues a mux to its session and the session to whichever chan is there now, and gives both
 * the clock. It moves bytes once a turn (a loop hook): what the turn's callbacks queued in streams leaves in one
 * coalesced write, at most PEER_TURN bytes of it.
 */
#ifndef HOMEPORT_PEER_H
#define HOMEPORT_PEER_H

#include "mux.h"
#include "session.h"

struct chan;
struct loop;
struct peer;

/* Each may call into the peer; none may free it but by peer_free() deferred (loop_defer). */
struct peer_events {
	/* A connection is up. resumed: nothing above noticed; else this is a new mux without streams. */
	void (*up)(void *ctx, bool resumed, const struct session_hello *remote);
	/* The connection is gone (chan freed); the session waits for peer_attach(). why: a sentence. */
	void (*down)(void *ctx, const char *why);
	/* The session is over: all streams got `closed(LOST)` before. The peer can only be freed. */
	void (*dead)(void *ctx, enum session_reason reason, const char *text);
	/* See struct mux_events. */
	void (*open)(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len);
	/* What the login shell printed before the banner; may be NULL. */
	void (*skipped)(void *ctx, const uint8_t *data, size_t len);
};

struct peer *peer_new(struct loop *loop, enum session_role role, const struct session_hello *hello,
		      const struct peer_events *events, void *ctx);
void peer_free(struct peer *p);

/*
 * Gives a connection; the chan is the peer's from here on, also on failure. One that is there already is closed
 * (fenced), for which there is no `down`: `up` follows. Guest: `hello` is what the greeter parsed, `rest` what came
 * behind it, and `up` comes before this returns; host: NULL, NULL, 0. Returns 0 or what session_attach() says.
 */
int peer_attach(struct peer *p, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		size_t rest_len);

/* What peer_attach() would return, with nothing done. */
int peer_check_attach(const struct peer *p, const struct session_hello *hello);

/*
 * The same for a session whose connection lives and is to carry nothing from here on: that one is not closed but handed
 * back in *old, without an owner (NULL: there was none). On failure *old is NULL, and the session goes on with what it
 * had, or `down` follows; -ENOTCONN: its connection has just ended.
 */
int peer_move(struct peer *p, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
	      size_t rest_len, struct chan **old);

/* Sends GOODBYE with a reason, then (as soon as it is written, or after PEER_GOODBYE_WAIT_US) `dead` is called. */
void peer_goodbye(struct peer *p, enum session_reason reason, const char *text);

/* The same; and `dead` is called when the other side, having undone what was the session's, has ended the connection
 * too, or after PEER_PART_WAIT_US. */
void peer_part(struct peer *p, enum session_reason reason, const char *text);

/* Gives up the present connection (a suspend was noticed, a route appeared): `down` follows in this turn. */
void peer_drop_connection(struct peer *p, const char *why);

bool peer_is_up(const struct peer *p);
struct mux *peer_mux(struct peer *p);
uint32_t peer_rtt_us(const struct peer *p);
uint64_t peer_heard_us(const struct peer *p); /* when bytes last came, by loop_now_us() */
const struct session_hello *peer_identity(const struct peer *p);

#endif
