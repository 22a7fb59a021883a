/* SPDX-License-Identifier: MIT */
/*
 * A fixed array of slots, chained by key and by use through indices. close(2) happens outside of the lock: on a network
 * file system it may take its time.
 */
#include "fdcache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define NONE (-1)

struct slot {
	uint64_t key; /* 0: free, or dropped while pinned */
	int fd;
	int pins;
	int chain;        /* the next of the same hash */
	int newer, older; /* by use, unless it is kept */
	bool kept;
};

struct fdcache {
	pthread_mutex_t lock;
	struct slot *slots;
	int *heads; /* of `mask + 1` chains */
	size_t mask;
	int max, used, kept;
	int newest, oldest;
	int unused; /* slots that were freed, through chain */
};

static void use_unlink(struct fdcache *c, int i)
{
	struct slot *s = &c->slots[i];

	*(s->newer == NONE ? &c->newest : &c->slots[s->newer].older) = s->older;
	*(s->older == NONE ? &c->oldest : &c->slots[s->older].newer) = s->newer;
}

static void use_link(struct fdcache *c, int i)
{
	struct slot *s = &c->slots[i];

	s->newer = NONE;
	s->older = c->newest;
	*(c->newest == NONE ? &c->oldest : &c->slots[c->newest].newer) = i;
	c->newest = i;
}

static int *chain_find(struct fdcache *c, uint64_t key)
{
	int *at = &c->heads[key & c->mask];

	while (*at != NONE && c->slots[*at].key != key)
		at = &c->slots[*at].chain;
	return at;
}

/* Out of the table; the descriptor to close now, or -1 while it is pinned. */
static int slot_detach(struct fdcache *c, int i)
{
	struct slot *s = &c->slots[i];
	int *at = chain_find(c, s->key);
	int fd = s->fd;

	assert(*at == i);
	*at = s->chain;
	if (s->kept)
		c->kept--;
	else
		use_unlink(c, i);
	s->key = 0;
	if (s->pins)
		return -1;
	s->chain = c->unused;
	c->unused = i;
	return fd;
}

/* A slot to fill: a free one, or that of the least recently used descriptor nobody holds (*fd is then to close). */
static int slot_take(struct fdcache *c, int *fd)
{
	int i = c->unused;

	*fd = -1;
	if (i == NONE && c->used < c->max)
		return c->used++;
	if (i == NONE) {
		i = c->oldest;
		while (i != NONE && c->slots[i].pins)
			i = c->slots[i].newer;
		if (i == NONE)
			return NONE;
		*fd = slot_detach(c, i);
	}
	c->unused = c->slots[i].chain;
	return i;
}

static void slot_fill(struct fdcache *c, int i, uint64_t key, int fd)
{
	int *head = &c->heads[key & c->mask];

	c->slots[i] = (struct slot){.key = key, .fd = fd, .chain = *head};
	*head = i;
	use_link(c, i);
}

struct fdcache *fdcache_new(size_t max)
{
	struct fdcache *c = calloc(1, sizeof(*c));
	size_t size = 16;

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	while (size < max)
		size *= 2;
	c->max = (int)max;
	c->mask = size - 1;
	c->slots = calloc(max, sizeof(*c->slots));
	c->heads = malloc(size * sizeof(*c->heads));
	c->newest = c->oldest = c->unused = NONE;
	if (!c->slots || !c->heads) {
		fdcache_free(c);
		return NULL;
	}
	for (size_t i = 0; i < size; i++)
		c->heads[i] = NONE;
	return c;
}

void fdcache_free(struct fdcache *c)
{
	if (!c)
		return;
	if (c->slots)
		for (int i = 0; i < c->used; i++)
			if (c->slots[i].key)
				close(c->slots[i].fd);
	free(c->slots);
	free(c->heads);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static int pin(struct fdcache *c, uint64_t key, struct fd_ref *ref)
{
	int i = *chain_find(c, key);

	if (i == NONE)
		return -ENOENT;
	c->slots[i].pins++;
	if (!c->slots[i].kept) {
		use_unlink(c, i);
		use_link(c, i);
	}
	*ref = (struct fd_ref){c->slots[i].fd, i};
	return 0;
}

int fdcache_get(struct fdcache *c, uint64_t key, struct fd_ref *ref)
{
	int r;

	pthread_mutex_lock(&c->lock);
	r = pin(c, key, ref);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void fdcache_put(struct fdcache *c, uint64_t key, int fd, struct fd_ref *ref)
{
	int old = -1, i;

	assert(key);
	pthread_mutex_lock(&c->lock);
	if (pin(c, key, ref) == 0) {
		old = fd;
	} else if ((i = slot_take(c, &old)) == NONE) {
		*ref = (struct fd_ref){fd, FD_REF_OWNED};
	} else {
		slot_fill(c, i, key, fd);
		c->slots[i].pins = 1;
		*ref = (struct fd_ref){fd, i};
	}
	pthread_mutex_unlock(&c->lock);
	if (old >= 0)
		close(old);
}

int fdcache_keep(struct fdcache *c, uint64_t key, int fd)
{
	int evicted = -1, old = -1, i, r = 0;

	assert(key);
	pthread_mutex_lock(&c->lock);
	i = *chain_find(c, key);
	if (i != NONE)
		old = slot_detach(c, i);
	i = c->kept < c->max / 2 ? slot_take(c, &evicted) : NONE;
	if (i == NONE) {
		evicted = fd;
		r = -EMFILE;
	} else {
		slot_fill(c, i, key, fd);
		use_unlink(c, i);
		c->slots[i].kept = true;
		c->kept++;
	}
	pthread_mutex_unlock(&c->lock);
	if (old >= 0)
		close(old);
	if (evicted >= 0)
		close(evicted);
	return r;
}

void fdcache_unkeep(struct fdcache *c, uint64_t key)
{
	int i;

	pthread_mutex_lock(&c->lock);
	i = *chain_find(c, key);
	if (i != NONE && c->slots[i].kept) {
		c->slots[i].kept = false;
		c->kept--;
		use_link(c, i);
	}
	pthread_mutex_unlock(&c->lock);
}

void fdcache_release(struct fdcache *c, struct fd_ref *ref)
{
	int fd = -1;

	if (ref->slot >= 0) {
		struct slot *s = &c->slots[ref->slot];

		pthread_mutex_lock(&c->lock);
		assert(s->pins > 0);
		if (--s->pins == 0 && s->key == 0) {
			fd = s->fd;
			s->chain = c->unused;
			c->unused = ref->slot;
		}
		pthread_mutex_unlock(&c->lock);
	} else if (ref->slot == FD_REF_OWNED) {
		fd = ref->fd;
	}
	*ref = (struct fd_ref){-1, FD_REF_BORROWED};
	if (fd >= 0)
		close(fd);
}

void fdcache_drop(struct fdcache *c, uint64_t key)
{
	int fd = -1, i;

	pthread_mutex_lock(&c->lock);
	i = *chain_find(c, key);
	if (i != NONE)
		fd = slot_detach(c, i);
	pthread_mutex_unlock(&c->lock);
	if (fd >= 0)
		close(fd);
}
