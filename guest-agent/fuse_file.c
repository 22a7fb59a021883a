/* SPDX-License-Identifier: MIT */
/*
 * Requests about open files: open, read, flush, release, fsync. Writing is in fuse_write.c.
 *
 * Close-to-open: OPEN always brings fresh attributes. They are compared with what the kernel was last told and with the
 * version its pages are of; a version sampled within 100 ms of its ctime counts as changed once more, for a later
 * change in the same clock tick would look the same. Changed: the kernel is told to forget the attributes *before* the
 * answer, and the answer says not to keep the pages; so a file that is opened again is never torn. (Only the attributes
 * may be invalidated from the loop: invalidating pages would wait for reads that only the loop can answer.)
 *
 * A small file comes with its OPEN: the first READ is answered from memory, within a second and if nothing was written.
 */
#include "fuse_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_ops.h"
#include "invalidator.h"
#include "loop.h"
#include "mount_recall.h"
#include "open_order.h"
#include "second_walk.h"

#define FETCH_MAX     (64u << 10) /* PROTOCOL.md, OPEN: want */
#define FETCH_KEEP_US 1000000u
#define FETCHED_MAX   (16u << 20) /* of all files that were opened and not read yet */
#define RETRIES_MAX   16u

uint32_t open_flags_to_native(int flags)
{
	uint32_t out = 0;

	switch (flags & O_ACCMODE) {
	case O_WRONLY:
		out = NATIVE_O_WRITE;
		break;
	case O_RDWR:
		out = NATIVE_O_READ | NATIVE_O_WRITE;
		break;
	default: /* O_ACCMODE too, which asks for both rights and may do neither (open(2)) */
		out = NATIVE_O_READ;
	}
	/* Linux truncates also where the file is opened to be read. */
	out |= flags & O_TRUNC ? NATIVE_O_TRUNC | NATIVE_O_WRITE : 0;
	/* Who only reads may ask for it too. */
	out |= flags & O_APPEND && out & NATIVE_O_WRITE ? NATIVE_O_APPEND : 0;
	out |= flags & O_EXCL ? NATIVE_O_EXCL : 0;
	if ((flags & O_SYNC) == O_SYNC)
		out |= NATIVE_O_SYNC;
	else if (flags & O_DSYNC)
		out |= NATIVE_O_DSYNC;
	out |= flags & O_NOATIME ? NATIVE_O_NOATIME : 0;
	return out;
}

static struct file *file_new(struct mount *m, struct share *s, struct node *n, uint64_t fh, uint32_t flags)
{
	struct file *f = node_more(n) ? calloc(1, sizeof(*f)) : NULL;

	if (!f)
		return NULL;
	f->node = node_ref(n);
	f->share = s;
	f->fh = fh;
	f->generation = s->generation;
	f->append = flags & NATIVE_O_APPEND;
	f->sync = flags & (NATIVE_O_SYNC | NATIVE_O_DSYNC);
	f->readable = flags & NATIVE_O_READ;
	f->flags = flags & ~(uint32_t)(NATIVE_O_TRUNC | NATIVE_O_EXCL);
	LIST_INIT(&f->locks);
	f->errors_seen = node_writes(n) ? node_writes(n)->errors : WRITE_ERRORS_NONE;
	n->more->files++;
	LIST_INSERT_HEAD(&m->files, f, link);
	return f;
}

static void fetched_drop(struct file *f)
{
	struct mount *m = f->share->mount;

	if (!f->fetched)
		return;
	TAILQ_REMOVE(&m->fetched, f, fetched_link);
	m->fetched_bytes -= f->fetched_len;
	free(f->fetched);
	f->fetched = NULL;
}

/* What is too old to be used, and the oldest of what is too much. */
static void fetched_expire(struct mount *m)
{
	uint64_t now = loop_now_us(m->loop);
	struct file *f;

	while ((f = TAILQ_FIRST(&m->fetched)) &&
	       (m->fetched_bytes > FETCHED_MAX || now - f->fetched_us > FETCH_KEEP_US))
		fetched_drop(f);
}

