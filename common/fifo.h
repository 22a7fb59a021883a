/* SPDX-License-Identifier: MIT */
/*
 * fifo: a queue of bytes in a list of chunks. Appending and dropping move nothing that is already queued, and a queue
 * that has run empty holds no memory, so that thousands of idle ones cost their struct alone. Pure.
 */
#ifndef HOMEPORT_FIFO_H
#define HOMEPORT_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fifo_chunk;

/* A zeroed struct is an empty queue; `len` may be read. */
struct fifo {
	struct fifo_chunk *first, *last;
	size_t len;
};

/* Drops everything. */
void fifo_clear(struct fifo *f);

/* Appends all of the bytes, or none: false when out of memory. */
bool fifo_append(struct fifo *f, const void *data, size_t len);

/* The oldest bytes, as many as lie together; NULL (and *len 0) when empty. Valid until the next call on the queue. */
const uint8_t *fifo_peek(const struct fifo *f, size_t *len);

/* Drops the oldest n bytes (n <= len). */
void fifo_drop(struct fifo *f, size_t n);

/* Moves the oldest n bytes (n <= len) to dst. */
void fifo_take(struct fifo *f, uint8_t *dst, size_t n);

#endif
