/* SPDX-License-Identifier: MIT */
/* port_listener: one listening TCP socket of the host. */
#ifndef HOMEPORT_PORT_LISTENER_H
#define HOMEPORT_PORT_LISTENER_H

#include <stdint.h>

#include "rules.h"

struct loop;
struct port_listener;

/* A connection: fd is non-blocking, close-on-exec, without Nagle, and the callee's. It may close the listener. */
typedef void port_accept_cb(void *ctx, int fd);

/*
 * Listens at this very address: nothing else answers there, and what already listens keeps the port (-EADDRINUSE).
 * Returns 0 or a negative errno.
 */
int port_listener_open(struct loop *loop, const struct rule_address *address, uint16_t port, port_accept_cb *cb,
		       void *ctx, struct port_listener **out);
void port_listener_close(struct port_listener *l); /* NULL is fine */

#endif
