/* SPDX-License-Identifier: MIT */
/*
 * retain: what a session has sent or will send, kept until the peer acknowledged it, in DATA frames that lie ready to
 * be written. Bytes are numbered from 0 over the life of the session, headers not counted. Pure.
 *
 * Bytes are put in place by their producer (reserve, commit) and leave by reference (peek, advance): the session itself
 * copies none.
 */
#ifndef HOMEPORT_RETAIN_H
#define HOMEPORT_RETAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RETAIN_HEADER 4u /* u8 type, u24 length */

struct retain_chunk;

/* A zeroed struct is empty. */
struct retain {
	struct retain_chunk *first, *last;
	struct retain_chunk *spare; /* acknowledged ones, for the next bytes */
	unsigned spares;
	uint64_t end;             /* bytes put in so far */
	uint64_t acked;           /* of them, acknowledged */
	struct retain_chunk *out; /* where the connection stands: this chunk, */
	size_t out_at;            /* this offset, */
	size_t out_header;        /* of a frame begun, so much of its header */
	size_t out_left;          /* and so much of its payload are still to be written, */
	uint64_t out_seq;         /* the next byte being this one */
	uint8_t type;             /* of the frames */
};

void retain_clear(struct retain *r);

/* The place of the next frame's payload, *len bytes at most (at least min(want, 4 KiB)). NULL: out of memory. */
uint8_t *retain_reserve(struct retain *r, size_t want, size_t *len);

/* Ends the frame: n bytes were put there, at most what was reserved. */
void retain_commit(struct retain *r, size_t n);

/* The peer has all bytes below seq. False when those were not sent, or seq is below an earlier one. */
bool retain_ack(struct retain *r, uint64_t seq);

/* A new connection starts at byte seq. False when that cannot be: acknowledged already, or never put in. */
bool retain_rewind(struct retain *r, uint64_t seq);

/* Has a frame been written in part? Nothing else may be written then. */
static inline bool retain_in_frame(const struct retain *r)
{
	return r->out_header || r->out_left;
}

/* Bytes to write next, as many as lie together; *len is 0 when there are none. */
const uint8_t *retain_peek(const struct retain *r, size_t *len);
void retain_advance(struct retain *r, size_t n);

#endif
