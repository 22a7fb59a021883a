/* SPDX-License-Identifier: MIT */
/*
 * instance: one host, as the guest knows it: the pair it has configured, across all its connections and sessions. It
 * owns what outlives both: the mounts.
 */
#ifndef HOMEPORT_INSTANCE_H
#define HOMEPORT_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "session.h"

struct attachment;
struct chan;
struct instance;
struct loop;

struct instance_events {
	/* It holds nothing any more and nobody will come back to it: instance_free() it (not in the callback). */
	void (*ended)(void *ctx, struct instance *instance);
	/* Another instance's mount at this target whose host is not there: it is given up for this one. */
	void (*take_over)(void *ctx, struct instance *instance, const char *target);
};

/* hello names it; no mount may hide the folder `guarded`. NULL: out of memory. */
struct instance *instance_new(struct loop *loop, const struct session_hello *hello, const char *guarded,
			      const struct instance_events *events, void *ctx);
/* Unmounts what is mounted, tells a connected host. NULL is fine. */
void instance_free(struct instance *i);
/* Leaves what is mounted to the next agent, and frees. */
void instance_leave(struct instance *i);

bool instance_is(const struct instance *i, const struct session_hello *hello);

/*
 * A connection of this host, which resumes its session or begins a new one. chan is taken. `attachment` is the attach
 * process that holds the SSH channel open: closed (attachment_close) when the connection is over.
 */
void instance_connect(struct instance *i, struct chan *chan, const struct session_hello *hello, const uint8_t *rest,
		      size_t rest_len, struct attachment *attachment);

/* A line of our log, for a host that is there. */
void instance_log(struct instance *i, int level, const char *line);

/*
 * An agent of another build takes the host over: everything goes, and a host that is connected is told. `ended`
 * follows, perhaps before this returns.
 */
void instance_release(struct instance *i);

/* The same, and what is mounted is left as it is to that agent. `ended` follows, perhaps before this returns. */
void instance_hand_over(struct instance *i);
bool instance_has_id(const struct instance *i, const uint8_t id[SESSION_ID_SIZE]);

/* Gives up a mount at target, if there is one and its host is not connected. */
void instance_give_up(struct instance *i, const char *target);

/* Lines for `homeport-guest status`. */
void instance_report(const struct instance *i, FILE *out);

#endif
