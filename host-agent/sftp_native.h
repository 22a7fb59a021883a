/* SPDX-License-Identifier: MIT */
/*
 * sftp_native: the native requests (PROTOCOL.md, "Requests"), one function a request. What makes something is in
 * native_make.c, what otherwise modifies in native_modify.c, the rest in sftp_native.c. No request holds a path: names
 * are checked where they are read.
 */
#ifndef HOMEPORT_SFTP_NATIVE_H
#define HOMEPORT_SFTP_NATIVE_H

#include "sftp_job.h"

/* A name off the wire, NUL-terminated. -EINVAL: not a name. */
int native_get_name(struct wire_reader *r, char name[SFTP_NAME_MAX + 1]);

/* The node found as `name` in a folder, and its attributes with further flags (SFTP_ATTR_), into the reply. */
int native_put_found(struct sftp_job *job, uint64_t parent, const struct node_info *folder, int dirfd, const char *name,
		     enum mask mask, uint32_t attr_flags);

/* A folder about to be changed, and a name in it. */
struct native_place {
	uint64_t node;
	struct node_info info;
	struct fd_ref ref;
	char name[SFTP_NAME_MAX + 1];
	struct sftp_change change;
};

/* Reads it: u64 parent, name. */
int native_place_read(struct wire_reader *in, struct native_place *p);

/*
 * The folder's descriptor and what it is before; -EACCES where the masks say so. `folder_ok`: for making and removing
 * folders, which those that hold masked names allow.
 */
int native_place_get(struct sftp_job *job, struct native_place *p, bool folder_ok);

/* Gives the folder back; where r is 0 puts its change into the reply. Returns r, or what failed. */
int native_place_put(struct sftp_job *job, struct native_place *p, int r);

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