/* But that of one handle; of those that are being opened, 0, too. */
static void forget_fetched(struct mount *m, const struct node *n, uint64_t but)
{
	struct file *f, *next;

	for (f = TAILQ_FIRST(&m->fetched); f; f = next) {
		next = TAILQ_NEXT(f, fetched_link);
		if (f->node == n && f->handle != but)
			fetched_drop(f);
	}
}

void node_forget_fetched(struct mount *m, const struct node *n)
{
	forget_fetched(m, n, UINT64_MAX);
}

/* No agent is asked for it any more. */
static void file_forget_handle(struct mount *m, struct file *f)
{
	unsigned slot;

	if (m->reopened && recall_open(m->recall, f->handle, &slot) && m->reopened[slot] == f)
		m->reopened[slot] = NULL;
	mount_recall_closed(m, f->node, f->handle);
}

void file_free(struct mount *m, struct file *f)
{
	open_order_done(f);
	f->node->more->files--;
	LIST_REMOVE(f, link);
	if (!m->leaving)
		file_forget_handle(m, f);
	fetched_drop(f);
	locks_forget(m, f);
	node_unref(m->nodes, f->node);
	free(f);
}

void file_release_handle(struct share *s, uint64_t fh)
{
	struct wire_buf *b = sftp_client_begin(s->client, NATIVE_RELEASE);

	wire_put_u64(b, fh);
	sftp_client_end(s->client, NULL, NULL);
}

void node_writes_settle(struct node *n)
{
	if (node_writes(n) && !n->more->files && write_behind_idle(node_writes(n))) {
		write_behind_free(node_writes(n));
		n->more->writes = NULL;
	}
}

void file_close(struct file *f)
{
	struct share *s = f->share;
	struct mount *m = s->mount;
	struct node *n = node_ref(f->node);

	if (locks_close(m, f) && share_attached(s) && f->generation == s->generation)
		file_release_handle(s, f->fh);
	file_free(m, f);
	node_writes_settle(n);
	node_unref(m->nodes, n);
}

/* ----------------------------------------------------------------------------------------------------------- open */

/* Tells the kernel what it may keep of the file. */
static void open_decide(struct mount *m, struct node *n, struct file *f, const struct sftp_attr *attr,
			struct fuse_file_info *fi)
{
	struct node_opened o = node_opened(n, attr, loop_now_us(m->loop));

	fi->fh = handle_new(m, f);
	f->handle = fi->fh;
	mount_recall_opened(m, n, f->handle, f->flags);
	fi->keep_cache = !o.drop;
	fi->direct_io = f->append;
	/* Nothing of a file that was only read waits to be written. */
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY && !m->host_locks;
	/* What others were brought and have not read is old: the kernel would have this one's pages of it too. */
	if (o.drop && n->more->files > 1)
		forget_fetched(m, n, f->handle);
	if (o.tell)
		node_forget_attr(m, n);
	if (n->flags & NODE_UNTOLD)
		open_order_begin(f);
}

/* Keeps the bytes that came with OPEN when they are the whole file. */
static void open_keep_fetched(struct file *f, const uint8_t *data, size_t len, const struct sftp_attr *attr,
			      uint64_t stamp)
{
	struct mount *m = f->share->mount;

	if (!len || len != attr->size)
		return;
	f->fetched = malloc(len);
	if (!f->fetched)
		return;
	memcpy(f->fetched, data, len);
	f->fetched_len = len;
	f->fetched_us = loop_now_us(m->loop);
	f->fetched_stamp = stamp;
	f->fetched_version = version_of(attr);
	TAILQ_INSERT_TAIL(&m->fetched, f, fetched_link);
	m->fetched_bytes += len;
	fetched_expire(m);
}

/* Answers with call->opened. */
void open_reply(struct call *call)
{
	struct fuse_file_info fi = {.flags = call->open.flags};
	struct sftp_attr *attr = &call->open.attr;
	struct mount *m = call->mount;

	/* The host's threads overtake each other: another OPEN may have seen more. */
	if (!call->open.tries)
		attr_memory_later(&m->attrs, call->node->id, loop_now_us(m->loop), ATTR_MEMORY_US, attr);
	if (!attr_is_old(call->node, call->open.stamp))
		attr_memory_put(&m->attrs, call->node->id, attr, loop_now_us(m->loop));
	else
		attr_memory_drop(&m->attrs, call->node->id);
	if (call->req) {
		if (open_order_wait(call))
			return;
		open_decide(m, call->node, call->opened, attr, &fi);
		if (fuse_reply_open(call->req, &fi) == 0)
			call->opened = NULL;
	}
	call_free(call);
}

