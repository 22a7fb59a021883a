/* SPDX-License-Identifier: MIT */
/* mount_target: where a mount may go. Pure. */
#ifndef HOMEPORT_MOUNT_TARGET_H
#define HOMEPORT_MOUNT_TARGET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A mount over the login user's own home would hide its .ssh/authorized_keys and lock the user out. A target that is
 * that home goes to HOME/host instead; one that contains it is refused. `text` says so in a sentence, or is "".
 * Returns 0, -EEXIST (refused), -EINVAL (not an absolute path, or with "." or ".."), -ENAMETOOLONG.
 */
int mount_target_resolve(const char *target, const char *home, char *out, size_t size, char *text, size_t text_size);

/* Whether path is folder or lies below it. */
bool mount_target_within(const char *path, const char *folder);

/* Whether an ordinary user may have a helper of root's mount there: not over or below the system's own folders. */
bool mount_target_allowed(const char *target);

#endif
