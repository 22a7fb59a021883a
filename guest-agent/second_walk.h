/* SPDX-License-Identifier: MIT */
/*
 * second_walk: a path that the kernel walks once more. Runs on the loop's thread.
 *
 * Theory of operation
 *
 * A name or a folder that the host has replaced answers ESTALE, and the kernel then walks the whole path again (path
 * walking in fs/namei.c, LOOKUP_REVAL), but only once: a second ESTALE would reach the program, to which no local file
 * system says that of a path. So who was told ESTALE is remembered, by thread, for longer than the kernel takes to come
 * back; what answers that walk asks the host for all of it, and finds a way to answer what is true by now.
 */
#ifndef HOMEPORT_SECOND_WALK_H
#define HOMEPORT_SECOND_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct call;

#define SECOND_WALK_THREADS 64

/* Of a mount. Zeroed: nobody was told. */
struct second_walk {
	struct second_walker {
		int tid;
		bool looked_up;
		uint64_t us;         /* when it was told ESTALE */
	} told[SECOND_WALK_THREADS]; /* by number; of those that share a place, the latest */
	uint64_t us;                 /* when anybody was */
};

/* The caller is about to be told ESTALE: what is remembered of the names on its path is doubted. */
void second_walk_begin(struct call *call);

/* Whether somebody, anybody, may walk a path the second time: then what is remembered is no answer. */
bool second_walk_by_any(const struct call *call);

/* Whether the caller was told ESTALE just now: what it finds must do. */
bool second_walk_by_caller(const struct call *call);

/* The same, once for a lookup, and once for what ends the walk: what was looked up in vain may be made next, in the
 * same walk. */
bool second_walk_take_lookup(struct call *call);
bool second_walk_take_end(struct call *call);

#endif
