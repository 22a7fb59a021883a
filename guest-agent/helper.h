/* SPDX-License-Identifier: MIT */
/*
 * helper: the process that mounts. It may be root where the agent is not, and it may wait where the agent's loop must
 * not: a path below another mount of the agent's would make the loop wait for itself.
 *
 * `homeport-guest helper` speaks on its stdin, a SOCK_SEQPACKET socket, one packet a message. The agent starts it; or,
 * for a connection to HELPER_SOCKET, systemd does, as root.
 *
 *	request	u8 type, string target, u32 value, u8 flags
 *	reply	u8 type, u32 errno, u8 flags, string text
 *
 *	1 MOUNT	value: the owner's user id; flags: 1 allow_other, 2 read-only. The
 *		reply has them as obtained, and 8 where REMOUNT can be asked; it
 *		comes with /dev/fuse
 *	2 UNMOUNT	flags: 4 lazily
 *	3 KEEP	of what is mounted; value: for how many seconds. With a listening
 *		socket (keep_socket.h) and the next agent's memory (recall.h)
 *	4 TAKE	value: HELPER_VERSION of who asks. The reply has MOUNT's flags,
 *		and comes with /dev/fuse and that memory
 *	5 WATCH	no target: to watch ports (bpf_watch.h) for the agent, whose network
 *		namespace its socket tells; the reply comes with the ring, and is the last
 *	6 REMOUNT	no target; flags: 2 read-only, or not any more. What is open stays
 *		open; EBUSY: some of it for writing
 *
 * A type that is not known is answered with ENOSYS: agent and helper may be of two builds.
 *
 * The helper holds a copy of the descriptor. When its socket closes nobody serves the mount: then it unmounts, unless
 * it was asked to KEEP. If so, what the kernel asks meanwhile waits, and the helper accepts the next connection to that
 * listening socket, of the same user or root alone (SO_PEERCRED): it has that one in the place of its agent from there
 * on, which may TAKE the mount, or UNMOUNT it. It ends the mount itself when nobody has taken it in time, and goes when
 * somebody else has unmounted it. So whoever mounts it, one process stands by each mount, and that process waits.
 */
#ifndef HOMEPORT_HELPER_H
#define HOMEPORT_HELPER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum helper_type {
	HELPER_MOUNT = 1,
	HELPER_UNMOUNT = 2,
	HELPER_KEEP = 3,
	HELPER_TAKE = 4,
	HELPER_WATCH = 5,
	HELPER_REMOUNT = 6
};
enum { HELPER_ALLOW_OTHER = 1, HELPER_READ_ONLY = 2, HELPER_LAZY = 4, HELPER_CAN_REMOUNT = 8 };
#define HELPER_MESSAGE_MAX 8192u
#define HELPER_FDS         2u /* that come with one message */
#define HELPER_VERSION     1u /* of TAKE, and of what is done with what it hands over */
#define HELPER_KEEP_MAX_S  (7u * 24 * 3600)
#define HELPER_SOCKET      "/run/homeport-helper"

struct helper_request {
	uint8_t type; /* enum helper_type, or one that is not known */
	char target[4096];
	uint32_t value;
	uint8_t flags;
};
void helper_request_put(struct wire_buf *out, const struct helper_request *r);
int helper_request_get(const void *data, size_t len, struct helper_request *r); /* -EPROTO */

struct helper_reply {
	uint8_t type;
	uint32_t error; /* positive errno */
	uint8_t flags;
	char text[512];
};
void helper_reply_put(struct wire_buf *out, const struct helper_reply *r);
int helper_reply_get(const void *data, size_t len, struct helper_reply *r); /* -EPROTO */

/*
 * `homeport-guest helper [--user | --service]`: as root; with --user as anybody, by fusermount3; with --service for
 * whoever is connected and has leave (mount_policy.h). Returns the exit status.
 */
int cmd_helper(int argc, char **argv);

/* Whether /etc/fuse.conf lets others than a mount's user see it. */
bool helper_user_allow_other(void);

#endif
