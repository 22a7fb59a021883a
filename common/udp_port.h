/* SPDX-License-Identifier: MIT */
/*
 * udp_port: one bound UDP socket, for whom another machine answers. It knows no clients: each datagram comes with whom
 * it is from, and goes to whom it is for.
 */
#ifndef HOMEPORT_UDP_PORT_H
#define HOMEPORT_UDP_PORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "datagram.h"

struct loop;
struct sock_address;
struct udp_port;

/* Who sent a datagram, and to which of our addresses where the socket is bound to all of them. Compared as bytes. */
struct udp_client {
	uint8_t family;      /* 4 or 6 */
	uint8_t addr[16];    /* the client's */
	uint8_t at[16];      /* ours; zeros: the one the socket is bound to */
	uint16_t port;       /* the client's */
	uint32_t scope;      /* of a link-local address of the client's */
	uint32_t at_ifindex; /* where it came in; 0 with `at` */
};

struct udp_port_events {
	/* A datagram of len bytes, valid for the call. It may close the port. */
	void (*datagram)(void *ctx, const struct udp_client *from, struct datagram *d, size_t len);
	/* What was sent to this client met nobody (ICMP's port unreachable). It may close the port. */
	void (*unreachable)(void *ctx, const struct udp_client *client);
};

/*
 * Binds this very address: what is bound there already keeps the port (-EADDRINUSE). Returns 0 or a negative errno.
 */
int udp_port_open(struct loop *loop, const struct sock_address *at, const struct udp_port_events *events, void *ctx,
		  struct udp_port **out);
void udp_port_close(struct udp_port *p); /* NULL is fine */

/* Which address of ours a client's datagram came to, and our port. */
void udp_port_own_end(const struct udp_port *p, const struct udp_client *client, struct sock_address *own);

/* Sends one; what the socket does not take is dropped. */
void udp_port_send(struct udp_port *p, const struct udp_client *to, const uint8_t *data, size_t len);

#endif
