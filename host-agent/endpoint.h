/* SPDX-License-Identifier: MIT */
/*
 * endpoint: the host's addresses that are forwarded, IP addresses with a port and paths of unix sockets, each counted
 * by those who claim it.
 *
 * Several listeners of the guest may map to one address (0.0.0.0:80 and [::]:80, a group of SO_REUSEPORT); it is
 * listened on from the first claim to the last. All claims that hold an address at once are for one port, or socket, of
 * the guest; those for another wait behind them. An address that somebody else on the host listens on is never taken:
 * it is in conflict, says whose it is, and is tried again every 50 ms. Where the service manager passed a socket of
 * the address (passed_sockets.h), that one is used.
 */
#ifndef HOMEPORT_ENDPOINT_H
#define HOMEPORT_ENDPOINT_H

#define ENDPOINT_LEAVES_US  15000u /* 10 ms, and what two messages may be apart from one another */
#define ENDPOINT_LEAVES_MAX 64u    /* addresses; the oldest goes first: each is a descriptor */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "control_msg.h"
#include "open_args.h"
#include "rules.h"
#include "udp_port.h"

struct endpoint;
struct endpoints;
struct loop;

enum endpoint_state {
	ENDPOINT_OPEN,     /* listened on, for this claim */
	ENDPOINT_CONFLICT, /* somebody else's */
	ENDPOINT_FAILED,   /* cannot be listened on */
	ENDPOINT_ABSENT,   /* the host has no such address (IPv6 is off) */
	ENDPOINT_STATE_COUNT,
};

/* Part of what claims; zeroed when there is no claim. The owner fills in the last four before. */
struct endpoint_claim {
	TAILQ_ENTRY(endpoint_claim) next;
	struct endpoint *endpoint;
	uint8_t proto;            /* LISTENER_TCP, which a path is of as well, or LISTENER_UDP: of both ends */
	struct tcp_target target; /* in the guest; zeroed when it is a socket there */
	const char *socket;       /* its path, of the owner's, or NULL */
	void *owner;
};

struct endpoint_events {
	/* A connection for one of the claims. fd is the callee's. */
	void (*accepted)(void *ctx, struct endpoint_claim *claim, int fd);
	/* A datagram for one of the claims, to be answered through port; and that a client of it is gone. */
	void (*datagram)(void *ctx, struct endpoint_claim *claim, struct udp_port *port, const struct udp_client *from,
			 struct datagram *d, size_t len);
	void (*unreachable)(void *ctx, struct udp_port *port, const struct udp_client *client);
	/* No more of this port: what is to be answered through it is over. */
	void (*closing)(void *ctx, struct udp_port *port);
	/* endpoint_claim_state() of the claim may have changed. May not claim or release. */
	void (*changed)(void *ctx, struct endpoint_claim *claim);
};

struct endpoints *endpoints_new(struct loop *loop, const struct endpoint_events *events, void *ctx);
void endpoints_free(struct endpoints *all); /* after every claim was released; NULL is fine */

/* Claims host address and port for claim->target. Returns 0, or -ENOMEM. `changed` is not called for this claim. */
int endpoint_claim(struct endpoints *all, const struct rule_address *address, uint16_t port,
		   struct endpoint_claim *claim);

/* The same for a unix socket of the host's. Also -ENAMETOOLONG. */
int endpoint_claim_path(struct endpoints *all, const char *path, struct endpoint_claim *claim);

/* Gives it up; a claim that is none is left alone. */
void endpoint_release(struct endpoint_claim *claim);

/*
 * The same for a listener that has gone, and may be about to come back as that of a server does that is started anew:
 * nobody is answered any more, but for ENDPOINT_LEAVES_US no other program gets the port.
 */
void endpoint_leave(struct endpoint_claim *claim);

/* How it stands; *why (NULL when open) lives until the endpoint changes. */
enum endpoint_state endpoint_claim_state(const struct endpoint_claim *claim, const char **why);

/*
 * What is claimed is all there is: connections to the service manager's other sockets, which waited until now, are
 * reset from here on.
 */
void endpoints_refuse_others(struct endpoints *all);

/* Calls cb with each address that is listened on, behind its protocol: "tcp 127.0.0.1:80". */
void endpoints_each_open(const struct endpoints *all, void (*cb)(void *ctx, const char *address), void *ctx);

/* The host's address, as text that lives as long as the claim. */
const char *endpoint_claim_address(const struct endpoint_claim *claim);

#endif
