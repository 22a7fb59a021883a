/* SPDX-License-Identifier: MIT */
/* xattr_name: which extended attributes a guest has. Pure; both sides ask it. */
#ifndef HOMEPORT_XATTR_NAME_H
#define HOMEPORT_XATTR_NAME_H

#include <stdbool.h>

/*
 * Whether the attribute may be asked for, or (write) set and removed: 0, or what a local file system answers who has no
 * privileges. Only user.* is the guest's, but not user.homeport.*, which is ours; and POSIX ACLs, where the share has
 * them (acl).
 */
int xattr_name_check(const char *name, bool write, bool acl);

/* Whether it is a POSIX ACL: of a file or, of a folder, the default of what is made in it. */
#define XATTR_ACL_ACCESS  "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default"
bool xattr_name_is_acl(const char *name);

#endif
