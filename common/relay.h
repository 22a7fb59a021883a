/* SPDX-License-Identifier: MIT */
/*
 * relay: carries bytes between one mux stream and one socket, both ways, until both are done. TCP forwards on both
 * sides and the share server's socketpair are all relays.
 *
 * End of file on the socket becomes FIN, FIN becomes shutdown(SHUT_WR); ECONNRESET becomes RESET, and RESET an abortive
 * close (SO_LINGER 0 on TCP), so that what the stream's other end sees is what a direct connection would have shown.
 * Reading stops while the stream has no space, crediting while the socket takes nothing: each waits only for itself.
 *
 * A relay that bulk passes through may go on elsewhere, when both sides have a carrier: each says LEAVE, and when the
 * other's has come, gives its socket away, and what it could not pass on so far. For its caller it stays the relay that
 * it was. PROTOCOL.md, "Lanes".
 */
#ifndef HOMEPORT_RELAY_H
#define HOMEPORT_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "fifo.h"
#include "mux.h"

struct loop;
struct relay;

struct relay_stats {
	_Atomic uint64_t bytes_in, bytes_out; /* from the socket; to the socket */
};

/* What a relay that leaves takes along. */
struct relay_luggage {
	int fd;                           /* -1: the socket has failed, */
	int error;                        /* with this negative errno, and the other side's is to be reset */
	struct fifo to_stream, to_socket; /* bytes on their way */
};

/* Who can go on with it. */
struct relay_carrier {
	/* On the side that says when; NULL on the other. Bulk passes: shall it leave? Asked again as long as it does.
	 */
	bool (*wanted)(void *ctx);
	/* What `wanted` said yes to will not be given after all; id: the other side may give its part all the same, 0:
	 * it does not. Where `wanted` is NULL, so may this be. */
	void (*stayed)(void *ctx, uint32_t id);
	/* Takes the luggage, also on failure (NULL: the socket is closed), of what was stream `id`; returns what drop()
	 * takes. */
	void *(*take)(void *ctx, struct relay *relay, uint32_t id, struct relay_luggage *luggage);
	/* It was ended from outside: resets the socket. No word of it comes back. */
	void (*drop)(void *ride);
	void *ctx;
};

/* What its caller is told of a relay, or of what carries datagrams in the same way. */
struct relay_caller {
	struct relay_stats *counters;        /* advanced as bytes pass, must outlive it; may be NULL */
	const struct relay_carrier *carrier; /* must outlive it, too; NULL: it stays */
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

/* Whether the other side may have heard of its stream. */
bool relay_is_known(const struct relay *r);

/* Ends it at once from outside: resets the stream with reason, closes the socket; `done` is not called. */
void relay_abort(struct relay *r, enum mux_reason reason);

/* Closes it so that its peer sees a reset; of a unix socket, an end of file. */
void relay_reset_socket(int fd);

/* The luggage is not used: resets the socket. */
void relay_luggage_drop(struct relay_luggage *luggage);

/* The same as relay_new(), of one that has left with its socket, on another stream. Takes the luggage, also on failure.
 */
struct relay *relay_go_on(struct loop *loop, struct relay_luggage *luggage, struct mux_stream *stream,
			  const struct relay_caller *caller);

/* For its carrier: so many bytes more have passed; it has ended, with 0 or a negative errno. */
void relay_ride_passed(struct relay *r, uint64_t in, uint64_t out);
void relay_ride_ended(struct relay *r, int error);

/* A thread that has used relays, all of which are over, ends. */
void relay_thread_end(void);

#endif
