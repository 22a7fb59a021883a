/* SPDX-License-Identifier: MIT */
/*
 * mounter: the agent's side of its helper: tries the ways to mount, one after the other, and hands over the descriptor.
 *
 *	what another agent has left there is taken up · else root already: `homeport-guest helper` · else the helper
 *	that systemd starts · else `sudo -n homeport-guest helper` · else `homeport-guest helper --user` (fusermount3) ·
 *	none of them: one sentence
 *
 * Asynchronous: the loop waits for nobody. The helper lives as long as the mounter; and longer, by mounter_leave() or
 * where we are killed, once it keeps the mount.
 */
#ifndef HOMEPORT_MOUNTER_H
#define HOMEPORT_MOUNTER_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct mounter;

struct mounter_events {
	/* Mounted, as mounter_is_read_only() says: fd becomes the callee's. */
	void (*mounted)(void *ctx, int fd, bool allow_other);
	/*
	 * One that another agent left: fd and memory become the callee's. 0; or negative: it cannot be served, is
	 * unmounted, and mounted anew. The mounter may not be freed in here. NULL: nobody has left any.
	 */
	int (*taken)(void *ctx, int fd, int memory, bool allow_other);
	/* Nothing worked: a positive errno and a sentence. No helper is left. */
	void (*failed)(void *ctx, int error, const char *text);
	/* What mounter_set_read_only() asked for was tried: mounter_is_read_only() says how it is, text why not
	 * otherwise. */
	void (*remounted)(void *ctx, const char *text);
	/* The answer to mounter_unmount(): 0, or a positive errno and why. */
	void (*unmounted)(void *ctx, int error, const char *text);
	/* The answer to mounter_end(): no helper is left. */
	void (*ended)(void *ctx);
};

struct mounter_params {
	const char *target;
	uint32_t owner;
	bool allow_other, read_only;
	const char *keep_path; /* where it is kept beyond this agent (keep_socket.h); NULL: it is not */
	uint32_t keep_s;       /* and for how long */
	bool instead;          /* of one that may be there for a moment yet */
};

/* NULL: out of memory. Events come later, and may free the mounter. */
struct mounter *mounter_new(struct loop *loop, const struct mounter_params *params, const struct mounter_events *events,
			    void *ctx);

/* Ends the helper, which unmounts lazily what it mounted; or what an earlier agent left. NULL is fine. */
void mounter_free(struct mounter *m);

/* In `mounted`: from here on the mount outlives this agent, and the next one gets this memory (whose descriptor stays
 * the caller's). Where that cannot be, it does not, and a line in the log says so. */
void mounter_keep(struct mounter *m, int memory);

/* Leaves the mount to the next agent, if it is kept, and frees. NULL is fine. */
void mounter_leave(struct mounter *m);

/*
 * The mount shall be read-only from here on, or shall not. 0: it is, or will be from the start. 1: the helper was
 * asked, and remounted() follows. Not disturbed for it, and 0 as well: one that could not become read-only without, or
 * not while somebody has something in it open for writing; once nobody has, it becomes so. -EINVAL: it cannot become
 * writable, mount anew.
 */
int mounter_set_read_only(struct mounter *m, bool read_only);
bool mounter_is_read_only(const struct mounter *m);

void mounter_unmount(struct mounter *m, bool lazy);

/* There is no mount any more, or shall be none: the helper goes. */
void mounter_end(struct mounter *m);

#endif
