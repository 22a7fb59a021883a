/* SPDX-License-Identifier: MIT */
/*
 * mounter: the agent's side of its helper: tries the ways to mount, one after the other, and hands over the descriptor.
 *
 *	root already: `homeport-guest helper` · else `sudo -n homeport-guest helper` · else `homeport-guest helper
 *--user` (fusermount3) · none of them: one sentence
 *
 * Asynchronous: the loop waits for nobody. The helper lives as long as the mounter.
 */
#ifndef HOMEPORT_MOUNTER_H
#define HOMEPORT_MOUNTER_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct mounter;

struct mounter_events {
	/* Mounted: fd becomes the callee's. */
	void (*mounted)(void *ctx, int fd, bool allow_other);
	/* Nothing worked: a positive errno and a sentence. No helper is left. */
	void (*failed)(void *ctx, int error, const char *text);
	/* The answer to mounter_unmount(): 0, or a positive errno and why. */
	void (*unmounted)(void *ctx, int error, const char *text);
	/* The answer to mounter_end(): no helper is left. */
	void (*ended)(void *ctx);
};

struct mounter_params {
	const char *target;
	uint32_t owner;
	bool allow_other, read_only;
};

/* NULL: out of memory. Events come later, and may free the mounter. */
struct mounter *mounter_new(struct loop *loop, const struct mounter_params *params, const struct mounter_events *events,
			    void *ctx);

/* Ends the helper, which unmounts lazily what it mounted. NULL is fine. */
void mounter_free(struct mounter *m);

void mounter_unmount(struct mounter *m, bool lazy);

/* There is no mount any more: the helper shall go. */
void mounter_end(struct mounter *m);

#endif
