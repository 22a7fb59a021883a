/* SPDX-License-Identifier: MIT */
/*
 * fdcache: at most so many O_PATH descriptors, by node; the least recently used one makes room. Any thread may call.
 * A descriptor in use is pinned by its reference and is closed only when the last one is given back. One that is kept
 * makes room for nothing; at most half of them are.
 */
#ifndef HOMEPORT_FDCACHE_H
#define HOMEPORT_FDCACHE_H

#include <stddef.h>
#include <stdint.h>

struct fdcache;

struct fd_ref {
	int fd;
	int slot; /* FD_REF_ */
};
enum {
	FD_REF_BORROWED = -1, /* somebody else closes it */
	FD_REF_OWNED = -2,    /* closed when given back */
};

struct fdcache *fdcache_new(size_t max);
void fdcache_free(struct fdcache *cache);

/* -ENOENT: not there. */
int fdcache_get(struct fdcache *cache, uint64_t key, struct fd_ref *ref);

/* Takes fd over in any case. When another thread was faster, its descriptor is the one given. */
void fdcache_put(struct fdcache *cache, uint64_t key, int fd, struct fd_ref *ref);
void fdcache_release(struct fdcache *cache, struct fd_ref *ref);

/* Keeps fd for key, in place of one that is there, until it is dropped. -EMFILE: too many are; fd is closed. */
int fdcache_keep(struct fdcache *cache, uint64_t key, int fd);

/* From now on it may make room again. */
void fdcache_unkeep(struct fdcache *cache, uint64_t key);

/* Forgets the descriptor of key, at once or when its last user is done. */
void fdcache_drop(struct fdcache *cache, uint64_t key);

#endif
