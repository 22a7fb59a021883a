/* SPDX-License-Identifier: MIT */
/*
 * mount: one mount point in the guest, and the host's shares in it. Where none of them is
 * writable the kernel knows it as read-only, and refuses what would change something as it does locally.
 *
 *	kernel ─ fuse_session ─ fuse_name, fuse_file, fuse_dir, fuse_attr ─ node ─ share ─ sftp_client ─ pipe (its
 *owner's)
 *
 * The owner gives each share a pipe to its server whenever asked (`open_share`), and passes bytes. The FUSE session
 * comes into being with the first attachment of the first share and outlives every pipe: while a share has none, its
 * requests wait (and end when their caller is killed), statfs and the root's attributes answer from memory.
 *
 * Everything here runs on the loop's thread; the kernel is told to forget things by a thread of its own
 *(invalidator.h).
 */
#ifndef HOMEPORT_MOUNT_H
#define HOMEPORT_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control_msg.h"
#include "idmap.h"
#include "sftp_client.h"

struct loop;
struct mount;
struct op_meter;

struct mount_share {
	const char *point; /* "" for the first; else relative, sorted */
	bool writable;
	bool virtual_owners;              /* they are recorded by its server, whatever they are */
	const struct id_map *uids, *gids; /* NULL: an empty one */
};

struct mount_params {
	const char *target; /* absolute: mount_target_resolve() has had it */
	const struct mount_share *shares;
	unsigned share_count; /* 1 to CONTROL_MOUNTS_MAX */
	struct idmap ids;     /* the pairs; the maps are the shares' */
	uint32_t owner;       /* who may unmount it beside root: a user id */
	bool allow_other;     /* wanted: without privilege it needs user_allow_other */
	bool host_locks;      /* locks of its files are taken on the host */
	bool acl;             /* POSIX ACLs are the host's, and hold here */
	const char
		*keep_path; /* it outlives this agent, and is found again by that (keep_socket.h); NULL: it does not */
	uint32_t keep_s;    /* for so long */
	bool instead;       /* of one that may be there for a moment yet */
	struct op_meter *meter; /* where it counts its kernel's requests; NULL: nowhere */
};

struct mount_events {
	/* Whenever it changes. text is a sentence or "". After FAILED and UNMOUNTED nothing more comes: free it. */
	void (*state)(void *ctx, enum control_mount_status status, int error, const char *text);
	/* The share has no pipe and wants one: answer, now or later, by mount_share_attach(). A share is called by its
	 * slot: at first its place in the list. */
	void (*open_share)(void *ctx, unsigned share);
	/* The share's server broke the protocol: end its pipe. mount_share_lost() must not be called for it. */
	void (*close_share)(void *ctx, unsigned share, const char *why);
};

struct mount_stats {
	uint64_t requests;      /* of the kernel */
	uint64_t sftp_requests; /* answered by the servers */
	uint64_t bytes_in, bytes_out;
	size_t nodes, calls, write_bytes;
};

/* Asks for pipes at once (from the next turn on). NULL: out of memory. */
struct mount *mount_new(struct loop *loop, const struct mount_params *params, const struct mount_events *events,
			void *ctx);

/* Ends it: what waits ends with EIO, the kernel's mount goes (lazily). No callback comes. NULL is fine. */
void mount_free(struct mount *m);

/* Leaves it as it is to the next agent, and frees. What waits for an answer waits on. NULL is fine. */
void mount_leave(struct mount *m);

/* Starts to unmount; state(UNMOUNTED) follows. What the kernel still has open keeps the mount until `lazy`. */
void mount_unmount(struct mount *m);

/* The pipe the share asked for, and its end. */
int mount_share_attach(struct mount *m, unsigned share, const struct sftp_pipe_ops *ops, void *pipe);
void mount_share_lost(struct mount *m, unsigned share);

/* The pipe's bytes, and its word that it takes more. */
void mount_share_input(struct mount *m, unsigned share, const uint8_t *data, size_t len);
void mount_share_writable(struct mount *m, unsigned share);

/*
 * The connection to the host is there (as at first), or gone for now, with the pipes as they are: what waits for the
 * host waits on, but for what can be answered from memory.
 */
void mount_set_linked(struct mount *m, bool linked);

/*
 * The shares it has from here on; those it had before and has still go on as they are. slots (count of them) is filled
 * in with the numbers by which this header's other functions know each. -EINVAL or -ENOMEM: this cannot be done to what
 * is mounted, mount anew. 1: done, and what the kernel has to do for it is under way: state() follows. Asks for pipes
 * in a later turn; the owner ends those of slots that are not among them.
 */
int mount_set_shares(struct mount *m, const struct mount_share *shares, unsigned count, unsigned *slots);

struct mount_stats mount_stats(const struct mount *m);
const char *mount_target(const struct mount *m);

#endif
