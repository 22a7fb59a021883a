/* SPDX-License-Identifier: MIT */
/* fusermount: a user's own way to mount, by the set-user-id program fusermount3. Waits for it: the helper's alone. */
#ifndef HOMEPORT_FUSERMOUNT_H
#define HOMEPORT_FUSERMOUNT_H

#include <stdbool.h>
#include <stddef.h>

/* Mounts with these options. /dev/fuse; or a negative errno, and what fusermount3 said to it in `text`. */
int fusermount_mount(const char *target, const char *options, char *text, size_t size);

/* 0; -EBUSY: it could not, for whatever reason. */
int fusermount_unmount(const char *target, bool lazy);

#endif
