/* SPDX-License-Identifier: MIT */
/* See fuse_stale.h. */
#include "fuse_stale.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

#include "fuse_call.h"
#include "fuse_raw.h"

enum what {
	STALE_FILE, /* opened once more */
	STALE_DIR,
	STALE_RELEASE, /* unless it was, there is nothing to close */
	STALE_RELEASE_DIR,
	STALE_GETATTR, /* asked of the node */
	STALE_SETATTR,
};

/* Requests with a handle: where it is in the body, and where its node is (0: in the header). */
static const struct row {
	uint32_t opcode;
	uint8_t at;
	uint8_t what;
	uint8_t node_at;
} rows[] = {
	{FUSE_READ, offsetof(struct fuse_read_in, fh), STALE_FILE},
	{FUSE_WRITE, offsetof(struct fuse_write_in, fh), STALE_FILE},
	{FUSE_FLUSH, offsetof(struct fuse_flush_in, fh), STALE_FILE},
	{FUSE_FSYNC, offsetof(struct fuse_fsync_in, fh), STALE_FILE},
	{FUSE_RELEASE, offsetof(struct fuse_release_in, fh), STALE_RELEASE},
	{FUSE_READDIR, offsetof(struct fuse_read_in, fh), STALE_DIR},
	{FUSE_READDIRPLUS, offsetof(struct fuse_read_in, fh), STALE_DIR},
	{FUSE_FSYNCDIR, offsetof(struct fuse_fsync_in, fh), STALE_DIR},
	{FUSE_RELEASEDIR, offsetof(struct fuse_release_in, fh), STALE_RELEASE_DIR},
	{FUSE_GETATTR, offsetof(struct fuse_getattr_in, fh), STALE_GETATTR},
	/* begins as GETATTR does */
	{OPCODE_STATX, offsetof(struct fuse_getattr_in, fh), STALE_GETATTR},
	{FUSE_SETATTR, offsetof(struct fuse_setattr_in, fh), STALE_SETATTR},
	{FUSE_GETLK, offsetof(struct fuse_lk_in, fh), STALE_FILE},
	{FUSE_SETLK, offsetof(struct fuse_lk_in, fh), STALE_FILE},
	{FUSE_SETLKW, offsetof(struct fuse_lk_in, fh), STALE_FILE},
	{FUSE_FALLOCATE, offsetof(struct fuse_fallocate_in, fh), STALE_FILE},
	{FUSE_LSEEK, offsetof(struct fuse_lseek_in, fh), STALE_FILE},
	{FUSE_COPY_FILE_RANGE, offsetof(struct fuse_copy_file_range_in, fh_in), STALE_FILE},
	{FUSE_COPY_FILE_RANGE, offsetof(struct fuse_copy_file_range_in, fh_out), STALE_FILE,
	 offsetof(struct fuse_copy_file_range_in, nodeid_out)},
};

uint64_t handle_new(const struct mount *m, const void *object)
{
	assert((uintptr_t)object >> HANDLE_BITS == 0);
	return (uint64_t)m->incarnation << HANDLE_BITS | (uintptr_t)object;
}

bool stale_modifies(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_SETATTR:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_WRITE:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
	case FUSE_CREATE:
	case FUSE_FALLOCATE:
	case FUSE_COPY_FILE_RANGE:
	case OPCODE_TMPFILE:
		return true;
	default:
		return false;
	}
}

/* Of SETATTR and GETATTR, whether the handle in it means anything. */
static bool has_handle(const struct row *row, const void *body)
{
	if (row->what == STALE_GETATTR)
		return ((const struct fuse_getattr_in *)body)->getattr_flags & FUSE_GETATTR_FH;
	if (row->what == STALE_SETATTR)
		return ((const struct fuse_setattr_in *)body)->valid & FATTR_FH;
	return true;
}

static int row_adapt(struct mount *m, const struct row *row, uint64_t node, void *body, uint64_t handle)
{
	struct node *n = node_by_id(m->nodes, node);

	switch (row->what) {
	case STALE_RELEASE:
		/* It may still have an error to tell, and a place in the table. */
		handle = n ? file_again(m, n, handle) : 0;
		break;
	case STALE_RELEASE_DIR:
		handle = dir_known(m, handle);
		break;
	case STALE_DIR:
		handle = n ? dir_again(m, n, handle) : 0;
		if (!handle)
			return n ? ENOMEM : ESTALE;
		break;
	case STALE_GETATTR:
		((struct fuse_getattr_in *)body)->getattr_flags &= ~(uint32_t)FUSE_GETATTR_FH;
		return -1;
	default:
		handle = n ? file_again(m, n, handle) : 0;
		if (!handle)
			return ESTALE;
	}
	memcpy((char *)body + row->at, &handle, sizeof(handle));
	return handle ? -1 : 0;
}

int stale_adapt(struct mount *m, void *request, size_t len)
{
	const struct fuse_in_header *h = request;
	char *body = (char *)request + sizeof(*h);
	int rc = -1;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && rc < 0; i++) {
		const struct row *row = &rows[i];
		uint64_t handle, node = h->nodeid;

		if (row->opcode != h->opcode || len < sizeof(*h) + row->at + sizeof(handle) || !has_handle(row, body))
			continue;
		memcpy(&handle, body + row->at, sizeof(handle));
		if (row->node_at)
			memcpy(&node, body + row->node_at, sizeof(node));
		if (handle >> HANDLE_BITS != m->incarnation)
			rc = row_adapt(m, row, node, body, handle);
	}
	return rc;
}
