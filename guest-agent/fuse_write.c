/* SPDX-License-Identifier: MIT */
/*
 * Writing to open files. write(2) is answered when we hold the bytes (write_behind.h): at once while there is room,
 * else when there is; with O_SYNC, and far out in a file, when the host has them. O_APPEND is direct I/O: the host
 * appends, and the kernel's idea of the end does not matter. What fails is told by the next write, fsync or close of
 * each description, and the kernel's pages of it go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_file.h"
#include "fuse_ops.h"
#include "invalidator.h"
#include "loop.h"

/* From here on it is sparse files and tests of limits: EFBIG is told by the write that meets it. */
#define WRITE_FAR (1ull << 40)

/* The host does not have what the kernel believes to be in the file. */
static void node_pages_wrong(struct mount *m, struct node *n)
{
	n->flags &= (uint16_t)~NODE_HAS_DATA;
	invalidate_node(m->invalidator, n->id);
}

static void write_done(void *ctx, const struct sftp_reply *reply)
{
	struct write_chunk *chunk = ctx;
	struct file *f = chunk->owner;
	struct mount *m = f->share->mount;
	struct node *n = node_ref(f->node);
	struct wire_reader r = reply->body;
	struct sftp_change change;
	uint32_t written;
	int error = reply->lost ? EIO : reply->error;

	if (!error) {
		written = wire_get_u32(&r);
		sftp_change_get(&r, &change);
		if (!wire_read_done(&r) || written != chunk->len)
			error = EIO;
	}
	/* Before those who wait for it are called. The last of a node's writes says what the file is. */
	if (error)
		node_pages_wrong(m, n);
	else
		node_note_change(m, n, &change, reply->stamp, node_writes(n)->bytes == chunk->len);
	write_behind_done(node_writes(n), chunk, error);
	if (!node_writes(n)->bytes && node_writes(n)->errors == WRITE_ERRORS_NONE)
		recall_set_dirty(m->recall, n->id, false);
	node_writes_settle(n);
	node_unref(m->nodes, n);
}

static int write_send(void *ctx, struct write_chunk *chunk)
{
	struct file *f = chunk->owner;
	struct share *s = f->share;
	struct mount *m = s->mount;
	struct sftp_caller caller = {.request = m->next_request++};
	struct wire_buf *b;

	(void)ctx;
	if (!share_attached(s) || f->generation != s->generation)
		return EIO;
	idmap_caller_to_host(&s->ids, f->writer_uid, f->writer_gid, &caller);
	b = sftp_client_begin(s->client, NATIVE_WRITE);
	sftp_caller_put(b, &caller);
	wire_put_u64(b, f->fh);
	wire_put_u64(b, chunk->append ? NATIVE_WRITE_APPEND : chunk->offset);
	return sftp_client_end_string(s->client, chunk->data, chunk->len, write_done, chunk) ? 0 : ENOMEM;
}

/* Runs when the writes of one pipe end with it: those that were never sent fail too. */
static void fail_writes(void *ctx, struct node *n)
{
	struct share *s = ctx;

	if (n->share == s->index && node_writes(n) && node_writes(n)->bytes) {
		node_pages_wrong(s->mount, n);
		write_behind_fail(node_writes(n), EIO);
	}
}

void node_writes_lost(struct mount *m, struct share *s)
{
	node_table_each(m->nodes, fail_writes, s);
}

/* The caller waits for the host's answer: where it asked for that, and where a file system may well have its end. */
static bool write_is_sync(const struct file *f, uint64_t off)
{
	return f->sync || off >= WRITE_FAR;
}

static void write_reply(struct call *call)
{
	struct file *f = call->file;
	int error =
		write_is_sync(f, call->io.offset) ? write_behind_take_error(node_writes(f->node), &f->errors_seen) : 0;

	if (error) {
		call_reply_err(call, error);
		return;
	}
	if (call->req)
		fuse_reply_write(call->req, call->io.size);
	call_free(call);
}

/* The bytes are ours. The answer waits for the host, or for room. */
static void write_answer(fuse_req_t req, fuse_ino_t ino, struct mount *m, struct file *f, size_t size, uint64_t off)
{
	size_t room = m->write_bytes > WRITE_MOUNT_MAX ? WRITE_CROWDED_NODE : WRITE_NODE_MAX;
	bool sync = write_is_sync(f, off);
	struct call *call;

	if (!sync && node_writes(f->node)->bytes <= room) {
		fuse_reply_write(req, size);
		return;
	}
	call = call_new(req, ino, write_reply);
	if (!call)
		return;
	call->local = true;
	call->file = f;
	call->io.size = size;
	call->io.offset = off;
	if (sync ? !call_wait_writes(call, f->node, write_reply) : !call_wait_room(call, f->node, room, write_reply))
		write_reply(call);
}

static void write_now(fuse_req_t req, struct file *f, const char *data, size_t size, off_t off, bool append)
{
	struct mount *m = f->share->mount;
	struct node *n = f->node;
	int error;

	if (f->generation != f->share->generation) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (!node_writes(n))
		n->more->writes = write_behind_new(&m->write_bytes, write_send, n);
	error = node_writes(n) ? file_error(f) : ENOMEM;
	attr_memory_drop(&m->attrs, n->id);
	/* Of direct I/O the kernel takes no set-id bits away: who writes tells the host whether to. Else it has done
	 * what there was to do, and root's writes leave them. */
	f->writer_uid = append ? fuse_req_ctx(req)->uid : 0;
	f->writer_gid = append ? fuse_req_ctx(req)->gid : 0;
	if (!error)
		recall_set_dirty(m->recall, n->id, true);
	if (!error)
		error = -write_behind_add(node_writes(n), f, append, (uint64_t)off, data, size);
	if (error)
		fuse_reply_err(req, error);
	else
		write_answer(req, n->id, m, f, size, append ? 0 : (uint64_t)off);
}

static void write_reopened(struct call *call)
{
	fuse_req_t req = call->req;
	struct file *f = call->file;

	if (req) {
		struct node *n = node_ref(call->node);
		char *data = call->other_name;
		size_t size = call->io.size;
		uint64_t off = call->io.offset;
		bool append = call->io.plus;

		call->other_name = NULL;
		fuse_req_interrupt_func(req, NULL, NULL);
		call_free(call);
		write_now(req, f, data, size, (off_t)off, append);
		free(data);
		node_unref(f->share->mount->nodes, n);
		return;
	}
	call_free(call);
}

/* A file that an earlier agent had open is opened again first. */
static void write_later(fuse_req_t req, fuse_ino_t ino, struct file *f, const char *data, size_t size, off_t off,
			bool append)
{
	struct call *call = call_new(req, ino, write_reopened);

	if (!call)
		return;
	call->file = f;
	call->io.size = size;
	call->io.offset = (uint64_t)off;
	call->io.plus = append;
	call->other_name = malloc(size ? size : 1);
	if (!call->other_name) {
		call_reply_err(call, ENOMEM);
		return;
	}
	memcpy(call->other_name, data, size);
	call_start(call);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = file_of(fi);
	bool append = f->append && fi->flags & O_APPEND;

	/* Done twice it would be there twice. */
	if (append)
		recall_asked(m->recall, m->unique & ~MOUNT_UNIQUE_RESENT);
	if (f->again)
		write_later(req, ino, f, data, size, off, append);
	else
		write_now(req, f, data, size, off, append);
}
