/* SPDX-License-Identifier: MIT */
/*
 * node: what the kernel knows by number, joined to what the share's server knows by number. Pure: no descriptor, no
 * clock, no libfuse.
 *
 * Theory of operation
 *
 * A node is an identity on the host (inode, device, birth time). It has two numbers: `id`, which the kernel uses, comes
 * from a counter and is never used again; `server`, which the share's server gave, is valid for one attachment (the
 * share's generation). Two counts keep it alive: `lookups`, how often the kernel was told of it and has not forgotten
 * it, and `refs`, what stands on it here (children, calls under way, open files). When both are zero it goes, and its
 * owner is told to give back the `given` lookups the server counted.
 *
 * Each node remembers one name (parent, name), the last one it was seen under: with it the node is found again when the
 * share's server was replaced. So a node holds a reference to its parent.
 *
 * There may be a million of them, at 200 bytes: 136 (asserted) in intrusive chains and, by malloc, 8 more, the name (32
 * up to 23 letters), and 12 to 24 of the table. What few of them need is apart (struct node_more).
 */
#ifndef HOMEPORT_NODE_H
#define HOMEPORT_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp_wire.h"

struct node_table;
struct write_behind;
struct graft;
struct listing;

/* What decides whether a file's content may have changed: compared as a whole. */
struct version {
	uint64_t size;
	int64_t mtime, ctime; /* nanoseconds */
};

enum {
	NODE_STALE = 1 << 0,     /* its name now means something else, or nothing: ESTALE from here on */
	NODE_RACY = 1 << 1,      /* a version was sampled so early that a later change may look the same */
	NODE_HAS_TOLD = 1 << 2,  /* `told` is valid */
	NODE_HAS_DATA = 1 << 3,  /* `data` is valid: the kernel may hold pages of that version */
	NODE_SYNTHETIC = 1 << 4, /* a directory of ours on the way to a nested share */
	NODE_ROOT = 1 << 5,      /* the root of its share: never freed, never looked up by name */
	NODE_IS_DIR = 1 << 6,
	NODE_WATCHED = 1 << 7, /* the watch hears of it although it is no directory */
	NODE_UNSURE = 1 << 8,  /* the kernel may have kept what it was told before `told`: node_tell() */
	NODE_UNTOLD = 1 << 9,  /* the kernel was made to forget what it was told, and told nothing since */
};

#define NODE_NO_SHARE UINT16_MAX

/* What only a directory that was opened, a file that was opened, and the way to a nested share have. */
struct node_more {
	struct version data;         /* of the pages the kernel may hold */
	struct listing *listing;     /* of a directory, while it is remembered: dir_listing.h */
	struct write_behind *writes; /* NULL: none wait */
	const struct graft *graft;   /* where nested shares lie below it */
	uint32_t files;              /* open file descriptions, */
	uint32_t unread;             /* and how many of them are new (open_order.h), */
	uint64_t unread_us;          /* the last of them since then */
	/* Of a directory (lookahead.h): names of it that were asked for since `period`, and that were made in a row. */
	uint8_t asked, made, period;
};

struct node {
	uint64_t id;
	uint64_t server;                          /* 0: to be found again by its name */
	struct node *by_id, *by_server, *by_name; /* chains */
	struct node *parent;
	char *name;
	uint64_t ino;
	int64_t btime;       /* nanoseconds; 0: not known */
	struct version told; /* what the kernel was last told, */
	uint32_t told_ms;    /* and when that was true: node_told_after() */
	uint32_t dev;
	uint64_t changed; /* what was read up to this stamp is not told any more: a change came after it */
	uint32_t refs;
	uint32_t lookups; /* one that has come to UINT32_MAX stays there */
	uint32_t given;
	uint16_t share;
	uint16_t flags; /* NODE_ */
	struct node_more *more;
};

static inline struct listing *node_listing(const struct node *n)
{
	return n->more ? n->more->listing : NULL;
}
static inline struct write_behind *node_writes(const struct node *n)
{
	return n->more ? n->more->writes : NULL;
}
static inline const struct graft *node_graft(const struct node *n)
{
	return n->more ? n->more->graft : NULL;
}

/* The node's own, made where there is none; it goes with the node. NULL: out of memory. */
struct node_more *node_more(struct node *n);

/* NULL is nowhere. False: out of memory. */
bool node_set_graft(struct node *n, const struct graft *graft);

/* `forget` is called for each node that goes with lookups the server counted in the share's present attachment. */
typedef void node_forget_fn(void *ctx, uint16_t share, uint64_t server, uint64_t given);
struct node_table *node_table_new(node_forget_fn *forget, void *ctx);

/* `watch` is called for each directory, and each node with NODE_WATCHED, that gets a name (its first, or another), and
 * that goes having one. */
enum node_event { NODE_NAMED, NODE_RENAMED, NODE_GONE };
typedef void node_watch_fn(void *ctx, const struct node *n, enum node_event event);
void node_table_watch(struct node_table *t, node_watch_fn *watch, void *ctx); /* NULL: nobody */

/*
 * The kernel knows the numbers of another table, all below `first`. Those that are given from here on begin there; each
 * node there is gets the number it had in that one (`number`; 0: none, it is new), but for 1. Only before the kernel
 * was told of any of this table.
 */
