/* SPDX-License-Identifier: MIT */
/*
 * wanted: one mount a host wants here, and the streams of its shares. Joins mount.h, which knows neither hosts nor
 * sessions, to the session its host has at the moment, if any.
 */
#ifndef HOMEPORT_WANTED_H
#define HOMEPORT_WANTED_H

#include <stdbool.h>

#include "control_msg.h"

struct loop;
struct mux;
struct op_meter;
struct wanted;

struct wanted_events {
	/* Tell the host, if it is there. May not free the wanted. */
	void (*state)(void *ctx, struct wanted *w, const struct control_mount_state *state);
	/* It is not mounted any more, for good: wanted_free() it (deferred, or later). */
	void (*ended)(void *ctx, struct wanted *w);
};

/* How a mount outlives this agent. */
struct wanted_keep {
	const uint8_t *host; /* its instance's id */
	uint32_t seconds;
	bool instead; /* of one that was there until now */
};

/*
 * Begins to mount what `msg` says for the host described by `config`, but not where it would hide the folder `guarded`
 * (the agent's own, in which the socket is by which the next one finds the mount);
 * the first state is told before it returns, also when it failed (then `ended` follows as well). It counts in `meter`,
 * which must outlive it. NULL: out of memory.
 */
struct wanted *wanted_new(struct loop *loop, struct mux *mux, const struct control_mount *msg,
			  const struct control_config *config, const char *guarded, const struct wanted_keep *keep,
			  struct op_meter *meter, const struct wanted_events *events, void *ctx);
/* What is mounted goes at once, lazily. NULL is fine. */
void wanted_free(struct wanted *w);

/* The same target is wanted, by a session that may be new, with shares that may be others: goes on with those that it
 * had. -EINVAL: that cannot be done, it has to be mounted anew. Tells its state, now or when it is so. */
int wanted_claim(struct wanted *w, struct mux *mux, const struct control_mount *msg);

/* The session's connection came or went; its streams stay. */
void wanted_set_linked(struct wanted *w, bool linked);

/* The session is over, and with it what is left of its streams. */
void wanted_orphan(struct wanted *w);

/* Leaves what is mounted to the next agent, and frees. */
void wanted_leave(struct wanted *w);

/* Unmounts; state(UNMOUNTED) and `ended` follow. */
void wanted_unmount(struct wanted *w);

const char *wanted_target(const struct wanted *w); /* as the host wrote it */
uint32_t wanted_id(const struct wanted *w);
bool wanted_is_claimed(const struct wanted *w);
enum control_mount_status wanted_status(const struct wanted *w);

#endif
