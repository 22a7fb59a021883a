/* SPDX-License-Identifier: MIT */
/*
 * reverse: services of the host that answer in the guest. The guest is told where to listen; each connection there
 * comes as a stream, which is connected to what the rule names.
 *
 * The guest names a number that it was given, never an address: it reaches what the reverse rules name, and nothing
 * else of the host. What it says about itself is shown, and never acted upon.
 */
#ifndef HOMEPORT_REVERSE_H
#define HOMEPORT_REVERSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "forward.h"

struct control_listen_state;
struct control_msg;
struct loop;
struct mux_stream;
struct relay_caller;
struct relay_carrier;
struct reverse;
struct rules;
struct socket_world;

struct reverse_events {
	/* A LISTEN or UNLISTEN for the guest, from inside reverse_begin() and reverse_set_rules(). */
	void (*send)(void *ctx, const struct control_msg *msg);
	/* A stream for the host's name servers, of either protocol, to accept or refuse; the caller is copied. */
	void (*resolve)(void *ctx, struct mux_stream *stream, uint8_t proto, const struct relay_caller *caller);
	/* What reverse_list() gives has changed. */
	void (*changed)(void *ctx);
};

/* Takes what it needs of rules and world. NULL: out of memory. */
struct reverse *reverse_new(struct loop *loop, const struct rules *rules, const struct socket_world *world,
			    const struct reverse_events *events, void *ctx);

/* Who carries connections that bulk passes through, from the next one on; must outlive them. */
void reverse_set_carrier(struct reverse *r, const struct relay_carrier *carrier);

/* Streams that are being connected are refused; connections that stand end with their session. NULL is fine. */
void reverse_free(struct reverse *r);

/*
 * Other rules: those that ask for the same go on as they are, the guest is told of the others. 0, or -ENOMEM, and
 * nothing has changed.
 */
int reverse_set_rules(struct reverse *r, const struct rules *rules, const struct socket_world *world);

/* A session whose guest is known: it is told where to listen. */
void reverse_begin(struct reverse *r);

/* The session is over, and with it what listened. */
void reverse_end(struct reverse *r);

/* The guest has answered everything that it was told in this session. */
bool reverse_is_settled(const struct reverse *r);

/* What the guest says of one; -EPROTO where it was not told to listen. */
int reverse_state(struct reverse *r, const struct control_listen_state *state);

/* A stream of kind reverse that the guest offers, with its arguments: it is accepted or refused, now or later. */
void reverse_open(struct reverse *r, struct mux_stream *stream, const uint8_t *args, size_t len);

/* Calls cb for each, in the order of the rules. */
void reverse_list(const struct reverse *r, forward_list_cb *cb, void *ctx);

#endif
