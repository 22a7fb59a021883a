/* SPDX-License-Identifier: MIT */
/*
 * relay: carries bytes between one mux stream and one socket, both ways, until both are done. TCP forwards on both
 * sides and the share server's socketpair are all relays.
 *
 * End of file on the socket becomes FIN, FIN becomes shutdown(SHUT_WR); ECONNRESET becomes RESET, and RESET an abortive
 * close (SO_LINGER 0 on TCP), so that what the stream's other end sees is what a direct connection would have shown.
 * Reading stops while the stream has no space, crediting while the socket takes nothing: each waits only for itself.
 */
#ifndef HOMEPORT_RELAY_H
#define HOMEPORT_RELAY_H

#include <stdint.h>

#include "mux.h"

struct loop;
struct relay;

struct relay_stats {
	uint64_t bytes_in, bytes_out; /* from the socket; to the socket */
};

/* What its caller is told of a relay, or of what carries datagrams in the same way. */
struct relay_caller {
	struct relay_stats *counters; /* advanced as bytes pass, must outlive it; may be NULL */
	/* Once, when it is over, before it frees itself: 0 or the negative errno that ended it. May be NULL. */
	void (*done)(void *ctx, int error);
	void *ctx;
};

/*
 * Starts on a connected socket (non-blocking, close-on-exec), which becomes the relay's, and a stream that is open or
 * opening, whose events become the relay's. NULL (fd closed, stream reset, `done` not called) when out of memory. The
 * caller, which may be NULL, is copied.
 */
struct relay *relay_new(struct loop *loop, int fd, struct mux_stream *stream, const struct relay_caller *caller);

/* Reads what a socket that was just accepted has by now: who connects mostly speaks at once, and what it says then
 * leaves in one piece with OPEN. It may end the relay. */
void relay_read_now(struct relay *r);

/* Ends it at once from outside: resets the stream with reason, closes the socket; `done` is not called. */
void relay_abort(struct relay *r, enum mux_reason reason);

#endif
