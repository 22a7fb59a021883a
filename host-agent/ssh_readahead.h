/* SPDX-License-Identifier: MIT */
/*
 * ssh_readahead: large reads from a socket that libssh reads in pieces of 4 KiB, each after a poll of its own. It
 * stands in for recv(2) and poll(2), for one descriptor, on one thread, while it is entered. Knows no libssh.
 */
#ifndef HOMEPORT_SSH_READAHEAD_H
#define HOMEPORT_SSH_READAHEAD_H

#include <stddef.h>

struct ssh_readahead;

/* So much is read at once at most. */
#define SSH_READAHEAD_MAX (256u << 10)

/*
 * For a non-blocking socket: libssh's descriptor of it, and a duplicate to read from, which must outlive the readahead
 * as libssh may close its own. Both stay whose they are. NULL: out of memory.
 */
struct ssh_readahead *ssh_readahead_new(int fd, int twin);
void ssh_readahead_free(struct ssh_readahead *r); /* NULL is fine */

/* Reads once, what the socket has, at most `max` bytes, unless something is left of the last time. The socket's end, or
 * its error, stays there for recv() to find. */
void ssh_readahead_fill(struct ssh_readahead *r, size_t max);

/* Bytes that were read and not yet given to recv(). */
size_t ssh_readahead_left(const struct ssh_readahead *r);

/*
 * In between, on this thread, recv() from libssh's descriptor is given what is left before anything else, and poll()
 * for it says at once that there is something to read. Does not nest.
 */
void ssh_readahead_enter(struct ssh_readahead *r);
void ssh_readahead_leave(void);

#endif
