/* SPDX-License-Identifier: MIT */
/*
 * listener_source: where the knowledge of what listens here comes from, behind one interface: asked of the kernel by
 * netlink (listener_poll.c), when BPF hints or again and again.
 */
#ifndef HOMEPORT_LISTENER_SOURCE_H
#define HOMEPORT_LISTENER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control_msg.h"

struct loop;
struct listener_source;

struct listener_source_events {
	/*
	 * All that listens, in no order, valid for the call; key, pid and the owner's names are not filled in. On each
	 * change.
	 */
	void (*set)(void *ctx, const struct listener *all, size_t count);
	/* The source cannot tell of a protocol (a negative errno); it goes on trying. Once until it works again. */
	void (*failed)(void *ctx, uint8_t proto, int error);
};

struct listener_source_ops {
	void (*start)(struct listener_source *s, const struct listener_source_events *events, void *ctx);
	void (*stop)(struct listener_source *s);
	/* Since the last start: how it comes to know, and why not better. Valid until the next. */
	const char *(*how)(const struct listener_source *s);
	void (*free)(struct listener_source *s);
};

/* The first member of every source. */
struct listener_source {
	const struct listener_source_ops *ops;
};

/*
 * Polls by netlink, without a privilege, from every 5 ms (something just changed) to every 100 ms. NULL: memory.
 *	LISTENER_POLL_BPF    asks when BPF hints, where that can be had, and logs which of the two it is
 *	LISTENER_POLL_BIRTHS polls more often for a minute also after anything was started in the guest
 */
enum {
	LISTENER_POLL_BPF = 1,
	LISTENER_POLL_BIRTHS = 2,
};
struct listener_source *listener_poll_new(struct loop *loop, unsigned how);

#endif
