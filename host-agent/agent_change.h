/* SPDX-License-Identifier: MIT */
/* agent_change: one command that changes a running session and waits for its answer. For agent_change.c, agent_save.c.
 */
#ifndef HOMEPORT_AGENT_CHANGE_H
#define HOMEPORT_AGENT_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "by_hand.h"
#include "guest_env.h"

struct agent;
struct offload;
struct watcher;

/* Exit statuses, as the commands give them. */
enum {
	ANSWER_DONE = 0,
	ANSWER_FAILED = 1,
	ANSWER_WRONG = 2,
	ANSWER_NOT_CONNECTED = 4,
};

struct change_command {
	const char *name;
	bool takes_word; /* and `save` behind it */
	void (*begin)(struct agent *a, struct watcher *w);
	void (*end)(struct agent *a, struct watcher *w);
};

struct change {
	const struct change_command *command;
	char *argument;        /* what was typed; NULL: nothing */
	char *words;           /* the command and its argument */
	char *place;           /* a mount's: its mount point */
	bool made;             /* what it asked for is in the list of changes by hand, */
	struct by_hand before; /* which was this */
	unsigned reading;      /* the one it waits for; 0: none (any more) */
	bool answered;
	bool partial;             /* some of it needs a new session */
	struct proxy_env proxies; /* of whoever asks for a reload */
	bool save;                /* still to be written into the file */
	bool save_failed;
	struct offload *saving;
	struct agent *agent; /* for when it is saved */
	size_t changes;
};

/* The answer is over, after what was said. */
void agent_change_answer(struct watcher *w, int status);

/* The answer is an error: "homeport: COMMAND: ...". */
void change_refuse(struct watcher *w, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void change_refuse_errno(struct watcher *w, int error);

/* Makes true what `next` says instead of what was changed by hand before; it is taken, or cleared. False: refused. */
bool change_make_true(struct agent *a, struct watcher *w, struct by_hand *next);

/* change_mount.c, change_forward.c: the commands' rows. */
void change_mount_begin(struct agent *a, struct watcher *w);
void change_mount_end(struct agent *a, struct watcher *w);
void change_umount_begin(struct agent *a, struct watcher *w);
void change_umount_end(struct agent *a, struct watcher *w);
void change_forward_begin(struct agent *a, struct watcher *w);
void change_forward_end(struct agent *a, struct watcher *w);
void change_unforward_begin(struct agent *a, struct watcher *w);
void change_unforward_end(struct agent *a, struct watcher *w);

/* Whether its mount is one that failed: that is not written down, and not kept in the list of changes. */
bool change_mount_failed(const struct agent *a, const struct change *change);

/* agent_save.c: writes what the command changed into the session's file. False: there is nothing to wait for. */
bool agent_save_begin(struct agent *a, struct watcher *w);
void agent_save_cancel(struct change *change);

#endif
