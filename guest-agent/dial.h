/* SPDX-License-Identifier: MIT */
/*
 * dial: connects streams the host opens to sockets in the guest (dialer.h, udp_relay.h). Who may be connected to is a
 * table in dial.c.
 */
#ifndef HOMEPORT_DIAL_H
#define HOMEPORT_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "mux.h"

struct dial;
struct loop;
struct ports;
struct relay_carrier;

/* ports: what listens here; may be NULL (then loopback only), and must outlive it. NULL: out of memory. */
struct dial *dial_new(struct loop *loop, const struct ports *ports);

/* Who carries connections that bulk passes through, from the next one on; must outlive them. */
void dial_set_carrier(struct dial *d, const struct relay_carrier *carrier);

/* Refuses what is still being connected. Connections that stand go on. NULL is fine. */
void dial_free(struct dial *d);

/* A stream of kind tcp or udp the host offers, with its arguments: it is accepted or refused, now or later. */
void dial_open(struct dial *d, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len);

/* The same of kind unix. */
void dial_open_unix(struct dial *d, struct mux_stream *stream, const uint8_t *args, size_t len);

#endif
