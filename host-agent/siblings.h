/* SPDX-License-Identifier: MIT */
/*
 * siblings: which other session of this user listens on an address of the host. An agent cannot be seen into, not even
 * by its own user (PR_SET_DUMPABLE), so it is asked, over its control socket, on a thread.
 */
#ifndef HOMEPORT_SIBLINGS_H
#define HOMEPORT_SIBLINGS_H

struct loop;
struct siblings;

/* `known` is called when what siblings_name() says may have changed. NULL: out of memory. */
struct siblings *siblings_new(struct loop *loop, void (*known)(void *ctx), void *ctx);
void siblings_free(struct siblings *s); /* NULL is fine */

/* Asks all there are, unless that is under way: `known` follows. */
void siblings_refresh(struct siblings *s);

/* The session that said it listens on this address ("tcp 127.0.0.1:8080"); NULL: none. Lives until `known`. */
const char *siblings_name(const struct siblings *s, const char *address);

#endif
