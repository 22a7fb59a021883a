/* SPDX-License-Identifier: MIT */
/*
 * helper: the process that mounts. It may be root where the agent is not, and it may wait where the agent's loop must
 * not: a path below another mount of the agent's would make the loop wait for itself.
 *
 * `homeport-guest helper` speaks on its stdin, a SOCK_SEQPACKET socket, one packet a message. The agent starts it; or,
 * for a connection to HELPER_SOCKET, systemd does, as root.
 *
 *	request	u8 1 (MOUNT), string target, u32 owner, u8 flags (1: allow_other, 2: read-only)
 *		u8 2 (UNMOUNT), string target, u32 0, u8 flags (4: lazily)
 *	reply	u8 type, u32 errno, u8 flags as obtained, string text; after MOUNT with the descriptor of /dev/fuse
 *
 * It holds a copy of the descriptor, and unmounts what it mounted when its socket closes: whatever becomes of the
 * agent, no mount is left behind that nobody serves.
 */
#ifndef HOMEPORT_HELPER_H
#define HOMEPORT_HELPER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum helper_type { HELPER_MOUNT = 1, HELPER_UNMOUNT = 2 };
enum { HELPER_ALLOW_OTHER = 1, HELPER_READ_ONLY = 2, HELPER_LAZY = 4 };
#define HELPER_MESSAGE_MAX 8192u
#define HELPER_SOCKET      "/run/homeport-helper"

struct helper_request {
	enum helper_type type;
	char target[4096];
	uint32_t owner;
	uint8_t flags;
};
void helper_request_put(struct wire_buf *out, const struct helper_request *r);
int helper_request_get(const void *data, size_t len, struct helper_request *r); /* -EPROTO */

struct helper_reply {
	enum helper_type type;
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
