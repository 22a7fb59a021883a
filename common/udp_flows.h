/* SPDX-License-Identifier: MIT */
/*
 * udp_flows: the clients of UDP ports for which the other side answers. Each has a stream of its own, and with it a
 * socket there: a server tells them apart, and each hears only what is for it.
 *
 * A flow begins with a client's first datagram and ends when nothing passed for UDP_IDLE_US, when the client is gone,
 * or when it is the one that was silent for longest of UDP_FLOWS_MAX. Nothing waits: what a stream has no room for is
 * dropped.
 */
#ifndef HOMEPORT_UDP_FLOWS_H
#define HOMEPORT_UDP_FLOWS_H

#include <stddef.h>
#include <stdint.h>

#include "datagram.h"
#include "mux.h"
#include "relay.h"
#include "udp_port.h"

struct loop;
struct udp_flow;
struct udp_flows;

/* Where a flow leads. */
struct udp_flow_target {
	struct mux *mux;
	enum mux_kind kind;
	const uint8_t *args; /* of the stream; valid for the call */
	size_t args_len;
	struct relay_caller caller; /* `done` only of a flow that has begun */
};

struct udp_flows *udp_flows_new(struct loop *loop); /* NULL: out of memory */
void udp_flows_free(struct udp_flows *all);         /* ends them; NULL is fine */

/* The flow of a client of this port, or NULL. It may end in any turn of the loop. */
struct udp_flow *udp_flows_find(const struct udp_flows *all, struct udp_port *port, const struct udp_client *client);

/*
 * Begins the flow of a client that has none. The port must outlive it: udp_flows_end_port(). NULL, and `done` is not
 * called: no stream, or no memory.
 */
struct udp_flow *udp_flows_begin(struct udp_flows *all, struct udp_port *port, const struct udp_client *client,
				 const struct udp_flow_target *target);

/* The first len bytes of a datagram of the client's. */
void udp_flow_send(struct udp_flow *f, struct datagram *d, size_t len);

/* The client is gone: its flow ends, and the server hears of it when it sends the next. */
void udp_flows_unreachable(struct udp_flows *all, struct udp_port *port, const struct udp_client *client);

/* Ends all flows of a port. */
void udp_flows_end_port(struct udp_flows *all, struct udp_port *port);

#endif
