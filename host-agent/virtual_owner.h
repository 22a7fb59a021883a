/* SPDX-License-Identifier: MIT */
/*
 * virtual_owner: how files of a share with virtual ownership (root.h) come by their records (owner_record.h), and keep
 * them true. fsop_stat() shows them.
 */
#ifndef HOMEPORT_VIRTUAL_OWNER_H
#define HOMEPORT_VIRTUAL_OWNER_H

#include "fsop.h"

/* fsop_set(), in which owner and mode are the record's. A symbolic link takes any owner, and forgets it. */
int virtual_owner_set(struct root *root, int fd, uint8_t type, bool writable_fd, const struct fsop_set *set);

/*
 * What was made in `folder` for the caller, with owner_record_host_mode() of this mode, becomes the caller's (in a
 * set-group-id folder, the folder's group's), and what else is not the host's. Negative errno: it must not stay.
 */
int virtual_owner_give(int fd, const struct sftp_attr *folder, const struct sftp_caller *caller, uint32_t mode,
		       uint32_t rdev_major, uint32_t rdev_minor);

/* Takes the set-id bits that a write by an ordinary user takes (inode(7)) from the regular file fd: the record's where
 * ownership is virtual, else the file's own. */
int virtual_owner_drop_set_id(struct root *root, int fd);

#endif
