/* SPDX-License-Identifier: MIT */
/*
 * reverse: listens in the guest for services of the host. Each connection, and each client of a UDP port, becomes a
 * stream that the host connects to what its rules name. Where a place is taken, or not ours to listen at, the host is
 * told, and it is tried again.
 */
#ifndef HOMEPORT_REVERSE_H
#define HOMEPORT_REVERSE_H

#include <stdint.h>

struct control_listen;
struct control_msg;
struct loop;
struct mux;
struct relay_carrier;
struct reverse;

struct reverse_events {
	/* A LISTEN_STATE for the host, also from inside reverse_listen(). */
	void (*message)(void *ctx, const struct control_msg *msg);
};

/* Of one session, whose mux it is; which must outlive it. NULL: out of memory. */
struct reverse *reverse_new(struct loop *loop, struct mux *mux, const struct reverse_events *events, void *ctx);

/* Who carries connections that bulk passes through, from the next one on; must outlive them. */
void reverse_set_carrier(struct reverse *r, const struct relay_carrier *carrier);

/* Closes what listens and removes its sockets; clients of UDP end with it. Connections end with their streams. NULL is
 * fine. */
void reverse_free(struct reverse *r);

/* The host wants it. 0, or -EPROTO for a number that is there or one too many, or -ENOMEM. */
int reverse_listen(struct reverse *r, const struct control_listen *listen);

/* No more, but for connections that stand. 0, or -EPROTO for a number that is not there. */
int reverse_unlisten(struct reverse *r, uint32_t id);

#endif
