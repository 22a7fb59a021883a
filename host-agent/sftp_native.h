/* SPDX-License-Identifier: MIT */
/*
 * sftp_native: the native requests (PROTOCOL.md, "Requests"), one function a request. What makes something is in
 * native_make.c and native_tmpfile.c, what works on ranges of files in native_range.c, extended attributes in
 * native_xattr.c, what otherwise modifies in native_modify.c, the rest in sftp_native.c; native_tell.c has what they
 * find out besides. No request holds a path: names are checked where they are read.
 */
#ifndef HOMEPORT_SFTP_NATIVE_H
#define HOMEPORT_SFTP_NATIVE_H

#include <errno.h>

#include "sftp_job.h"

/* A name off the wire, NUL-terminated. -EINVAL: not a name. */
int native_get_name(struct wire_reader *r, char name[SFTP_NAME_MAX + 1]);

/* The node found as `name` in a folder, and its attributes with further flags (SFTP_ATTR_), into the reply. */
int native_put_found(struct sftp_job *job, uint64_t parent, const struct node_info *folder, int dirfd, const char *name,
		     enum mask mask, uint32_t attr_flags);

/* A folder about to be changed, a name in it, and who asks. */
struct native_place {
	struct sftp_caller caller;
	uint64_t node;
	struct node_info info;
	struct fd_ref ref;
	char name[SFTP_NAME_MAX + 1];
	struct sftp_change change;
	uint32_t attr_flags; /* SFTP_ATTR_, for what is made there */
};

/* How most of what modifies begins: caller, u64 parent, name. `in` is left at what follows. */
int native_place_begin(struct sftp_job *job, struct wire_reader *in, struct native_place *p);

/* A second one in the same request: u64 parent, name. */
int native_place_read(struct wire_reader *in, struct native_place *p);

/* r, or -EBADMSG where the body had something missing or left over. */
static inline int native_body_end(const struct wire_reader *in, int r)
{
	return r == 0 && !wire_read_done(in) ? -EBADMSG : r;
}

/*
 * The folder's descriptor and what it is before; -EACCES where the masks say so. `folder_ok`: for making and removing
 * folders, which those that hold masked names allow.
 */
int native_place_get(struct sftp_job *job, struct native_place *p, bool folder_ok);

/* What is not in the folder: -ENOENT, or -ESTALE where the folder itself was removed. */
int native_missing_in(int dirfd);

/*
 * Gives the folder back; where r is 0 puts its change into the reply. Returns r, or what failed. -ENOENT is -ESTALE
 * where the folder was removed, so that the kernel looks for the one that has its place.
 */
int native_place_put(struct sftp_job *job, struct native_place *p, int r);

/* The attributes of the node with this identity changed, if the client has one, and the reply does not say to what. */
void native_tell_attr(struct sftp_job *job, const struct node_identity *identity);

/* A request answers ESTALE for the node (0: none): the names that led to it, or to a folder above it, lead no more. */
void native_tell_gone(struct sftp_job *job, uint64_t node);

/* A node was found with attributes `st`: another name it was known by, of which it can only have one, is not its own.
 */
void native_tell_moved(struct sftp_job *job, uint64_t node, const struct fsop_stat *st);
/* The mode for what is made in the folder: without the caller's umask, but where a default ACL rules there (acl(5)). */
uint32_t native_mode(int folder, uint32_t umask, uint32_t mode);

/* What is made: its mode with the type, and a device's number. */
struct native_made {
	uint32_t mode, rdev_major, rdev_minor;
};

/* The mode, type included, to make it with. */
uint32_t native_mode_to_make(const struct sftp_job *job, const struct native_made *made);

/*
 * What a privileged server made in `folder` belongs to its caller, but a group given by a set-group-id folder stays.
 * Changing the owner clears set-id bits: those of the mode are set again. With virtual ownership that is recorded.
 */
int native_give_to_caller(struct sftp_job *job, const struct sftp_attr *folder, const struct sftp_caller *caller,
			  int fd, const struct native_made *made);

/* The writes of a privileged server, or to recorded modes, leave set-id bits alone, where its caller's would not have.
 */
void native_drop_set_id(struct sftp_job *job, const struct sftp_caller *caller, int fd);

/* Node, attributes and handle of the regular file fd, which is taken over in any case. node: counted already. */
int native_put_opened(struct sftp_job *job, uint64_t node, const struct fsop_stat *st, int fd, uint32_t flags);

int native_setattr(struct sftp_job *job);
int native_symlink(struct sftp_job *job);
int native_mkdir(struct sftp_job *job);
int native_mknod(struct sftp_job *job);
int native_unlink(struct sftp_job *job);
int native_rmdir(struct sftp_job *job);
int native_rename(struct sftp_job *job);
int native_link(struct sftp_job *job);
int native_create(struct sftp_job *job);
int native_tmpfile(struct sftp_job *job);
int native_write(struct sftp_job *job);
int native_fallocate(struct sftp_job *job);
int native_seek(struct sftp_job *job);
int native_copy(struct sftp_job *job);
int native_getxattr(struct sftp_job *job);
int native_setxattr(struct sftp_job *job);
int native_listxattr(struct sftp_job *job);
int native_removexattr(struct sftp_job *job);
int native_lock(struct sftp_job *job);

#endif
