/* SPDX-License-Identifier: MIT */
/* helper_watch: the helper's other work, a watch of ports for an agent that is not root (helper.h, WATCH). */
#ifndef HOMEPORT_HELPER_WATCH_H
#define HOMEPORT_HELPER_WATCH_H

#include <stdbool.h>
#include <sys/types.h>

#include "helper.h"

/*
 * Attaches a watch to the network namespace of whoever is at the other end of `sock`, answers with its ring, and stays
 * until that end is closed, without any right: with it the watch ends. `caller` is who asks, 0 root itself; where
 * `policy`, the file of mount_policy.h says whether they may. 0, after that; or a negative errno and a sentence in the
 * reply, which the caller of this sends.
 */
int helper_watch(int sock, uid_t caller, bool policy, struct helper_reply *reply);

#endif
