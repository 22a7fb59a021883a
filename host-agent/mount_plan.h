/* SPDX-License-Identifier: MIT */
/*
 * mount_plan: which mounts the guest is asked for. A configured mount whose mount point lies below another's is no
 * mount of its own but a share grafted into that one: one FUSE session, no second kernel mount. Pure.
 */
#ifndef HOMEPORT_MOUNT_PLAN_H
#define HOMEPORT_MOUNT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id_map.h"

struct config;
struct config_mount;

struct planned_share {
	char *point;                       /* "" for the mount's own root, else relative to it */
	const struct config_mount *source; /* the configuration's */
	struct id_map uids, gids;
};

struct planned_mount {
	char *target;
	struct planned_share *shares; /* sorted by point */
	size_t share_count;
	/* Of all its shares, as soon as one asks for it: the kernel asks a mount, or none of it. */
	bool host_locks, acl;
	bool alone; /* takes in nothing: what is wanted below it is a mount of its own */
};

struct mount_plan {
	struct planned_mount *mounts; /* sorted by target */
	size_t count;
};

/* Whether what is wanted below this mount point may not become part of its mount. */
typedef bool mount_plan_alone(const void *ctx, const char *mount_point);

/* Plans for a configuration, which must outlive the plan. `alone` NULL: each takes in what lies below. 0 or -ENOMEM. */
int mount_plan_make(struct mount_plan *plan, const struct config *config, mount_plan_alone *alone, const void *ctx);
void mount_plan_clear(struct mount_plan *plan);

/* The configured mount's target: where its share is found in the guest. The caller frees it; NULL: out of memory. */
char *mount_plan_path(const char *target, const char *point);

/* Whether `path` lies below `above`, or is the same. */
bool mount_plan_within(const char *path, const char *above);

/* Whether one of the two targets is the other, or lies below it. */
bool mount_plan_overlap(const char *a, const char *b);

#endif
