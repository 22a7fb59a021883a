/* SPDX-License-Identifier: MIT */
/*
 * move: what the guest does when a host asks for a direct connection (CONTROL_DIRECT): listens for one or connects,
 * reads the HELLO that comes on it, and hands both over. Then it holds the SSH connection that the session has left.
 */
#ifndef HOMEPORT_MOVE_H
#define HOMEPORT_MOVE_H

#include <stddef.h>
#include <stdint.h>

#include "control_msg.h"
#include "session.h"

struct chan;
struct loop;
struct move;
struct ssh_ends;

struct move_events {
	/* A DIRECT_STATE for the host. */
	void (*message)(void *ctx, const struct control_msg *msg);
	/* The direct connection; chan is the callee's. What the session had before is then move_leave()'s. */
	void (*connected)(void *ctx, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
			  size_t rest_len);
	/* The SSH connection has ended, with a sentence. */
	void (*ended)(void *ctx, const char *why);
};

/* For one SSH connection. NULL: out of memory. */
struct move *move_new(struct loop *loop, const struct ssh_ends *ends, const struct move_events *events, void *ctx);

/* Ends the SSH connection too, if it holds it. NULL is fine. */
void move_free(struct move *m);

/* The host asks; an attempt that is under way is given up. */
void move_ask(struct move *m, const struct control_direct *direct);

/* Takes the SSH connection. Returns 0 or -ENOMEM, and then it is closed. */
int move_leave(struct move *m, struct chan *ssh);

#endif
