/* SPDX-License-Identifier: MIT */
/*
 * udp_flows: the clients of the forwarded UDP ports. Each has a stream of its own, and with it a socket in the guest:
 * a server there tells them apart, and each hears only what is for it.
 *
 * A flow begins with a client's first datagram and ends when nothing passed for UDP_IDLE_US, when the client is gone,
 * or when it is the one that was silent for longest of UDP_FLOWS_MAX. Nothing waits: what a stream has no room for is
 * dropped.
 */
#ifndef HOMEPORT_UDP_FLOWS_H
#define HOMEPORT_UDP_FLOWS_H

#include <stdbool.h>
#include <stddef.h>

#include "control_msg.h"
#include "datagram.h"
#include "forward_conn.h"
#include "udp_port.h"

struct loop;
struct mux;
struct udp_flows;

struct udp_flows *udp_flows_new(struct loop *loop); /* NULL: out of memory */
void udp_flows_free(struct udp_flows *all);         /* ends them; NULL is fine */

/*
 * A datagram of a client. One that is new gets a stream of the mux towards target, which counts in traffic; without a
 * mux (NULL), a stream or memory the datagram is dropped, and where self_only is set, that of a client of another user.
 * The port must outlive its flows: udp_flows_end_port().
 */
void udp_flows_datagram(struct udp_flows *all, struct mux *mux, struct udp_port *port, const struct udp_client *from,
			struct datagram *d, size_t len, const struct tcp_target *target,
			struct forward_traffic *traffic, bool self_only);

/* The client is gone: its flow ends, and the server hears of it when it sends the next. */
void udp_flows_unreachable(struct udp_flows *all, struct udp_port *port, const struct udp_client *client);

/* Ends all flows of a port. */
void udp_flows_end_port(struct udp_flows *all, struct udp_port *port);

#endif
