/* SPDX-License-Identifier: MIT */
/* A queue of bytes in chunks that grow with the queue. See fifo.h. */
#include "fifo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The first chunk fits a small message. No larger ones than a read from a socket: malloc finds the next where the last
 * was, and a long queue does not grow the heap by pieces of every size. */
#define FIFO_CHUNK_MIN 1024u
#define FIFO_CHUNK_MAX (64u << 10)

struct fifo_chunk {
	struct fifo_chunk *next;
	size_t head, tail, cap; /* bytes head..tail are queued */
	uint8_t data[];
};

static struct fifo_chunk *fifo_chunk_new(const struct fifo_chunk *last, size_t need)
{
	size_t cap = last ? last->cap * 2 : FIFO_CHUNK_MIN;
	struct fifo_chunk *c;

	if (cap < need)
		cap = need;
	if (cap > FIFO_CHUNK_MAX)
		cap = FIFO_CHUNK_MAX;
	c = malloc(sizeof(*c) + cap);
	if (!c)
		return NULL;
	c->next = NULL;
	c->head = c->tail = 0;
	c->cap = cap;
	return c;
}

static void fifo_drop_first(struct fifo *f)
{
	struct fifo_chunk *c = f->first;

	f->first = c->next;
	if (!f->first)
		f->last = NULL;
	free(c);
}

void fifo_clear(struct fifo *f)
{
	while (f->first)
		fifo_drop_first(f);
	f->len = 0;
}

static void fifo_link(struct fifo *f, struct fifo_chunk *first, struct fifo_chunk *last)
{
	if (f->last)
		f->last->next = first;
	else
		f->first = first;
	f->last = last;
}

bool fifo_append(struct fifo *f, const void *data, size_t len)
{
	size_t room = f->last ? f->last->cap - f->last->tail : 0;
	size_t here = len < room ? len : room;
	const uint8_t *rest = (const uint8_t *)data + here;
	struct fifo fresh = {0};

	for (size_t left = len - here; left;) {
		struct fifo_chunk *c = fifo_chunk_new(fresh.last ? fresh.last : f->last, left);

		if (!c) {
			fifo_clear(&fresh);
			return false;
		}
		c->tail = left < c->cap ? left : c->cap;
		memcpy(c->data, rest, c->tail);
		rest += c->tail;
		left -= c->tail;
		fifo_link(&fresh, c, c);
	}
	if (here) {
		memcpy(f->last->data + f->last->tail, data, here);
		f->last->tail += here;
	}
	if (fresh.first)
		fifo_link(f, fresh.first, fresh.last);
	f->len += len;
	return true;
}

const uint8_t *fifo_peek(const struct fifo *f, size_t *len)
{
	*len = f->first ? f->first->tail - f->first->head : 0;
	return *len ? f->first->data + f->first->head : NULL;
}

void fifo_drop(struct fifo *f, size_t n)
{
	assert(n <= f->len);
	f->len -= n;
	while (n) {
		struct fifo_chunk *c = f->first;
		size_t part = c->tail - c->head < n ? c->tail - c->head : n;

		c->head += part;
		n -= part;
		if (c->head == c->tail)
			fifo_drop_first(f);
	}
}

void fifo_take(struct fifo *f, uint8_t *dst, size_t n)
{
	assert(n <= f->len);
	while (n) {
		size_t part;
		const uint8_t *p = fifo_peek(f, &part);

		if (part > n)
			part = n;
		memcpy(dst, p, part);
		fifo_drop(f, part);
		dst += part;
		n -= part;
	}
}
