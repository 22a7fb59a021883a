/* SPDX-License-Identifier: MIT */
/*
 * host_mounts: what one host has mounted here, across its sessions: those of the last one are orphans until the next
 * claims them, and what an earlier agent left for this host is its as well (keep_socket.h).
 */
#ifndef HOMEPORT_HOST_MOUNTS_H
#define HOMEPORT_HOST_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "control_msg.h"

struct host_mounts;
struct loop;
struct mux;
struct op_meter;

struct host_mounts_events {
	/* For the host, if it is there. */
	void (*message)(void *ctx, const struct control_msg *msg);
	/* Another host's mount at this target is given up for this one, if that host is not there. */
	void (*take_over)(void *ctx, const char *target);
	/* The last one has gone. host_mounts_free() it, not in here. */
	void (*empty)(void *ctx);
};

/* `host` is the instance's id (16 bytes), `guarded` the agent's folder, which no mount may hide; what the mounts are
 * asked is counted in `meter`. All are the caller's and outlive it. NULL: out of memory. */
struct host_mounts *host_mounts_new(struct loop *loop, const uint8_t *host, const char *guarded, struct op_meter *meter,
				    const struct host_mounts_events *events, void *ctx);
/* Unmounts what is mounted, lazily. NULL is fine. */
void host_mounts_free(struct host_mounts *h);

bool host_mounts_is_empty(const struct host_mounts *h);

/*
 * The host's session, by its mux, wants this mounted: what is mounted at the target is claimed, or mounted anew. What
 * becomes of it is told. It outlives this agent by as many seconds.
 */
void host_mounts_want(struct host_mounts *h, struct mux *mux, const struct control_config *config, uint32_t seconds,
		      const struct control_mount *mount);
/* And this no more. Told as well, also when there was none. */
void host_mounts_unwant(struct host_mounts *h, uint32_t id);

/* The session has said what it wants: what it did not claim is unmounted. */
void host_mounts_settle(struct host_mounts *h);

/* The session's connection came or went; or the session is over. */
void host_mounts_set_linked(struct host_mounts *h, bool linked);
void host_mounts_orphan(struct host_mounts *h);

void host_mounts_unmount_all(struct host_mounts *h);

/* Gives up the one at the target, if there is one, for another host. True: there was. */
bool host_mounts_give_up(struct host_mounts *h, const char *target);

/* Leaves all to the next agent: it is empty then, which is not told. */
void host_mounts_leave(struct host_mounts *h);

/* A line for each. */
void host_mounts_report(const struct host_mounts *h, FILE *out);

#endif