void node_table_continue(struct node_table *t, uint64_t first, uint64_t (*number)(void *ctx, const struct node *n),
			 void *ctx);

/*
 * What the kernel knows by the number it had in that table; of no share (NODE_NO_SHARE) it is a directory of ours. It
 * has no name yet, and stays until node_table_free(), for how often the kernel was told of it is not known. NULL: out
 * of memory, or there is one of that number.
 */
struct node *node_add_known(struct node_table *t, uint64_t id, uint16_t share, bool dir);
void node_table_free(struct node_table *t); /* with all nodes; forget is not called */
size_t node_table_count(const struct node_table *t);

/* The root of a share; its id is 1 for share 0. NULL: out of memory. It stays until node_remove_root(). */
struct node *node_add_root(struct node_table *t, uint16_t share, struct node *parent, const char *name);

/* Frees a root that the kernel does not know (any more), and that nothing here stands on. */
void node_remove_root(struct node_table *t, struct node *root);

/* A directory of ours, without a server's number. */
struct node *node_add_synthetic(struct node_table *t, struct node *parent, const char *name);

struct node *node_by_id(const struct node_table *t, uint64_t id);
struct node *node_by_server(const struct node_table *t, uint16_t share, uint64_t server);
struct node *node_by_name(const struct node_table *t, const struct node *parent, const char *name, size_t len);

/*
 * The server answered that (parent, name) is its node `server`, with these attributes, and counted a lookup. Returns
 * the node with a reference for the caller (node_unref), NULL when out of memory, or for 0, which is no number. A node
 * that lost its number when the share was attached anew is recognised by its name and identity.
 */
struct node *node_found(struct node_table *t, struct node *parent, const char *name, size_t len, uint64_t server,
			const struct sftp_attr *attr);

/* The same of what has no name yet. */
struct node *node_found_nameless(struct node_table *t, uint16_t share, uint64_t server, const struct sftp_attr *attr);

/* Lookups that the server counted and nobody here took. */
void node_give_back(struct node_table *t, uint16_t share, uint64_t server, uint64_t lookups);

/* The name leads to the node (a rename, a link). Out of memory: it keeps the old one, and is found by nobody. */
void node_set_name(struct node_table *t, struct node *n, struct node *parent, const char *name, size_t len);

/* Whether these attributes are of the node's identity. */
bool node_is(const struct node *n, const struct sftp_attr *attr);
void node_set_identity(struct node *n, const struct sftp_attr *attr);

/* Gives a node its number in a new attachment (root, or found again by name). */
void node_bind(struct node_table *t, struct node *n, uint64_t server);

/* The share's server has gone: its numbers mean nothing any more. */
void node_table_detach(struct node_table *t, uint16_t share);

/* Calls fn for every node. fn must not add or drop nodes. */
void node_table_each(struct node_table *t, void (*fn)(void *ctx, struct node *n), void *ctx);

static inline struct node *node_ref(struct node *n)
{
	n->refs++;
	return n;
}
/* May free the node, and parents that only it held. NULL is fine. */
void node_unref(struct node_table *t, struct node *n);

/* The kernel was told of the node once, or forgot it n times (never more than it was told). May free it. */
static inline void node_told(struct node *n)
{
	n->lookups += n->lookups < UINT32_MAX;
}
void node_forget(struct node_table *t, struct node *n, uint64_t lookups);

struct version version_of(const struct sftp_attr *attr);
struct version version_before(const struct sftp_change *change);
static inline bool version_same(const struct version *a, const struct version *b)
{
	return a->size == b->size && a->mtime == b->mtime && a->ctime == b->ctime;
}

/*
 * The kernel is being told these attributes, which were true at `us`. Whether it takes them cannot be known: of two
 * answers that overlap it takes the one it comes to first, and of the other nothing (fs/fuse/inode.c,
 * fuse_change_attributes(): attr_version). What it was told is sure where nothing else was told since it forgot.
 */
void node_tell(struct node *n, const struct sftp_attr *attr, uint64_t us);

/* The kernel was made to forget the attributes (`done`): it has none. Else what it has, or comes by, is not sure. */
void node_untold(struct node *n, bool done);

/* Whether the kernel was told after `us`, or so shortly before that it cannot be said. */
bool node_told_after(const struct node *n, uint64_t us);

/* Whether it was told of a later change than these attributes know: a size that was seen is not taken back. */
bool node_told_later(const struct node *n, const struct sftp_attr *attr);

/* Whether the kernel may hold pages, and of the version it was told last. */
bool node_has_data_of_told(const struct node *n);

/*
 * OPEN read these attributes, at `us`: whether the kernel's pages may be of another version and must go, and whether it
 * may have other attributes. Remembers the version as that of the pages from here on, and what is older as outdated.
 */
struct node_opened {
	bool drop; /* keep_cache = 0 */
	bool tell; /* invalidate the attributes first */
};
bool node_open_tells(const struct node *n, const struct sftp_attr *attr); /* what `tell` would be */
struct node_opened node_opened(struct node *n, const struct sftp_attr *attr, uint64_t us);

/* A change of ours, as the server saw it: a version we knew before it becomes the one after it. */
void node_changed(struct node *n, const struct sftp_change *change, uint64_t stamp);

/* An invalidation of this stamp: what was read before it is not told any more. */
void node_outdated(struct node *n, uint64_t stamp);

#endif