static void open_named_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_attr attr;
	uint64_t server;

	if (reply->error) {
		call_reply_err(call, ESTALE);
		return;
	}
	if (!reply_found(reply, &server, &attr)) {
		call_reply_malformed(call);
		return;
	}
	share_forget(call->share, server, 1);
	if (server == call->node->server)
		open_reply(call);
	else
		call_reply_err(call, ESTALE);
}

/*
 * Whether the file may have lost the name it was opened by. A rename, a removal and a link change the inode's ctime; so
 * it has its name while the version is the one that came with the name.
 */
static bool open_name_in_doubt(const struct node *n, const struct sftp_attr *attr)
{
	struct version now = version_of(attr);

	if (!n->parent || !n->name)
		return false;
	return !(n->flags & NODE_HAS_TOLD) || !version_same(&now, &n->told) || n->flags & NODE_RACY;
}

static void open_check_name(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_LOOKUP);

	wire_put_u64(b, call->node->parent->server);
	wire_put_cstring(b, call->node->name);
	call_send(call, open_named_done);
}

static void open_send(struct call *call, uint64_t server);

static void open_again_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_attr attr;

	if (reply->error) {
		call_reply_err(call, reply->error == ESTALE ? ENOENT : reply->error); /* the folder has gone as well */
		return;
	}
	if (!reply_found(reply, &call->open.server, &attr))
		call_reply_malformed(call);
	else if (!S_ISREG(attr.mode) || !call->req)
		call_reply_err(call, ESTALE);
	else
		open_send(call, call->open.server);
}

/*
 * Replaced once more since the kernel looked. It would not look again, and open(2) would fail: so what the name means
 * by now is opened in place of the node. The handle stands for it; the node's own identity is found gone by the next
 * OPEN.
 */
static void open_again(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_LOOKUP);

	call->open.tries++;
	wire_put_u64(b, call->node->parent->server);
	wire_put_cstring(b, call->node->name);
	call_send(call, open_again_done);
}

static void open_failed(struct call *call, int error)
{
	const struct node *n = call->node;

	if (error != ESTALE)
		call_reply_err(call, error);
	else if (call->open.retry && call->open.tries < RETRIES_MAX && call->req && n->parent && n->name)
		open_again(call);
	else
		call_reply_err(call, ESTALE);
}

static void open_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr *attr = &call->open.attr;
	const uint8_t *data;
	uint64_t fh;
	size_t len;

	if (call->open.server)
		share_forget(call->share, call->open.server, 1); /* its handle is enough */
	call->open.server = 0;
	if (reply->error) {
		open_failed(call, reply->error);
		return;
	}
	fh = wire_get_u64(&r);
	sftp_attr_get(&r, attr);
	call->open.stamp = reply->stamp;
	data = wire_get_string(&r, &len, FETCH_MAX);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	call->opened = file_new(call->mount, call->share, call->node, fh, open_flags_to_native(call->open.flags));
	if (!call->opened) {
		file_release_handle(call->share, fh);
		call_reply_err(call, ENOMEM);
		return;
	}
	open_keep_fetched(call->opened, data, len, attr, reply->stamp);
	if (!call->open.retry && open_name_in_doubt(call->node, attr))
		open_check_name(call);
	else
		open_reply(call);
}

/* How much of the file to ask for at once: all of a small one that the kernel has no pages of. */
static uint32_t open_want(const struct node *n, int flags)
{
	if ((flags & O_ACCMODE) != O_RDONLY || !(n->flags & NODE_HAS_TOLD) || n->told.size > FETCH_MAX)
		return 0;
	if (node_has_data_of_told(n) && !(n->flags & NODE_RACY))
		return 0;
	return FETCH_MAX;
}

static void open_send(struct call *call, uint64_t server)
{
	struct wire_buf *b = call_begin_modifying(call, NATIVE_OPEN);

	wire_put_u64(b, server);
	wire_put_u32(b, open_flags_to_native(call->open.flags));
	wire_put_u32(b, open_want(call->node, call->open.flags));
	call_send(call, open_done);
}

