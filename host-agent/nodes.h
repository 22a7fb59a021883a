/* SPDX-License-Identifier: MIT */
/*
 * nodes: what the client calls a file by. A node is an identity on the host (device, inode, version) with the set of
 * names (parent, name) it was seen under, and a count of the lookups the client still holds.
 *
 * Pure: no descriptor, no system call. Any thread may call; each call is one short critical section.
 */
#ifndef HOMEPORT_NODES_H
#define HOMEPORT_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bounds.h"
#include "wire.h"

struct node_identity {
	uint64_t ino;
	uint64_t version;              /* the time of birth in ns, or a hash of the file handle's bytes, or 0 */
	uint32_t device;               /* index within the share */
} __attribute__((packed, aligned(4))); /* without a hole, of which there would be one a node */

static inline bool node_identity_same(const struct node_identity *a, const struct node_identity *b)
{
	return a->ino == b->ino && a->version == b->version && a->device == b->device;
}

/* What a node is known to be. */
enum {
	NODE_PROTECTED = 1 << 0, /* it, and what is below it, stays as it is even in a writable share (masks.h) */
	NODE_KEPT = 1 << 1, /* it has no name any more, or none yet: reached by a descriptor kept for it (share.h) */
};

struct node_info {
	struct node_identity identity;
	uint8_t type; /* DT_ of readdir(3) */
	uint8_t flags;
	uint32_t opens;
};

struct nodes;

/* The table, holding the root (NATIVE_ROOT) for ever. NULL: no memory. */
struct nodes *nodes_new(const struct node_identity *root, size_t max);
void nodes_free(struct nodes *nodes);
size_t nodes_count(struct nodes *nodes);

/*
 * The node of an identity just seen as `name` in `parent`, made where there is none; counts one lookup. `name` becomes
 * the first of its names. -ESTALE: no such parent; -ENFILE: too many nodes; -ENOMEM.
 */
int nodes_look_up(struct nodes *nodes, uint64_t parent, const char *name, const struct node_identity *identity,
		  uint8_t type, uint8_t flags, uint64_t *node);

/* Gives lookups back; true when the node is no more (its descriptor can be dropped). The root stays. */
bool nodes_forget(struct nodes *nodes, uint64_t node, uint64_t lookups);

/* -ESTALE: no such node. */
int nodes_info(struct nodes *nodes, uint64_t node, struct node_info *info);

/* Counts open handles; between these the node stays, whatever is forgotten. -ESTALE; close is true as forget is. */
int nodes_open(struct nodes *nodes, uint64_t node);
bool nodes_close(struct nodes *nodes, uint64_t node);

/*
 * Marks the node of an identity as one that has no name and is kept (or not any more) while the client knows it; gives
 * its number. -ESTALE: the client knows no such node; nothing changes. The root never is.
 */
int nodes_keep(struct nodes *nodes, const struct node_identity *identity, bool kept, uint64_t *node);

/* A node for an identity that has no name, counting one lookup as nodes_look_up() does. -ENFILE, -ENOMEM. */
int nodes_add_nameless(struct nodes *nodes, const struct node_identity *identity, uint8_t type, uint64_t *node);

/*
 * The path from the root to the node by its nth name (0 is the latest), NUL-terminated, as it was last seen.
 * -ESTALE: no such node or name, or a name above it is gone; -ENOMEM.
 */
int nodes_path(struct nodes *nodes, uint64_t node, unsigned nth, struct wire_buf *path);

/* The node of an identity; 0: the client knows none. */
uint64_t nodes_find(struct nodes *nodes, const struct node_identity *identity);

/* The nth name of a node: the folder it was seen in, and as what. -ESTALE: there is none. */
int nodes_name(struct nodes *nodes, uint64_t node, unsigned nth, uint64_t *parent, char name[SFTP_NAME_MAX + 1]);

/* What we know of names changed by our own requests. Nothing happens where the identity has no node. */
void nodes_name_remove(struct nodes *nodes, const struct node_identity *identity, uint64_t parent, const char *name);
void nodes_name_add(struct nodes *nodes, const struct node_identity *identity, uint64_t parent, const char *name);

#endif
