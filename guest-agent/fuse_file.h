/* SPDX-License-Identifier: MIT */
/* What OPEN shares with CREATE, and both with writing. */
#ifndef HOMEPORT_FUSE_FILE_H
#define HOMEPORT_FUSE_FILE_H

#include "fuse_call.h"
#include "fuse_stale.h"

static inline struct file *file_of(const struct fuse_file_info *fi)
{
	return handle_object(fi->fh);
}

/* What the description has not been told yet: 0 or a positive errno, once. */
int file_error(struct file *f);

/* Frees what is known of a node's writes, where nothing is under way and nobody has it open. */
void node_writes_settle(struct node *n);

/* Closes an open file on the host, whose handle this is: no answer is waited for. */
void file_release_handle(struct share *s, uint64_t fh);

/* open(2)'s flags as OPEN and CREATE carry them. */
uint32_t open_flags_to_native(int flags);

/* Answers an OPEN with call->opened and call->open.attr, or has it wait (open_order.h). */
void open_reply(struct call *call);

/* Answers CREATE with the new file; takes the caller's reference to n, and the handle. */
void call_reply_created(struct call *call, struct node *n, uint64_t fh, const struct sftp_attr *attr);

#endif
