/* SPDX-License-Identifier: MIT */
/*
 * Retained frames. See retain.h.
 *
 * Theory of operation. Chunks hold whole frames, header and payload, one behind the other. A chunk's head is the first
 * frame that is not acknowledged as a whole. When a new connection must go on inside that frame, the header for the
 * rest is written over the bytes before it: they are acknowledged, so nobody needs them, and there is always room for
 * it, since the old header stood there as well.
 *
 * Chunks are mapped, not allocated: what a connection was lent (chan_write_kept()) may still be read by it when they
 * are given back, and a page that is unmapped stays what it was for whoever holds it.
 */
#include "retain.h"

#include <assert.h>
#include <stddef.h>

#include <sys/mman.h>

#include "bounds.h"
#include "wire.h"

/* Four full frames: what leaves in one write. */
#define RETAIN_CHUNK (4u * (SESSION_FRAME_MAX + RETAIN_HEADER))
/* As many as the smallest cap fills: a stream that runs gives no memory back only to fault it in again. */
#define RETAIN_SPARES (SESSION_UNACKED_MIN / RETAIN_CHUNK + 1u)
/* A frame is not begun in less room than this. */
#define RETAIN_USEFUL 4096u

struct retain_chunk {
	struct retain_chunk *next;
	size_t head, tail;
	uint64_t head_seq; /* of the first byte of the frame at head */
	uint8_t data[RETAIN_CHUNK];
};

static struct retain_chunk *chunk_new(void)
{
	void *place =
		mmap(NULL, sizeof(struct retain_chunk), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return place == MAP_FAILED ? NULL : place;
}

static void chunk_free(struct retain_chunk *c)
{
	munmap(c, sizeof(*c));
}

static void chunks_free(struct retain_chunk *c)
{
	while (c) {
		struct retain_chunk *next = c->next;

		chunk_free(c);
		c = next;
	}
}

void retain_clear(struct retain *r)
{
	chunks_free(r->first);
	chunks_free(r->spare);
	*r = (struct retain){.type = r->type};
}

static size_t frame_length(const struct retain_chunk *c, size_t at)
{
	return wire_peek_u32(c->data + at) & 0xffffffu;
}

static size_t chunk_room(const struct retain_chunk *c)
{
	size_t left = RETAIN_CHUNK - c->tail;

	return left > RETAIN_HEADER ? left - RETAIN_HEADER : 0;
}

static struct retain_chunk *retain_grow(struct retain *r)
{
	struct retain_chunk *c = r->spare;

	if (c) {
		r->spare = c->next;
		r->spares--;
	} else {
		c = chunk_new();
	}
	if (!c)
		return NULL;
	c->next = NULL;
	c->head = c->tail = 0;
	c->head_seq = r->end;
	if (r->last)
		r->last->next = c;
	else
		r->first = r->out = c;
	r->last = c;
	return c;
}

uint8_t *retain_reserve(struct retain *r, size_t want, size_t *len)
{
	struct retain_chunk *c = r->last;

	if (want > SESSION_FRAME_MAX)
		want = SESSION_FRAME_MAX;
	if (!c || chunk_room(c) < (want < RETAIN_USEFUL ? want : RETAIN_USEFUL))
		c = retain_grow(r);
	if (!c)
		return NULL;
	*len = chunk_room(c) < want ? chunk_room(c) : want;
	return c->data + c->tail + RETAIN_HEADER;
}

void retain_commit(struct retain *r, size_t n)
{
	struct retain_chunk *c = r->last;

	if (!n)
		return;
	assert(n <= SESSION_FRAME_MAX && n <= chunk_room(c));
	wire_poke_u32(c->data + c->tail, (uint32_t)r->type << 24 | (uint32_t)n);
	c->tail += RETAIN_HEADER + n;
	r->end += n;
}

static void retain_release(struct retain *r, struct retain_chunk *c)
{
	if (r->spares == RETAIN_SPARES) {
		chunk_free(c);
		return;
	}
	c->next = r->spare;
	r->spare = c;
	r->spares++;
}

/* Forgets frames that end at or below seq. */
static void chunk_trim(struct retain_chunk *c, uint64_t seq)
{
	while (c->head < c->tail) {
		size_t len = frame_length(c, c->head);

		if (c->head_seq + len > seq)
			break;
		c->head += RETAIN_HEADER + len;
		c->head_seq += len;
	}
}

static void retain_trim(struct retain *r)
{
	struct retain_chunk *c;

	while ((c = r->first)) {
		chunk_trim(c, r->acked);
		if (c->head < c->tail)
			break;
		if (c->next) {
			if (r->out == c) {
				r->out = c->next;
				r->out_at = 0;
			}
			r->first = c->next;
			retain_release(r, c);
			continue;
		}
		/* The last one is kept and starts again, if the connection has left it too. */
		if (r->out == c && r->out_at == c->tail) {
			c->head = c->tail = 0;
			r->out_at = 0;
		}
		break;
	}
}

bool retain_ack(struct retain *r, uint64_t seq)
{
	if (seq < r->acked || seq > r->out_seq)
		return false;
	r->acked = seq;
	retain_trim(r);
	return true;
}

bool retain_rewind(struct retain *r, uint64_t seq)
{
	struct retain_chunk *c;

	if (seq < r->acked || seq > r->end)
		return false;
	r->acked = seq;
	r->out = r->last;
	r->out_at = r->last ? r->last->tail : 0;
	retain_trim(r);
	c = r->first;
	r->out = c;
	r->out_header = r->out_left = 0;
	r->out_seq = seq;
	r->out_at = c ? c->head : 0;
	if (c && c->head < c->tail && seq > c->head_seq) {
		size_t gone = (size_t)(seq - c->head_seq);
		size_t len = frame_length(c, c->head);

		c->head += gone;
		c->head_seq = seq;
		wire_poke_u32(c->data + c->head, (uint32_t)r->type << 24 | (uint32_t)(len - gone));
		r->out_at = c->head;
	}
	return true;
}

const uint8_t *retain_peek(const struct retain *r, size_t *len)
{
	const struct retain_chunk *c = r->out;
	size_t at = r->out_at;

	if (c && at == c->tail && c->next) {
		c = c->next;
		at = c->head;
	}
	*len = c ? c->tail - at : 0;
	return c ? c->data + at : NULL;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Counts n bytes from out_at on as written, headers apart from payloads. */
static void retain_walk(struct retain *r, size_t n)
{
	while (n) {
		size_t header, payload;

		if (!retain_in_frame(r)) {
			r->out_header = RETAIN_HEADER;
			r->out_left = frame_length(r->out, r->out_at);
		}
		header = min_size(n, r->out_header);
		payload = min_size(n - header, r->out_left);
		r->out_header -= header;
		r->out_left -= payload;
		r->out_seq += payload;
		r->out_at += header + payload;
		n -= header + payload;
	}
}

void retain_advance(struct retain *r, size_t n)
{
	if (n && r->out_at == r->out->tail) {
		r->out = r->out->next;
		r->out_at = r->out->head;
	}
	assert(!n || n <= r->out->tail - r->out_at);
	retain_walk(r, n);
}
