/* SPDX-License-Identifier: MIT */
/*
 * dialer: connects offered streams to sockets. A connection that stands is accepted and left to a relay; a stream whose
 * connection does not come about is refused with the reason. Who may be connected to is the caller's to say.
 */
#ifndef HOMEPORT_DIALER_H
#define HOMEPORT_DIALER_H

#include <stddef.h>

#include "mux.h"
#include "relay.h"

#define DIALER_ADDRESSES_MAX 3 /* as many as there are name servers; of a forward two, both loopbacks */

struct dialer;
struct loop;
struct sock_address;

struct dialer *dialer_new(struct loop *loop); /* NULL: out of memory */

/* Refuses what is still being connected. Connections that stand go on. NULL is fine. */
void dialer_free(struct dialer *d);

/*
 * Accepts or refuses the stream, now or later: the first of `count` addresses (1 to DIALER_ADDRESSES_MAX) that can be
 * connected to is taken. caller may be NULL.
 */
void dialer_connect(struct dialer *d, struct mux_stream *stream, const struct sock_address *to, size_t count,
		    const struct relay_caller *caller);

/* The same for datagrams, at one address: udp_relay.h. What nobody serves is found out with the first datagram. */
void dialer_connect_udp(struct dialer *d, struct mux_stream *stream, const struct sock_address *to,
			const struct relay_caller *caller);

/* Which reason to refuse with stands for this errno of socket(2) or connect(2). */
enum mux_reason dialer_reason(int error);

/* Refuses it without trying. */
void dialer_refuse(struct dialer *d, struct mux_stream *stream, enum mux_reason reason);

#endif
