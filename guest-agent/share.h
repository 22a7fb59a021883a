/* SPDX-License-Identifier: MIT */
/*
 * share: one of the host's shares in a mount: its client, its attachment, what is known of it while it has none.
 *
 * Theory of operation
 *
 * A share is attached when its server answers native requests and has told the root's attributes. Each attachment is a
 * generation: numbers of nodes and handles belong to one. When the pipe is lost, calls wait in `parked` (those that may
 * have changed something end with EIO), nodes lose their numbers, open files are stale. After the next attachment
 * parked calls start again; a node without a number is found by its name first, and its identity is compared
 * (fuse_call.c).
 *
 * States: LOST -> asked for a pipe -> ASKED -> attach -> GREETING -> client ready, root known -> ATTACHED -> lost ->
 * LOST
 */
#ifndef HOMEPORT_SHARE_H
#define HOMEPORT_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "idmap.h"
#include "sftp_client.h"

struct call;
struct loop_timer;
struct mount;
struct mount_share;
struct node;

enum share_state {
	SHARE_LOST,
	SHARE_ASKED,
	SHARE_GREETING,
	SHARE_ATTACHED,
	SHARE_STATE_COUNT,
};

struct share_parked {
	struct call *first, **last;
};

struct share {
	struct mount *mount;
	uint16_t index;
	char *point;
	bool writable;
	bool dropped; /* not wanted any more: ESTALE for all who still ask */
	struct idmap ids;
	enum share_state state;
	uint32_t generation; /* of the present attachment, or the next */
	struct sftp_client *client;

	struct node *root;
	struct sftp_attr root_attr; /* as last told */
	bool root_known;
	uint64_t entries_stamp; /* of the last invalidation of names: what was looked up before it is not kept */
	struct statvfs space;   /* as last told */
	bool space_known;

	struct loop_timer *retry, *lazy;
	uint64_t backoff_us;
	struct wire_buf forgets; /* entries of the next FORGET */
	uint32_t forget_count;
	struct share_parked parked;
};

const char *share_state_name(enum share_state state);

/* NULL: out of memory. Asks for a pipe from the next turn on. */
struct share *share_new(struct mount *m, uint16_t index, const struct mount_share *params);

/* It is not wanted any more, and has lost its pipe: what waits ends with ESTALE, and so does what comes. Or it is
 * again, and asks for a pipe from the next turn on. */
void share_drop(struct share *s);
void share_want(struct share *s);

/* A dropped share that no node and no request is of any more is used for another: dropped as well, as yet. Who still
 * has a pointer to it finds another generation. 0, or -ENOMEM, and it is as it was. */
int share_become(struct share *s, const struct mount_share *params);

/* Ends its requests and asks for nothing more. */
void share_end(struct share *s);
void share_free(struct share *s);

int share_attach(struct share *s, const struct sftp_pipe_ops *ops, void *pipe);
void share_lost(struct share *s);
void share_input(struct share *s, const uint8_t *data, size_t len);

/* Sends what somebody waits for, and with it, or a little later, what nobody does. */
void share_flush(struct share *s);

/* The pipe takes more. */
void share_writable(struct share *s);

/* Lookups to give back with the next flush. */
void share_forget(struct share *s, uint64_t server, uint64_t lookups);

static inline bool share_attached(const struct share *s)
{
	return s->state == SHARE_ATTACHED;
}

/* A call waits for the attachment; or does not any more. */
void share_park(struct share *s, struct call *call);
void share_unpark(struct share *s, struct call *call);

#endif
