/* SPDX-License-Identifier: MIT */
/*
 * fuse_raw: requests of the kernel that libfuse 3.14 has never heard of.
 *
 * Theory of operation
 *
 * libfuse alone makes a fuse_req_t, with its caller, its interrupts and its one answer. So a request it does not know
 * is given to it under the number of one it does that begins with the same fields, and the handler asks raw_request
 * which it was: FUSE_STATX arrives as GETATTR (op_getattr), FUSE_TMPFILE as CREATE (op_create). What the handler
 * answers goes to the kernel as it is. A SETXATTR that is to take the set-group-id bit away (RAW_ACL_KILL_SGID) says so
 * in a field that libfuse does not have: it is cut out. With a feature off, the request reaches libfuse as it came and
 * is answered ENOSYS, as by an older kernel's peer.
 */
#ifndef HOMEPORT_FUSE_RAW_H
#define HOMEPORT_FUSE_RAW_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp_wire.h"

/* Newer than the headers we build with: the protocol's version, and the kernel that brought it. */
#define OPCODE_TMPFILE 51u /* FUSE_TMPFILE, 7.37, Linux 6.1 */
#define OPCODE_STATX   52u /* FUSE_STATX, 7.39, Linux 6.6 */

enum raw_request { RAW_NONE, RAW_STATX, RAW_TMPFILE, RAW_ACL_KILL_SGID };

/* Whether the kernel waits for an answer to such a request. */
bool raw_has_answer(uint32_t opcode);

/* A request as the kernel wrote it, changed to what libfuse knows; what it was. */
enum raw_request raw_request_adapt(void *request, size_t len);

/*
 * The same for a SETXATTR of a kernel that was told FUSE_SETXATTR_EXT: libfuse knows the shorter form alone. All other
 * requests are left as they are.
 */
enum raw_request raw_setxattr_adapt(void *request, size_t len);

/* Answers a STATX: the attributes, and the time of birth where the host has it. 0 or a negative errno. */
int raw_reply_statx(fuse_req_t req, const struct stat *st, const struct sftp_attr *attr, double timeout);

#endif
