/* SPDX-License-Identifier: MIT */
/* What CREATE shares with OPEN. */
#ifndef HOMEPORT_FUSE_FILE_H
#define HOMEPORT_FUSE_FILE_H

#include "fuse_call.h"

/* open(2)'s flags as OPEN and CREATE carry them. */
uint32_t open_flags_to_native(int flags);

/* Answers CREATE with the new file; takes the caller's reference to n, and the handle. */
void call_reply_created(struct call *call, struct node *n, uint64_t fh, const struct sftp_attr *attr);

#endif
