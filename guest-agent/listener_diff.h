/* SPDX-License-Identifier: MIT */
/*
 * listener_diff: what changed between two sets of listeners. Pure.
 *
 * A listener is the same as long as its socket (inode) and endpoint (family, address, scope, port) are. One that went
 * while another came at the same endpoint is one that was replaced: it keeps its key, and the host its listener.
 */
#ifndef HOMEPORT_LISTENER_DIFF_H
#define HOMEPORT_LISTENER_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control_msg.h"

struct listener_entry {
	struct listener at;
	bool announce; /* new or replaced: the host is to be told */
	bool searched; /* its process was looked for */
};

typedef void listener_gone_cb(void *ctx, const struct listener *gone);

/* By endpoint, then by inode: the order listener_diff() wants. */
void listener_sort(struct listener_entry *entries, size_t count);

/*
 * Both sets are sorted. Entries of `now` get key, owner and flags of what they were in `old`, or a new key from
 * *next_key (which starts above 0) and `announce`. `gone` is called for each of `old` that has no successor.
 */
void listener_diff(const struct listener_entry *old, size_t old_count, struct listener_entry *now, size_t now_count,
		   uint64_t *next_key, listener_gone_cb *gone, void *ctx);

#endif
