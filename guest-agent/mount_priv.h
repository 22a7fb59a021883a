/* SPDX-License-Identifier: MIT */
/*
 * What the files of a mount share with each other (mount, share, fuse_*, invalidator), and nobody else includes.
 */
#ifndef HOMEPORT_MOUNT_PRIV_H
#define HOMEPORT_MOUNT_PRIV_H

#include <sys/queue.h>

#include "attr_memory.h"
#include "bounds.h"
#include "dir_listing.h"
#include "fuse_lock.h"
#include "fuse_raw.h"
#include "graft.h"
#include "lookahead.h"
#include "mount.h"
#include "node.h"
#include "recall.h"
#include "second_walk.h"
#include "share.h"
#include "write_behind.h"

struct call;
struct fuse_session;
struct invalidator;
struct mounter;
struct op_meter;
struct session_state;
struct file;
struct dir;

/* Kept entries and attributes: a change on the host shows within this time at the latest (OPEN is always fresh). */
#define MOUNT_KEEP_S 1.0

/* How old remembered attributes may be: less than the kernel's own time, so that the two together keep the promise. */
#define ATTR_MEMORY_US ((uint64_t)(MOUNT_KEEP_S * 900000))

/* A request's number has this bit where the kernel sends it once more: FUSE_UNIQUE_RESEND, 7.40, Linux 6.9. */
#define MOUNT_UNIQUE_RESENT (1ull << 63)

struct mount {
	struct loop *loop;
	const struct mount_events *events;
	void *ctx;

	char *target;
	struct idmap ids; /* without the maps of the shares: see mount_ids() */
	uint32_t owner;
	bool allow_other, instead;
	bool host_locks; /* they are taken on the host */
	bool acl;        /* the kernel goes by the files' ACLs */
	struct op_meter *meter;

	struct node_table *nodes;
	struct graft *grafts;
	struct attr_memory attrs;
	struct listing_memory listings;
	struct lookahead ahead;
	struct share *shares[CONTROL_MOUNTS_MAX];
	unsigned share_count;

	struct mounter *mounter;
	char *keep_path; /* where it is kept when we die; NULL: it is not */
	uint32_t keep_s;
	struct recall *recall;  /* NULL: nobody will ask */
	uint32_t incarnation;   /* of agents that have served it, counted from 0 */
	bool leaving;           /* to the next */
	struct file **reopened; /* what an earlier agent had open, by its place in recall's table; NULL: nothing is */
	struct fuse_session *session; /* NULL until mounted */
	struct session_state *session_state;
	enum raw_request raw; /* what the request being handled came as, */
	uint64_t unique;      /* and its number */
	struct loop_fd *session_watch;
	struct invalidator *invalidator;
	enum control_mount_status status;
	bool lazy;      /* it was busy: unmounted lazily */
	bool linked;    /* see mount_set_linked() */
	bool ending;    /* it is no mount any more; UNMOUNTED follows */
	char note[200]; /* goes with MOUNTED, about who sees it */

	struct call_list calls;        /* every request of the kernel that has no answer yet */
	struct loop_timer *interrupts; /* looks whether interrupted callers were killed */
	unsigned interrupted;
	struct mount_locks locks;
	struct {
		struct loop_timer *timer;
		struct call_list waits;
	} opens; /* open_order.h */
	LIST_HEAD(, file) files;
	TAILQ_HEAD(, file) fetched; /* those that hold what came with their OPEN, */
	size_t fetched_bytes;       /* and how much that is */
	LIST_HEAD(, dir) dirs;
	struct second_walk second_walk;
	size_t write_bytes; /* written behind, of all nodes */
	uint64_t requests;
	uint64_t next_request; /* the number in `caller` */
};

/* A directory of ours on the way to a nested share, as a node; NULL: out of memory. */
struct node *mount_synthetic(struct mount *m, struct node *parent, const char *name);
void mount_synthetic_attr(const struct mount *m, const struct node *n, struct sftp_attr *attr);

/* Owners in the share of this index, or (NODE_NO_SHARE) of what is ours. */
const struct idmap *mount_ids(const struct mount *m, uint16_t share);

/* The root of a share as last told, or what can be said of it before. */
void mount_root_attr(const struct mount *m, const struct share *s, struct sftp_attr *attr);

/* The server says what to forget. */
void mount_invalidate(struct mount *m, struct share *s, const struct sftp_invalidation *what);

/* mount_shares.c: the first shares of a new mount. 0 or -ENOMEM; mount_free() undoes what was done in both cases. */
int mount_shares_init(struct mount *m, const struct mount_share *shares, unsigned count);

/* Nodes came to be known that may lie on the way to one: they get their places. 0 or -ENOMEM. */
int mount_shares_known(struct mount *m);

/*
 * The mount is to be what its shares are: read-only where none is writable. As mounter_set_read_only(); before it is
 * mounted 0.
 */
int mount_settle(struct mount *m);

/* Sends what the present batch made; called once at the end of each. */
void mount_flush(struct mount *m);

/* The first share is there for the first time: it can be mounted. */
void mount_share_ready(struct mount *m, struct share *s);

/* The session's descriptor has said that it is over. */
void mount_session_ended(struct mount *m);

#endif