static void open_issue(struct call *call)
{
	if (call->opened)
		file_close(call->opened); /* of a server that has gone */
	call->opened = NULL;
	if (call_wait_writes(call, call->node, open_issue))
		return;
	call->open.server = 0;
	open_send(call, call->node->server);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, open_issue);

	if (!call)
		return;
	call->open.flags = fi->flags & ~(O_CREAT | O_EXCL);
	call->open.retry = second_walk_take_end(call);
	call_start(call);
}

void call_reply_created(struct call *call, struct node *n, uint64_t fh, const struct sftp_attr *attr)
{
	struct fuse_entry_param e = {.ino = n->id, .attr_timeout = MOUNT_KEEP_S, .entry_timeout = MOUNT_KEEP_S};
	struct fuse_file_info fi = {.flags = call->make.flags & NATIVE_O_WRITE ? O_RDWR : O_RDONLY};
	struct mount *m = call->mount;
	struct file *f = call->req ? file_new(m, call->share, n, fh, call->make.flags) : NULL;

	if (!f) {
		file_release_handle(call->share, fh);
		node_unref(m->nodes, n);
		call_reply_err(call, ENOMEM);
		return;
	}
	attr_to_stat(m, n, attr, &e.attr);
	open_decide(m, n, f, attr, &fi);
	node_tell(n, attr, loop_now_us(m->loop));
	node_told(n);
	if (fuse_reply_create(call->req, &e, &fi) != 0) {
		n->lookups--;
		file_close(f);
	}
	node_unref(m->nodes, n);
	call_free(call);
}

/* ------------------------------------------------------------------------------- opened again, after another agent */

uint64_t file_known(const struct mount *m, uint64_t theirs)
{
	unsigned slot;

	if (!m->reopened || !recall_open(m->recall, theirs, &slot) || !m->reopened[slot])
		return 0;
	return handle_new(m, m->reopened[slot]);
}

uint64_t file_again(struct mount *m, struct node *n, uint64_t theirs)
{
	uint64_t handle = file_known(m, theirs);
	const struct recall_open *was;
	struct file *f;
	unsigned slot;

	was = handle || !m->reopened ? NULL : recall_open(m->recall, theirs, &slot);
	if (!was || was->node != n->id || n->share == NODE_NO_SHARE)
		return handle;
	f = file_new(m, m->shares[n->share], n, 0, was->flags);
	if (!f)
		return 0;
	f->handle = theirs;
	f->again = true;
	f->generation = 0;
	f->lost = recall_is_dirty(m->recall, n->id);
	if (f->lost)
		invalidate_node(m->invalidator, n->id);
	m->reopened[slot] = f;
	return handle_new(m, f);
}

static void reopened(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct file *f = call->reopening;
	uint64_t fh = reply->error ? 0 : wire_get_u64(&r);

	/* Of a caller that was killed the file may have gone; and another call may have been faster. */
	if (!reply->error && (!call->req || !f->again))
		file_release_handle(call->share, fh);
	if (!call->req) {
		call_free(call);
		return;
	}
	if (f->again && reply->error) {
		call_reply_err(call, ESTALE);
		return;
	}
	if (f->again) {
		f->fh = fh;
		f->generation = call->share->generation;
		f->again = false;
	}
	call_start(call);
}

void file_reopen(struct call *call, struct file *f)
{
	struct wire_buf *b = call_begin_modifying(call, NATIVE_OPEN);

	call->reopening = f;
	wire_put_u64(b, f->node->server);
	wire_put_u32(b, f->flags);
	wire_put_u32(b, 0);
	call_send(call, reopened);
}

/* ----------------------------------------------------------------------------------------------------------- read */

static void read_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	const uint8_t *data;
	size_t len;

	if (call_reply_failed(call, reply))
		return;
	data = wire_get_string(&r, &len, call->io.size);
	if (!wire_read_done(&r))
		call_reply_malformed(call);
	else
		call_reply_buf(call, data, len);
}

