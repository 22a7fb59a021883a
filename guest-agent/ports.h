/* SPDX-License-Identifier: MIT */
/*
 * ports: tells the host what listens here. A full snapshot with an epoch, then changes, as control messages; which
 * process listens is added when it can be known, if need be a moment later.
 */
#ifndef HOMEPORT_PORTS_H
#define HOMEPORT_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "control_msg.h"
#include "open_args.h"

struct listener_source;
struct loop;
struct ports;

struct ports_events {
	/*
	 * A message for the host. Returns 0, or a negative errno when the way to the host takes no more: then no more
	 * changes are given, and a new snapshot is tried every second. May not free the ports.
	 */
	int (*message)(void *ctx, const struct control_msg *msg);
	/* What listens cannot be known (a negative errno, logged), not even of TCP; it is tried again. May be NULL. */
	void (*failed)(void *ctx, int error);
};

/* The source becomes its own, also on failure. NULL: out of memory. It does nothing yet. */
struct ports *ports_new(struct loop *loop, struct listener_source *source, const struct ports_events *events,
			void *ctx);
void ports_free(struct ports *p); /* NULL is fine */

/* A host is there: gives a snapshot with a new epoch, as soon as what listens is known, and every change from then on.
 */
void ports_start(struct ports *p);

/* Nobody is there to be told: it does not look either. */
void ports_stop(struct ports *p);

/* Whether a socket listens at this very address and port: what the host may connect to besides loopback. */
bool ports_is_listening(const struct ports *p, uint8_t proto, const struct tcp_target *target);

/* How it comes to know, as a clause; "" before the first start. */
const char *ports_how(const struct ports *p);

/* Calls cb for each listener, by port. */
void ports_list(const struct ports *p, void (*cb)(void *ctx, const struct listener *l), void *ctx);

#endif
