/* SPDX-License-Identifier: MIT */
/*
 * anchor: holds the SSH connection of a session that has moved to a direct one. It carries nothing any more; what was
 * under way on it is read and forgotten, since the session sent it again. Where it ends, the session's login has. Now
 * and then the host's writes a byte, so that nothing takes it for abandoned (sshd's ChannelTimeout, a firewall's
 * memory).
 */
#ifndef HOMEPORT_ANCHOR_H
#define HOMEPORT_ANCHOR_H

struct anchor;
struct chan;
struct loop;

enum anchor_side {
	ANCHOR_HOST,
	ANCHOR_GUEST,
};

/* Once; the anchor may be freed in here. why: a sentence. */
typedef void anchor_ended_cb(void *ctx, const char *why);

/* Takes the chan, also on failure. NULL: out of memory. */
struct anchor *anchor_new(struct loop *loop, struct chan *chan, enum anchor_side side, anchor_ended_cb *ended,
			  void *ctx);

/* Ends the connection. NULL is fine. */
void anchor_free(struct anchor *anchor);

#endif
