/* SPDX-License-Identifier: MIT */
/*
 * sftp_native: the native requests (PROTOCOL.md, "Requests"), one function a request. What modifies is in
 * native_modify.c, the rest in sftp_native.c. No request holds a path: names are checked where they are read.
 */
#ifndef HOMEPORT_SFTP_NATIVE_H
#define HOMEPORT_SFTP_NATIVE_H

#include "sftp_job.h"

/* A name off the wire, NUL-terminated. -EINVAL: not a name. */
int native_get_name(struct wire_reader *r, char name[SFTP_NAME_MAX + 1]);

/* The node found as `name` in a folder, and its attributes, into the reply. */
int native_put_found(struct sftp_job *job, uint64_t parent, const struct node_info *folder, int dirfd, const char *name,
		     enum mask mask);

int native_setattr(struct sftp_job *job);
int native_symlink(struct sftp_job *job);
int native_mkdir(struct sftp_job *job);
int native_mknod(struct sftp_job *job);
int native_unlink(struct sftp_job *job);
int native_rmdir(struct sftp_job *job);
int native_rename(struct sftp_job *job);
int native_link(struct sftp_job *job);
int native_create(struct sftp_job *job);
int native_write(struct sftp_job *job);

#endif
