/* SPDX-License-Identifier: MIT */
/*
 * mount_policy: who may have the helper that systemd starts mount, and where: /etc/homeport/mounts.conf, which root
 * alone writes.
 *
 *	# user	mount points, and what lies below them
 *	me	/home/me /srv/shared
 *	you
 *
 * A user without mount points may have any that the helper would give to who came by sudo.
 */
#ifndef HOMEPORT_MOUNT_POLICY_H
#define HOMEPORT_MOUNT_POLICY_H

#include <stddef.h>
#include <stdint.h>

#define MOUNT_POLICY_PATH "/etc/homeport/mounts.conf"

/*
 * What the text says of a user, by name or number, and a target (NULL: any, as long as they are named). 0, or -EACCES
 * with a sentence in why: it says no, or has a line that cannot be read, which gives nobody anything. Pure.
 */
int mount_policy_check(const char *text, const char *user, uint32_t uid, const char *target, char *why, size_t size);

/* The same of the file, which is refused unless it is root's and nobody else may write it. */
int mount_policy_ask(uint32_t uid, const char *target, char *why, size_t size);

#endif
