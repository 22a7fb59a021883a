/* SPDX-License-Identifier: MIT */
/* forward_conn: the connections of the forwards, from a client on the host to a stream of the guest. */
#ifndef HOMEPORT_FORWARD_CONN_H
#define HOMEPORT_FORWARD_CONN_H

#include <stdint.h>

#include "control_msg.h"
#include "open_args.h"
#include "relay.h"

struct forward_conns;
struct loop;
struct mux;

/* What one listener of the guest carried. Outlives it as long as there are connections. */
struct forward_traffic {
	unsigned refs;
	unsigned connections; /* open now */
	struct relay_stats bytes;
};

struct forward_traffic *forward_traffic_new(void);     /* with one reference; NULL: out of memory */
void forward_traffic_unref(struct forward_traffic *t); /* NULL is fine */

/* Counts a connection that begins, and what to give to who carries it: its `done` counts it out. */
struct relay_caller forward_traffic_join(struct forward_traffic *t);

struct forward_conns *forward_conns_new(struct loop *loop); /* NULL: out of memory */
void forward_conns_free(struct forward_conns *all);         /* aborts them; NULL is fine */

/* Who carries those that bulk passes through; must outlive it. */
void forward_conns_set_carrier(struct forward_conns *all, const struct relay_carrier *carrier);

/* Joins fd, which it takes, to a new stream towards target. Without a mux, or a stream, the client sees a reset. */
void forward_conn_start(struct forward_conns *all, struct mux *mux, int fd, const struct tcp_target *target,
			struct forward_traffic *traffic);

/* The same towards a unix socket of the guest's, of fewer than SOCKET_PATH_MAX bytes. */
void forward_conn_start_unix(struct forward_conns *all, struct mux *mux, int fd, const char *path,
			     struct forward_traffic *traffic);

#endif
