/* SPDX-License-Identifier: MIT */
/*
 * Requests about ranges of open files: fallocate, lseek for holes and data, copy_file_range. The host carries them out;
 * no byte crosses. Each comes after the writes that were answered before it, of both files where there are two. The
 * kernel drops its pages of what was changed, before (what it had to write) and after.
 *
 * It passes on the modes of fallocate(2) that it knows for FUSE (keep size, punch a hole, zero a range) and no
 * FICLONE; a file system that can share blocks does so for copy_file_range.
 */
#include <errno.h>
#include <unistd.h>

#include "fuse_file.h"
#include "fuse_ops.h"

/* Waits for the node's writes, except those of the file itself: the server keeps the order of a handle. */
static bool range_waits(struct call *call, const struct file *f, call_fn *issue)
{
	struct write_behind *w = node_writes(f->node);

	return w && write_behind_push(w) != f && call_wait_writes(call, f->node, issue);
}

/* ------------------------------------------------------------------------------------------------------ fallocate */

static void fallocate_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_change change;

	if (call_take_change(call, reply, &change))
		call_reply_err(call, 0);
}

static void fallocate_issue(struct call *call)
{
	struct wire_buf *b;

	if (range_waits(call, call->file, fallocate_issue))
		return;
	attr_memory_drop(&call->mount->attrs, call->node->id);
	b = call_begin_modifying(call, NATIVE_FALLOCATE);
	wire_put_u64(b, call->file->fh);
	wire_put_u32(b, call->range.mode);
	wire_put_u64(b, call->range.offset);
	wire_put_u64(b, call->range.length);
	call_send(call, fallocate_done);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, fallocate_issue);

	if (!call)
		return;
	call->file = file_of(fi);
	call->range.mode = (uint32_t)mode;
	call->range.offset = (uint64_t)offset;
	call->range.length = (uint64_t)length;
	call_start(call);
}

/* ---------------------------------------------------------------------------------------------------------- lseek */

static void seek_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	uint64_t found;

	if (call_reply_failed(call, reply))
		return;
	found = wire_get_u64(&r);
	if (!wire_read_done(&r) || found > INT64_MAX) {
		call_reply_malformed(call);
		return;
	}
	if (call->req)
		fuse_reply_lseek(call->req, (off_t)found);
	call_free(call);
}

static void seek_issue(struct call *call)
{
	struct wire_buf *b;

	if (range_waits(call, call->file, seek_issue))
		return;
	b = call_begin(call, NATIVE_SEEK);
	wire_put_u64(b, call->file->fh);
	wire_put_u64(b, call->range.offset);
	wire_put_u8(b, (uint8_t)call->range.mode);
	call_send(call, seek_done);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct call *call;

	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	call = call_new(req, ino, seek_issue);
	if (!call)
		return;
	call->file = file_of(fi);
	call->range.offset = (uint64_t)off;
	call->range.mode = whence == SEEK_DATA ? NATIVE_SEEK_DATA : NATIVE_SEEK_HOLE;
	call_start(call);
}

/* ------------------------------------------------------------------------------------------------ copy_file_range */

static void copy_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_change change;
	uint64_t copied;

	if (call_reply_failed(call, reply))
		return;
	copied = wire_get_u64(&r);
	sftp_change_get(&r, &change);
	if (!wire_read_done(&r) || copied > call->range.length) {
		call_reply_malformed(call);
		return;
	}
	call_changed(call, call->node, &change, reply->stamp);
	if (call->req)
		fuse_reply_write(call->req, copied);
	call_free(call);
}

static void copy_issue(struct call *call)
{
	struct file *from = call->range.from;
	struct wire_buf *b;

	if (from->again) {
		file_reopen(call, from);
		return;
	}
	if (from->generation != call->share->generation) {
		call_reply_err(call, ESTALE);
		return;
	}
	/* The source's are waited for in any case: the server keeps the order of the target's handle only. */
	if (call_wait_writes(call, from->node, copy_issue) || range_waits(call, call->file, copy_issue))
		return;
	attr_memory_drop(&call->mount->attrs, call->node->id);
	attr_memory_drop(&call->mount->attrs, from->node->id); /* its time of access */
	b = call_begin_modifying(call, NATIVE_COPY);
	wire_put_u64(b, call->file->fh);
	wire_put_u64(b, call->range.offset);
	wire_put_u64(b, from->fh);
	wire_put_u64(b, call->range.from_offset);
	wire_put_u64(b, call->range.length);
	call_send(call, copy_done);
}

/* Between shares: EXDEV, after which the kernel copies through its pages, as between two local file systems. */
void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi,
			fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_fi, size_t length, int flags)
{
	struct call *call = flags ? NULL : call_new(req, to, copy_issue);

	if (flags)
		fuse_reply_err(req, EINVAL);
	if (!call || !call_set_other(call, from))
		return;
	call->file = file_of(to_fi);
	call->range.from = file_of(from_fi);
	call->range.from_offset = (uint64_t)from_offset;
	call->range.offset = (uint64_t)to_offset;
	call->range.length = length < SFTP_COPY_MAX ? length : SFTP_COPY_MAX;
	call_start(call);
}