static void read_issue(struct call *call)
{
	struct wire_buf *b;

	/* Written through the same handle: the server keeps the order. */
	if (node_writes(call->node) && write_behind_push(node_writes(call->node)) != call->file &&
	    call_wait_writes(call, call->node, read_issue))
		return;
	b = call_begin(call, NATIVE_READ);
	wire_put_u64(b, call->file->fh);
	wire_put_u64(b, call->io.offset);
	wire_put_u32(b, (uint32_t)call->io.size);
	call_send(call, read_done);
}

/* Answers from what came with OPEN: true. It serves once, and not when it may be older than a write. */
static bool read_fetched(fuse_req_t req, struct mount *m, struct file *f, size_t size, uint64_t off)
{
	size_t left;

	if (!f->fetched)
		return false;
	if (node_writes(f->node) || attr_is_old(f->node, f->fetched_stamp) ||
	    loop_now_us(m->loop) - f->fetched_us > FETCH_KEEP_US || f->generation != f->share->generation ||
	    !version_same(&f->fetched_version, &f->node->told)) {
		fetched_drop(f);
		return false;
	}
	left = off < f->fetched_len ? f->fetched_len - off : 0;
	fuse_reply_buf(req, (const char *)f->fetched + (f->fetched_len - left), size < left ? size : left);
	if (size >= left)
		fetched_drop(f);
	return true;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = fuse_req_userdata(req);
	struct file *f = file_of(fi);
	struct call *call;

	open_order_done(f);
	if (f->share->writable) /* else access times stay */
		attr_memory_was_read(&m->attrs, f->node->id);
	if (read_fetched(req, m, f, size, (uint64_t)off))
		return;
	call = call_new(req, ino, read_issue);
	if (!call)
		return;
	call->file = f;
	call->io.size = size < SFTP_DATA_MAX ? size : SFTP_DATA_MAX;
	call->io.offset = (uint64_t)off;
	call_start(call);
}

/* ----------------------------------------------------------------------------------------- flush, fsync, release */

int file_error(struct file *f)
{
	if (f->lost) {
		f->lost = false;
		return EIO;
	}
	return node_writes(f->node) ? write_behind_take_error(node_writes(f->node), &f->errors_seen) : 0;
}

static void flush_unlocked(struct call *call, const struct sftp_reply *reply)
{
	(void)reply;
	/* Of a caller that was killed the file may have gone. */
	call_reply_err(call, call->req ? file_error(call->file) : 0);
}

static void flush_issue(struct call *call)
{
	if (call_wait_writes(call, call->node, flush_issue))
		call_watch_caller(call);
	else if (!locks_flush(call, flush_unlocked))
		call_reply_err(call, call->req ? file_error(call->file) : 0);
}

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);
	struct call *call;

	if (!f->lost && !node_writes(f->node) && !locks_held(fuse_req_userdata(req), f, fi->lock_owner)) {
		fuse_reply_err(req, 0);
		return;
	}
	call = call_new(req, ino, flush_issue);
	if (!call)
		return;
	call->local = true;
	call->file = f;
	call->lock.lock.owner = fi->lock_owner;
	flush_issue(call);
}

static void fsync_done(struct call *call, const struct sftp_reply *reply)
{
	/* Of a caller that was killed the file may have gone. */
	int error = call->req ? file_error(call->file) : 0;

	call_reply_err(call, error ? error : reply->error);
}

static void fsync_issue(struct call *call)
{
	struct wire_buf *b;
	int error;

	if (call_wait_writes(call, call->node, fsync_issue))
		return;
	error = file_error(call->file);
	if (error) {
		call_reply_err(call, error);
		return;
	}
	b = call_begin(call, NATIVE_FSYNC);
	wire_put_u64(b, call->file->fh);
	wire_put_u8(b, call->sync.data_only);
	call_send(call, fsync_done);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, fsync_issue);

	if (!call)
		return;
	call->file = file_of(fi);
	call->sync.data_only = data_only;
	call_start(call);
}

static void release_issue(struct call *call)
{
	if (call_wait_writes(call, call->node, release_issue))
		return;
	file_close(call->file);
	call_reply_err(call, 0);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *f = file_of(fi);
	struct call *call;

	if (!node_writes(f->node)) {
		file_close(f);
		fuse_reply_err(req, 0);
		return;
	}
	call = call_new(req, ino, release_issue);
	if (!call)
		return;
	call->local = true;
	call->file = f;
	release_issue(call);
}
