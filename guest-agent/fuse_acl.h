/* SPDX-License-Identifier: MIT */
/*
 * fuse_acl: POSIX ACLs of a mount that has them (`acl: true`).
 *
 * Theory of operation
 *
 * ACLs come as extended attributes. The guest's kernel asks for one when somebody else than a file's owner wants to use
 * the file, decides by it, and keeps it as long as the attributes: at most a second, and not beyond a change of its
 * own. Whatever else an ACL does is done once, on the host: its kernel makes the mode of it, and lets what is made in a
 * folder take after the default one; so umasks are passed on instead of applied (FUSE_DONT_MASK).
 *
 * Who is named in an ACL is translated (acl.h); where the guest does not see all entries, the present ones are asked
 * for before they are replaced.
 */
#ifndef HOMEPORT_FUSE_ACL_H
#define HOMEPORT_FUSE_ACL_H

struct call;

/* To issue calls about xattr_name_is_acl(call->name), with call->xattr as fuse_xattr.c fills it in: what is to be there
 * is call->xattr.value, NULL for none. */
void acl_get_issue(struct call *call);
void acl_change_issue(struct call *call);

#endif
