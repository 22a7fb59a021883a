/* SPDX-License-Identifier: MIT */
/* xattr_name: which extended attributes a guest has. Pure; both sides ask it. */
#ifndef HOMEPORT_XATTR_NAME_H
#define HOMEPORT_XATTR_NAME_H

#include <stdbool.h>

/*
 * Whether the attribute may be asked for, or (write) set and removed: 0, or what a local file system answers who has no
 * privileges. Only user.* is the guest's, but not user.homeport.*, which is ours.
 */
int xattr_name_check(const char *name, bool write);

#endif
