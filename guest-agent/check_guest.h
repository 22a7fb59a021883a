/* SPDX-License-Identifier: MIT */
/* check_guest: each thing of this machine that has to be right for it to be a guest, for `doctor`. Blocks. */
#ifndef HOMEPORT_CHECK_GUEST_H
#define HOMEPORT_CHECK_GUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "check.h"

/* The ways to mount that hold for any place, in the order they are tried. */
enum check_way { CHECK_WAY_ROOT, CHECK_WAY_SUDO, CHECK_WAY_USER, CHECK_WAY_NONE };

struct check_guest {
	enum check_way way;
	bool service;               /* and before them: systemd starts a helper for whom mount_policy.h allows it */
	bool kept_in;               /* no other way: the agent that runs may get no privileges */
	const char *home;           /* of the login user */
	const char *const *targets; /* mount points that are wanted */
	size_t target_count;
};

/* Finds out which way this user has: asks sudo, for at most some seconds. */
enum check_way check_way_find(void);

/* Whether systemd would start a helper. */
bool check_service_is_there(void);

/* Whether the agent that runs, of this user and build, may get no privileges: its unit's drop-in says so where a helper
 * is installed. False: it may, or none runs. */
bool check_agent_is_kept_in(void);

/* Hands each of them to `each`, as soon as it is known. */
void check_guest_all(const struct check_guest *guest, void (*each)(void *ctx, const struct check *check), void *ctx);

/* check_target.c: whether something can be mounted there. */
void check_target(const struct check_guest *guest, const char *target, struct check *check);

#endif
