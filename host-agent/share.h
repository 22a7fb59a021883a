/* SPDX-License-Identifier: MIT */
/*
 * share: all that the requests of one stream work on, and how they come from a node to a descriptor. One struct, made
 * once; its parts lock for themselves.
 */
#ifndef HOMEPORT_SHARE_H
#define HOMEPORT_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fdcache.h"
#include "file_locks.h"
#include "fsop.h"
#include "handles.h"
#include "masks.h"
#include "nodes.h"
#include "roots.h"
#include "share_counters.h"

struct share {
	struct root root;
	struct nodes *nodes;
	struct fdcache *fds;
	struct handles *handles;
	struct masks *masks;      /* NULL: nothing is masked */
	struct file_locks *locks; /* NULL: they are not carried here */
	struct share_counters *counters;
	struct share_counters own_counters; /* where nobody else looks */
	_Atomic uint64_t stamp;             /* advanced by each change we learn of */
	atomic_bool root_gone;              /* the client was told */
	_Atomic int64_t lost_ms; /* when a node was last found to be no more, on the coarse monotonic clock */
	uint32_t umask;          /* for what stock clients make; native ones have applied their own */
	bool writable;
	bool acl;    /* the client has POSIX ACLs */
	bool native; /* agreed on in INIT: no paths from then on */
};

/* `descriptors`: how many the process may have. The root is open already. `locks`: carried to the host's files.
 * Negative errno. */
int share_init(struct share *share, size_t descriptors, bool locks);
void share_clear(struct share *share);

/*
 * A descriptor (O_PATH, or the open file's where its names are gone) of a node, to be given back. -ESTALE: its identity
 * is not to be found any more. -EACCES: a folder that is not entered (roots.h), when `enter`.
 */
int share_node_get(struct share *share, uint64_t node, bool enter, struct node_info *info, struct fd_ref *ref);
static inline void share_node_put(struct share *share, struct fd_ref *ref)
{
	fdcache_release(share->fds, ref);
}

/* Whether the path by which the client knows a folder, that one being gone, now leads to one that has the name. */
bool share_name_elsewhere(struct share *share, uint64_t parent, const char *name);

/*
 * Once a node was lost (ESTALE), the client walks the path again, and what it finds now has to do. So for a moment each
 * name that is looked up brings its descriptor: what that leads to stays, whatever the host removes, moves or replaces
 * on.
 */
void share_node_lost(struct share *share);
void share_node_hold(struct share *share, uint64_t node, int dirfd, const char *name,
		     const struct node_identity *identity);

/* Gives lookups of the client back; a node nothing holds any more goes, with its descriptor. */
void share_node_forget(struct share *share, uint64_t node, uint64_t lookups);

/*
 * What has lost its last name stays what it is for as long as the client knows its node (a working folder, an O_PATH
 * descriptor, a file without a name yet): fd, which is taken over, is kept for it. Nothing is kept of what the client
 * does not know, or when too many are: those answer ESTALE once their descriptor is gone.
 */
void share_node_keep(struct share *share, const struct node_identity *identity, int fd);

/* It has a name now. */
void share_node_unkeep(struct share *share, const struct node_identity *identity);

/* Opens a handle on fd, which is taken over in any case. node 0: none. The caller gives the reference back. */
int share_handle_open(struct share *share, int fd, uint64_t node, const struct node_info *info, uint32_t flags,
		      struct handle **handle);
void share_handle_put(struct share *share, struct handle *handle);
void share_handle_close(struct share *share, struct handle *handle);

/* What the masks say of `name` in the folder fd (identity by its descriptor); MASK_NONE where nothing is masked. */
enum mask share_mask(struct share *share, int fd, const char *name);

#endif
