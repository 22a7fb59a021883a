/* SPDX-License-Identifier: MIT */
/*
 * fuse_raw: requests of the kernel that libfuse 3.14 has never heard of.
 *
 * Theory of operation
 *
 * libfuse alone makes a fuse_req_t, with its caller, its interrupts and its one answer. So a request it does not know
 * is given to it under the number of one it does that begins with the same fields, and the handler asks raw_request
 * which it was: FUSE_STATX arrives as GETATTR (op_getattr), FUSE_TMPFILE as CREATE (op_create). What the handler
 * answers goes to the kernel as it is. With a feature off, the request reaches libfuse as it came and is answered
 * ENOSYS, as by an older kernel's peer.
 */
#ifndef HOMEPORT_FUSE_RAW_H
#define HOMEPORT_FUSE_RAW_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp_wire.h"

enum raw_request { RAW_NONE, RAW_STATX, RAW_TMPFILE };

/* A request as the kernel wrote it, changed to what libfuse knows; what it was. */
enum raw_request raw_request_adapt(void *request, size_t len);

/* Answers a STATX: the attributes, and the time of birth where the host has it. 0 or a negative errno. */
int raw_reply_statx(fuse_req_t req, const struct stat *st, const struct sftp_attr *attr, double timeout);

#endif
