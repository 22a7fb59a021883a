/* SPDX-License-Identifier: MIT */
/* Requests under the numbers of others, and their answers. See fuse_raw.h. */
#include "fuse_raw.h"

#include <assert.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "features.h"

/* Newer than the headers, too. struct fuse_statx_in; its first sixteen bytes are those of struct fuse_getattr_in. */
struct statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};
static_assert(offsetof(struct statx_in, fh) == offsetof(struct fuse_getattr_in, fh), "STATX begins as GETATTR does");

struct sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

/* struct fuse_statx_out with its struct fuse_statx. */
struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
static_assert(sizeof(struct statx_out) == 32 + 256, "as long as the kernel's");

bool raw_has_answer(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_NOTIFY_REPLY;
}

enum raw_request raw_request_adapt(void *request, size_t len)
{
	struct fuse_in_header *h = request;

	if (len < sizeof(*h))
		return RAW_NONE;
	if (h->opcode == OPCODE_STATX && len >= sizeof(*h) + sizeof(struct statx_in) && feature_on(FEATURE_STATX)) {
		h->opcode = FUSE_GETATTR;
		return RAW_STATX;
	}
	if (h->opcode == OPCODE_TMPFILE && len > sizeof(*h) + sizeof(struct fuse_create_in) &&
	    feature_on(FEATURE_TMPFILE)) {
		h->opcode = FUSE_CREATE;
		return RAW_TMPFILE;
	}
	return RAW_NONE;
}

enum raw_request raw_setxattr_adapt(void *request, size_t len)
{
	const size_t head = sizeof(struct fuse_in_header), cut = sizeof(struct fuse_setxattr_in);
	const struct fuse_in_header *h = request;
	struct fuse_setxattr_in in;
	uint8_t *body = (uint8_t *)request + head;

	if (len < head + cut || h->opcode != FUSE_SETXATTR)
		return RAW_NONE;
	memcpy(&in, body, sizeof(in));
	memmove(body + FUSE_COMPAT_SETXATTR_IN_SIZE, body + cut, len - head - cut);
	return in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID ? RAW_ACL_KILL_SGID : RAW_NONE;
}

static struct sx_time time_of(const struct timespec *t)
{
	return (struct sx_time){.sec = t->tv_sec, .nsec = (uint32_t)t->tv_nsec};
}

int raw_reply_statx(fuse_req_t req, const struct stat *st, const struct sftp_attr *attr, double timeout)
{
	struct statx_out out = {
		.attr_valid = (uint64_t)timeout,
		.attr_valid_nsec = (uint32_t)((timeout - (double)(uint64_t)timeout) * 1e9),
		.mask = STATX_BASIC_STATS,
		.blksize = (uint32_t)st->st_blksize,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mode = (uint16_t)st->st_mode,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = time_of(&st->st_atim),
		.mtime = time_of(&st->st_mtim),
		.ctime = time_of(&st->st_ctim),
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
	};

	if (attr->flags & SFTP_ATTR_BTIME) {
		out.mask |= STATX_BTIME;
		out.btime = (struct sx_time){.sec = attr->btime.sec, .nsec = attr->btime.nsec};
	}
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}
