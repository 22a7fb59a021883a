/* SPDX-License-Identifier: MIT */
/* Writes answered before the host has them. See write_behind.h. */
#include "write_behind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_GROW_MIN (64u << 10) /* a chunk that is joined once will be joined again */

struct write_behind *write_behind_new(size_t *total, write_send_fn *send, void *ctx)
{
	struct write_behind *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	TAILQ_INIT(&w->chunks);
	TAILQ_INIT(&w->waiters);
	w->next_seq = 1;
	w->errors = WRITE_ERRORS_NONE;
	w->total = total;
	w->send = send;
	w->ctx = ctx;
	return w;
}

static void chunk_free(struct write_behind *w, struct write_chunk *c)
{
	TAILQ_REMOVE(&w->chunks, c, link);
	w->bytes -= c->len;
	*w->total -= c->len;
	if (c->sent)
		w->under_way -= c->len;
	free(c->data);
	free(c);
}

void write_behind_free(struct write_behind *w)
{
	struct write_chunk *c;

	if (!w)
		return;
	while ((c = TAILQ_FIRST(&w->chunks)))
		chunk_free(w, c);
	free(w);
}

bool write_behind_idle(const struct write_behind *w)
{
	return TAILQ_EMPTY(&w->chunks) && TAILQ_EMPTY(&w->waiters) && !w->calling;
}

static bool overlaps(const struct write_chunk *a, const struct write_chunk *b)
{
	return a->append || b->append || (a->offset < b->offset + b->len && b->offset < a->offset + a->len);
}

/* Something under way through another handle must be answered before this chunk may go. */
static bool chunk_must_follow(const struct write_behind *w, const struct write_chunk *c)
{
	const struct write_chunk *other;

	TAILQ_FOREACH(other, &w->chunks, link)
	{
		if (other == c)
			return false;
		if (other->owner != c->owner && overlaps(other, c))
			return true;
	}
	return false;
}

static bool chunk_may_go(const struct write_behind *w, const struct write_chunk *c)
{
	bool last = !TAILQ_NEXT(c, link);

	if (w->under_way == 0)
		return true;
	if (w->under_way >= WRITE_WINDOW || chunk_must_follow(w, c))
		return false;
	return !last || c->len >= WRITE_COALESCE || w->pushing || !TAILQ_EMPTY(&w->waiters);
}

static void note_error(struct write_behind *w, int error)
{
	if (error) {
		w->errors++;
		w->error = error;
	}
}

static void write_behind_kick(struct write_behind *w)
{
	struct write_chunk *c, *next;

	for (c = TAILQ_FIRST(&w->chunks); c; c = next) {
		int error;

		next = TAILQ_NEXT(c, link);
		if (c->sent)
			continue;
		if (!chunk_may_go(w, c))
			return;
		error = w->send(w->ctx, c);
		if (error) {
			note_error(w, error);
			chunk_free(w, c);
			continue;
		}
		c->sent = true;
		w->under_way += c->len;
	}
}

static bool chunk_reserve(struct write_chunk *c, size_t len)
{
	size_t cap = 2 * c->cap;
	uint8_t *data;

	if (len <= c->cap)
		return true;
	if (cap < CHUNK_GROW_MIN)
		cap = CHUNK_GROW_MIN;
	if (cap < len)
		cap = len;
	data = realloc(c->data, cap);
	if (!data)
		return false;
	c->data = data;
	c->cap = cap;
	return true;
}

/* The bytes go on where the last chunk ends, and it can still take them. */
static bool chunk_join(struct write_behind *w, void *owner, bool append, uint64_t offset, const void *data, size_t len)
{
	struct write_chunk *c = TAILQ_LAST(&w->chunks, write_chunks);

	if (!c || c->sent || c->owner != owner || c->append != append || c->len + len > WRITE_CHUNK_MAX)
		return false;
	if (!append && c->offset + c->len != offset)
		return false;
	if (!chunk_reserve(c, c->len + len))
		return false;
	memcpy(c->data + c->len, data, len);
	c->len += len;
	return true;
}

static bool chunk_add(struct write_behind *w, void *owner, bool append, uint64_t offset, const void *data, size_t len)
{
	struct write_chunk *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	c->data = malloc(len ? len : 1);
	if (!c->data) {
		free(c);
		return false;
	}
	memcpy(c->data, data, len);
	c->cap = c->len = len;
	c->owner = owner;
	c->append = append;
	c->offset = offset;
	c->seq = w->next_seq++;
	TAILQ_INSERT_TAIL(&w->chunks, c, link);
	return true;
}

