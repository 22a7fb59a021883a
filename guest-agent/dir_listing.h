/* SPDX-License-Identifier: MIT */
/*
 * dir_listing: what the host told of a directory's names, and the memory of listings. Pure: no descriptor, no clock.
 *
 * Theory of operation
 *
 * A listing is one answer of OPENDIR or READDIR: entries in the host's order, most of them with a node and attributes.
 * It holds a reference to each of its nodes, and so owns the lookup that the server counted for it. Open directories
 * are served from listings, and the memory keeps those that begin at a directory's beginning, for as long as the kernel
 * itself may keep entries: then they also answer LOOKUP and the next OPENDIR. One that is whole knows what is not
 * there, too.
 *
 * What we change ourselves makes a listing doubtful, name by name: a doubted name is asked for again, and a listing
 * with doubts is not served as a listing any more. What a change of ours may have overtaken on its way is not
 * remembered at all (listing_memory_put). Attributes are the reader's business: they are as of the listing's stamp.
 *
 * States: fresh (remembered, younger than LISTING_KEEP_US) -> forgotten, and gone when no directory is served from it.
 */
#ifndef HOMEPORT_DIR_LISTING_H
#define HOMEPORT_DIR_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node.h"
#include "wire.h"

/* Half of the second for which the kernel may keep entries: what is told from here has the rest of it left. */
#define LISTING_KEEP_US     500000u
#define LISTING_ENTRIES_MAX 32768u /* of all that are remembered: some MiB, with their nodes */
#define LISTING_DOUBTS_MAX  8192u  /* names changed in one directory before its listing is forgotten */

struct listing_slot {
	size_t at;         /* of the entry, in data */
	struct node *node; /* NULL: told without one, or hidden by a nested share, or only a doubt */
	uint32_t next;     /* in its bucket; index + 1, 0 ends */
	bool doubted;      /* says only that the name was changed by us since */
	bool hidden;       /* a nested share lies here */
};

struct listing {
	TAILQ_ENTRY(listing) link; /* of the memory */
	struct node *dir;          /* referenced while remembered; else NULL */
	unsigned refs;
	uint32_t generation;
	uint64_t stamp, fetched_us;
	bool whole;    /* all of the directory's names, from the first */
	bool end;      /* nothing follows it */
	bool plus;     /* with nodes and attributes */
	bool in_cache; /* the kernel may hold it: it was the answer to an OPENDIR that dropped what was held before */
	bool ahead;    /* asked for by nobody but us, and not used yet */

	struct wire_buf data; /* as on the wire; doubts follow the told ones */
	struct listing_slot *slots;
	uint32_t count; /* told */
	uint32_t used, room;
	uint32_t *buckets, mask;
};

/* What listing_new() is told beside the entries. */
struct listing_told {
	uint32_t count, generation;
	uint64_t stamp, now_us;
	bool begins; /* at the directory's first entry */
	bool end;
	bool plus;
	bool folds; /* names may be found in other spellings: what is not listed may be there all the same */
};

/*
 * Takes the entries that r holds, and the lookups they were counted as. -EPROTO: they are malformed (nothing is taken),
 * -ENOMEM: every lookup was given back. On success *out has one reference, the caller's.
 */
int listing_new(struct node_table *t, struct node *dir, const struct listing_told *told, struct wire_reader r,
		struct listing **out);

/* Of a directory that was just made: it is whole and has no entries. NULL: out of memory. */
struct listing *listing_new_empty(const struct listing_told *told);

static inline struct listing *listing_ref(struct listing *l)
{
	l->refs++;
	return l;
}
/* NULL is fine. */
void listing_unref(struct node_table *t, struct listing *l);

/* The entry of a slot, by reference into the listing. */
struct sftp_entry listing_entry(const struct listing *l, uint32_t index);

/* The slot of a name, its index in *index; false: it has none. */
bool listing_find(const struct listing *l, const char *name, size_t len, uint32_t *index);

/* Whether it can be served as what the directory holds. */
static inline bool listing_is_sound(const struct listing *l)
{
	return l->used == l->count;
}

/* ------------------------------------------------------------------------------------------------------ the memory */

TAILQ_HEAD(listing_list, listing);

struct listing_memory {
	struct node_table *nodes;
	struct listing_list list; /* oldest first */
	size_t entries;
	unsigned ahead; /* of them, not used yet */
};

void listing_memory_init(struct listing_memory *m, struct node_table *nodes);
void listing_memory_clear(struct listing_memory *m);

/*
 * Remembers a listing that begins at the directory's beginning, in place of an older one. Not one that a change of ours
 * to the directory may have overtaken: then false, and nothing is remembered.
 */
bool listing_memory_put(struct listing_memory *m, struct node *dir, struct listing *l);

/* The directory's listing, if it is fresh; NULL. */
struct listing *listing_memory_get(const struct listing_memory *m, const struct node *dir, uint64_t now_us);

void listing_memory_drop(struct listing_memory *m, struct node *dir);

/* We are about to change what the name means, or have just done so. */
void listing_memory_doubt(struct listing_memory *m, struct node *dir, const char *name);

/* It was used: true if nobody had before. */
bool listing_memory_use(struct listing_memory *m, struct listing *l);

/* Forgets what is not fresh any more; how many of them were never used. *next_us: when to come again, 0 for never. */
unsigned listing_memory_expire(struct listing_memory *m, uint64_t now_us, uint64_t *next_us);

/* What the directory has under this name, as far as can be said without asking. */
enum listing_answer {
	LISTING_UNKNOWN,
	LISTING_ABSENT,
	LISTING_FOUND, /* *index of *l */
};
enum listing_answer listing_memory_look_up(const struct listing_memory *m, const struct node *dir, const char *name,
					   uint64_t now_us, struct listing **l, uint32_t *index);

#endif
