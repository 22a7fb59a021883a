/* SPDX-License-Identifier: MIT */
/*
 * holders: who listens on a port of this host, or has a unix socket, for the sentence a person reads about a conflict.
 * Looked up when asked for, at most once a second, a bounded piece at a time.
 */
#ifndef HOMEPORT_HOLDERS_H
#define HOMEPORT_HOLDERS_H

#include <stddef.h>
#include <stdint.h>

#include "rules.h"

struct holders;
struct loop;

/* `known` is called when what holders_describe() says may have changed. NULL: out of memory. */
struct holders *holders_new(struct loop *loop, void (*known)(void *ctx), void *ctx);
void holders_free(struct holders *h); /* NULL is fine */

/* Looks again, soon: `known` follows. `path` (or NULL for none) is a unix socket in the way, to be looked for too. */
void holders_refresh(struct holders *h, const char *path);

/*
 * Writes who keeps this address of a protocol (LISTENER_TCP, LISTENER_UDP) busy: "python3 (pid 42)", "homeport dev", "a
 * process of www-data", or "another process" when nothing better is known (yet). Returns dst.
 */
char *holders_describe(const struct holders *h, uint8_t proto, const struct rule_address *address, uint16_t port,
		       char *dst, size_t size);

/* The same of a unix socket of this path, which holders_refresh() was told of. */
char *holders_describe_path(const struct holders *h, const char *path, char *dst, size_t size);

#endif