int write_behind_add(struct write_behind *w, void *owner, bool append, uint64_t offset, const void *data, size_t len)
{
	if (!chunk_join(w, owner, append, offset, data, len) && !chunk_add(w, owner, append, offset, data, len))
		return -ENOMEM;
	w->bytes += len;
	*w->total += len;
	write_behind_kick(w);
	return 0;
}

/* Calls each waiter that has nothing left to wait for. It may wait again: then for what was added since. */
static void waiters_call(struct write_behind *w)
{
	struct write_chunk *first = TAILQ_FIRST(&w->chunks);
	uint64_t oldest = first ? first->seq : UINT64_MAX;
	struct write_waiters ready = TAILQ_HEAD_INITIALIZER(ready);
	struct write_waiter *waiter, *next;

	for (waiter = TAILQ_FIRST(&w->waiters); waiter; waiter = next) {
		next = TAILQ_NEXT(waiter, link);
		if (waiter->until >= oldest)
			continue;
		TAILQ_REMOVE(&w->waiters, waiter, link);
		waiter->list = &ready;
		TAILQ_INSERT_TAIL(&ready, waiter, link);
	}
	w->calling = true;
	while ((waiter = TAILQ_FIRST(&ready))) {
		write_behind_leave(waiter);
		waiter->fn(waiter->ctx);
	}
	w->calling = false;
}

void write_behind_done(struct write_behind *w, struct write_chunk *chunk, int error)
{
	note_error(w, error);
	chunk_free(w, chunk);
	write_behind_kick(w);
	waiters_call(w);
}

void write_behind_fail(struct write_behind *w, int error)
{
	struct write_chunk *c, *next;

	for (c = TAILQ_FIRST(&w->chunks); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->sent)
			continue;
		note_error(w, error);
		chunk_free(w, c);
	}
	waiters_call(w);
}

static bool wait_until(struct write_behind *w, uint64_t until, struct write_waiter *waiter, void (*fn)(void *ctx),
		       void *ctx)
{
	waiter->until = until;
	waiter->fn = fn;
	waiter->ctx = ctx;
	waiter->list = &w->waiters;
	TAILQ_INSERT_TAIL(&w->waiters, waiter, link);
	/* A small last chunk waits for company no longer. When it fails at once, there is nothing left to wait for. */
	write_behind_kick(w);
	if (TAILQ_EMPTY(&w->chunks) || TAILQ_FIRST(&w->chunks)->seq > until)
		write_behind_leave(waiter);
	return waiter->list;
}

bool write_behind_wait(struct write_behind *w, struct write_waiter *waiter, void (*fn)(void *ctx), void *ctx)
{
	struct write_chunk *last = TAILQ_LAST(&w->chunks, write_chunks);

	return last && wait_until(w, last->seq, waiter, fn, ctx);
}

bool write_behind_wait_room(struct write_behind *w, size_t room, struct write_waiter *waiter, void (*fn)(void *ctx),
			    void *ctx)
{
	size_t left = w->bytes;
	struct write_chunk *c;

	if (left <= room)
		return false;
	TAILQ_FOREACH(c, &w->chunks, link)
	{
		left -= c->len;
		if (left <= room)
			break;
	}
	return wait_until(w, c->seq, waiter, fn, ctx);
}

/* Whether everything was written through one handle, and nothing of it has to wait. */
static void *sole_owner(const struct write_behind *w)
{
	const struct write_chunk *c = TAILQ_FIRST(&w->chunks);
	void *owner = c ? c->owner : NULL;

	for (; c; c = TAILQ_NEXT(c, link))
		if (c->owner != owner)
			return NULL;
	return w->bytes <= WRITE_WINDOW ? owner : NULL;
}

void *write_behind_push(struct write_behind *w)
{
	void *owner = sole_owner(w);

	if (!owner)
		return NULL;
	w->pushing = true;
	write_behind_kick(w);
	w->pushing = false;
	return w->under_way == w->bytes && w->bytes ? owner : NULL;
}

void write_behind_leave(struct write_waiter *waiter)
{
	if (!waiter->list)
		return;
	TAILQ_REMOVE(waiter->list, waiter, link);
	waiter->list = NULL;
}

int write_behind_take_error(const struct write_behind *w, uint64_t *seen)
{
	if (*seen == w->errors)
		return 0;
	*seen = w->errors;
	return w->error;
}
