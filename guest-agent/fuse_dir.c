/* SPDX-License-Identifier: MIT */
/*
 * Requests about open directories: opendir, readdir, readdirplus, releasedir, fsyncdir.
 *
 * Theory of operation
 *
 * A listing comes from the host in batches of DIR_BATCH bytes, most of them larger than what the kernel asks for at a
 * time. The first batch comes with OPENDIR's answer, the next is asked for as soon as one is used up, so that it is
 * under way while the caller looks at the last. A batch is served from where the last answer ended (the host's cookie
 * of the last entry); a caller that seeks elsewhere, or that is slower than a second, makes it be asked for anew.
 *
 * Entries come with nodes and attributes, each counted as a lookup by the server: those that the kernel is not given
 * are given back. Attributes that may be older than a write of ours are left out, and the kernel looks the name up.
 *
 * Names of nested shares hide the host's of the same name, and are listed after the host's, under cookies of ours.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_call.h"
#include "fuse_ops.h"
#include "loop.h"

#define DIR_BATCH   (64u << 10)
#define DIR_KEEP_US 1000000u
/* Above what file systems use: ext4's cookies have 63 bits, but end at 0x7fffffff in the upper half. */
#define OURS_COOKIE 0x7ffffffffff00000u
#define OURS_DOTS   2u /* ".", ".." of a directory that is ours alone */

struct dir {
	LIST_ENTRY(dir) link;
	struct node *node;
	struct share *share; /* NULL: a directory of ours */
	uint64_t fh;
	uint32_t generation;
	bool plus;   /* what the kernel asked for last */
	bool closed; /* freed when the batch under way arrives */
	bool fetching;
	struct call_list waiting; /* calls that need the batch under way */

	/* The batch: entries that were not served yet. */
	uint8_t *data;
	struct wire_reader entries;
	uint32_t left;
	uint64_t cookie; /* where the next of them goes on from */
	bool end;        /* nothing follows the batch */
	bool known;      /* there is a batch, even if used up */
	bool batch_plus;
	int error;
	uint64_t stamp, fetched_us;
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct dir *)(uintptr_t)fi->fh;
}

static bool dir_attached(const struct dir *d)
{
	return d->share && share_attached(d->share) && d->generation == d->share->generation;
}

static void entry_give_back(struct dir *d, const struct sftp_entry *e)
{
	if (e->flags & NATIVE_ENTRY_NODE && dir_attached(d))
		share_forget(d->share, e->node, 1);
}

static void batch_drop(struct dir *d)
{
	struct sftp_entry e;

	for (; d->left; d->left--) {
		sftp_entry_get(&d->entries, &e);
		entry_give_back(d, &e);
	}
	free(d->data);
	d->data = NULL;
	d->known = d->end = false;
	d->error = 0;
}

void dir_free(struct mount *m, struct dir *d)
{
	batch_drop(d);
	LIST_REMOVE(d, link);
	node_unref(m->nodes, d->node);
	free(d);
}

/* ------------------------------------------------------------------------------------------------------- fetching */

static void dir_serve(struct call *call);

/* Every entry is whole and its name is one: checked once, when the batch arrives. */
static bool batch_valid(struct wire_reader r, uint32_t count)
{
	struct sftp_entry e;

	while (count--) {
		sftp_entry_get(&r, &e);
		if (r.bad || !e.name_len || e.name_len > SFTP_NAME_MAX || memchr(e.name, '/', e.name_len) ||
		    memchr(e.name, '\0', e.name_len))
			return false;
	}
	return wire_read_done(&r);
}

static int batch_take(struct dir *d, struct wire_reader r, uint64_t stamp)
{
	bool end = wire_get_u8(&r);
	uint32_t count = wire_get_u32(&r);

	if (r.bad || !batch_valid(r, count))
		return EIO;
	d->known = true;
	d->data = malloc(r.left ? r.left : 1);
	if (!d->data)
		return ENOMEM;
	memcpy(d->data, r.at, r.left);
	d->entries = wire_reader(d->data, r.left);
	d->left = count;
	d->end = end;
	d->stamp = stamp;
	d->fetched_us = loop_now_us(d->share->mount->loop);
	return 0;
}

static void fetch_done(void *ctx, const struct sftp_reply *reply)
{
	struct dir *d = ctx;
	struct mount *m = d->share->mount;
	struct call_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct call *call;

	d->fetching = false;
	d->known = true;
	d->error = reply->lost ? ESTALE : reply->error;
	if (!d->error)
		d->error = batch_take(d, reply->body, reply->stamp);
	if (!d->left)
		d->end = true;
	if (d->closed) {
		dir_free(m, d);
		return;
	}
	TAILQ_CONCAT(&waiting, &d->waiting, waiting);
	while ((call = TAILQ_FIRST(&waiting))) {
		TAILQ_REMOVE(&waiting, call, waiting);
		call->state = CALL_NEW;
		dir_serve(call);
	}
}

/* Asks for the batch that follows the cookie. False: it cannot be asked for. */
static bool dir_fetch(struct dir *d, uint64_t cookie)
{
	struct wire_buf *b;

	if (!dir_attached(d))
		return false;
	batch_drop(d);
	b = sftp_client_begin(d->share->client, NATIVE_READDIR);
	wire_put_u64(b, d->fh);
	wire_put_u64(b, cookie);
	wire_put_u32(b, DIR_BATCH);
	wire_put_u8(b, d->plus ? NATIVE_READDIR_PLUS : 0);
	d->fetching = sftp_client_end(d->share->client, fetch_done, d);
	d->cookie = cookie;
	d->batch_plus = d->plus;
	return d->fetching;
}

/* -------------------------------------------------------------------------------------------------------- serving */

struct listing {
	struct call *call;
	char *buf;
	size_t len, size;
};

/* Adds an entry; false: it does not fit any more. */
static bool list_add(struct listing *l, const char *name, const struct fuse_entry_param *e, uint64_t cookie)
{
	char *at = l->buf + l->len;
	size_t room = l->size - l->len, need;

	if (l->call->io.plus)
		need = fuse_add_direntry_plus(l->call->req, at, room, name, e, (off_t)cookie);
	else
		need = fuse_add_direntry(l->call->req, at, room, name, &e->attr, (off_t)cookie);
	if (need > room)
		return false;
	l->len += need;
	return true;
}

static bool is_dots(const struct sftp_entry *e)
{
	return e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
}

/* The kernel is given the entry with its node; it counts that as a lookup, unless the entry did not fit. */
static bool list_entry_plus(struct listing *l, struct dir *d, const struct sftp_entry *e, const char *name)
{
	struct mount *m = l->call->mount;
	struct fuse_entry_param out = {.attr_timeout = MOUNT_KEEP_S, .entry_timeout = MOUNT_KEEP_S};
	struct node *n = node_found(m->nodes, d->node, name, e->name_len, e->node, d->generation, &e->attr);
	bool fits;

	if (!n)
		return false;
	if (!n->graft && n->flags & NODE_IS_DIR)
		n->graft = graft_child(d->node->graft, name, e->name_len);
	attr_to_stat(m, n, &e->attr, &out.attr);
	if (!attr_is_old(n, d->stamp))
		out.ino = n->id;
	fits = list_add(l, name, &out, e->cookie);
	if (fits && out.ino) {
		node_tell(n, &e->attr);
		node_told(n);
	}
	if (!fits)
		n->given--; /* it is looked at again, and found again */
	node_unref(m->nodes, n);
	return fits;
}

static bool list_entry(struct listing *l, struct dir *d, const struct sftp_entry *e)
{
	struct fuse_entry_param out = {.attr.st_mode = DTTOIF(e->type),
				       .attr.st_ino = idmap_ino_to_guest(d->node->share, 0, e->ino)};
	char name[SFTP_NAME_MAX + 1];

	memcpy(name, e->name, e->name_len);
	name[e->name_len] = '\0';
	if (graft_child(d->node->graft, name, e->name_len)) {
		entry_give_back(d, e);
		return true;
	}
	if (e->flags & NATIVE_ENTRY_NODE && l->call->io.plus && !is_dots(e))
		return list_entry_plus(l, d, e, name);
	if (e->flags & NATIVE_ENTRY_NODE)
		out.attr.st_ino = idmap_ino_to_guest(d->node->share, e->attr.dev, e->attr.ino);
	if (!list_add(l, name, &out, e->cookie))
		return false;
	entry_give_back(d, e);
	return true;
}

/* Entries of the batch, as many as fit. */
static void list_batch(struct listing *l, struct dir *d)
{
	while (d->left) {
		struct wire_reader before = d->entries;
		struct sftp_entry e;

		sftp_entry_get(&d->entries, &e);
		if (!list_entry(l, d, &e)) {
			d->entries = before;
			return;
		}
		d->left--;
		d->cookie = e.cookie;
	}
}

/* Names of ours: the dots where the directory is ours alone, then the nested shares. */
static void list_ours(struct listing *l, struct dir *d, uint64_t from)
{
	static const char *const dots[OURS_DOTS] = {".", ".."};
	uint64_t index = from >= OURS_COOKIE ? from - OURS_COOKIE : 0;
	const struct graft *g = d->node->graft ? d->node->graft->children : NULL;

	for (uint64_t i = 0; i < OURS_DOTS; i++) {
		struct fuse_entry_param e = {.attr.st_mode = S_IFDIR, .attr.st_ino = d->node->id};

		if (i >= index && !d->share && !list_add(l, dots[i], &e, OURS_COOKIE + i + 1))
			return;
	}
	for (uint64_t i = OURS_DOTS; g; g = g->next, i++) {
		struct fuse_entry_param e = {.attr.st_mode = S_IFDIR, .attr.st_ino = OURS_COOKIE + i};

		if (i >= index && !list_add(l, g->name, &e, OURS_COOKIE + i + 1))
			return;
	}
}

/* Fills the listing; false: the batch for it has to come first (and was asked for). */
static bool dir_list(struct listing *l, struct dir *d, uint64_t from)
{
	bool old;

	if (!d->share || from >= OURS_COOKIE) {
		list_ours(l, d, from);
		return true;
	}
	old = d->known && loop_now_us(l->call->mount->loop) - d->fetched_us > DIR_KEEP_US;
	if (!d->known || d->cookie != from || (old && !d->error))
		return false;
	if (d->error)
		return true;
	list_batch(l, d);
	if (!d->left && d->end)
		list_ours(l, d, l->len ? OURS_COOKIE : 0);
	return true;
}

static void dir_wait(struct call *call, struct dir *d)
{
	TAILQ_INSERT_TAIL(&d->waiting, call, waiting);
	call->waits_in = &d->waiting;
	call->state = CALL_LISTING;
}

static void dir_serve(struct call *call)
{
	struct dir *d = call->dir;
	struct listing l = {.call = call, .size = call->io.size};
	int error = 0;

	if (d->fetching) {
		dir_wait(call, d);
		return;
	}
	l.buf = malloc(l.size);
	if (!l.buf) {
		call_reply_err(call, ENOMEM);
		return;
	}
	if (!dir_list(&l, d, call->io.offset)) {
		free(l.buf);
		if (dir_fetch(d, call->io.offset))
			dir_wait(call, d);
		else
			call_reply_err(call, dir_attached(d) ? ENOMEM : ESTALE);
		return;
	}
	if (d->error) {
		error = d->error;
		batch_drop(d);
	}
	if (error)
		call_reply_err(call, error);
	else
		call_reply_buf(call, l.buf, l.len);
	free(l.buf);
	if (d->known && !d->left && !d->end)
		dir_fetch(d, d->cookie);
}

static void list_start(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct dir *d, bool plus)
{
	struct call *call = call_new(req, ino, dir_serve);

	if (!call)
		return;
	call->dir = d;
	call->io.size = size;
	call->io.offset = (uint64_t)off;
	call->io.plus = plus;
	d->plus = plus;
	dir_serve(call);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	list_start(req, ino, size, off, dir_of(fi), false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	list_start(req, ino, size, off, dir_of(fi), true);
}

/* ---------------------------------------------------------------------------------------------- opening and closing */

static struct dir *dir_new(struct mount *m, struct share *s, struct node *n, uint64_t fh)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->node = node_ref(n);
	d->share = s;
	d->fh = fh;
	d->generation = s ? s->generation : 0;
	d->plus = true;
	TAILQ_INIT(&d->waiting);
	LIST_INSERT_HEAD(&m->dirs, d, link);
	return d;
}

static void dir_close(struct mount *m, struct dir *d)
{
	struct wire_buf *b;

	if (dir_attached(d)) {
		b = sftp_client_begin(d->share->client, NATIVE_RELEASE);
		wire_put_u64(b, d->fh);
		sftp_client_end(d->share->client, NULL, NULL);
	}
	if (d->fetching)
		d->closed = true;
	else
		dir_free(m, d);
}

/* Answers with the new directory; `d` is NULL when memory ran out. */
static void opendir_reply(struct call *call, struct dir *d)
{
	struct mount *m = call->mount;
	struct fuse_file_info fi = {0};

	if (!d) {
		call_reply_err(call, ENOMEM);
		return;
	}
	fi.fh = (uint64_t)(uintptr_t)d;
	if (!call->req || fuse_reply_open(call->req, &fi) != 0)
		dir_close(m, d);
	call_free(call);
}

/* The first entries come with the answer; where none did, READDIR says why. */
static void opendir_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;
	struct dir *d;
	uint64_t fh;

	if (reply->error) {
		call_reply_err(call, reply->error);
		return;
	}
	fh = wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
	if (r.bad) {
		call_reply_malformed(call);
		return;
	}
	d = dir_new(call->mount, call->share, call->node, fh);
	if (d) {
		d->batch_plus = true;
		if (batch_take(d, r, reply->stamp) != 0 || (!d->left && !d->end))
			batch_drop(d);
	}
	opendir_reply(call, d);
}

static void opendir_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_OPENDIR);

	wire_put_u64(b, call->node->server);
	wire_put_u32(b, DIR_BATCH);
	wire_put_u8(b, NATIVE_READDIR_PLUS);
	call_send(call, opendir_done);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, opendir_issue);

	(void)fi;
	if (!call)
		return;
	if (call->share)
		call_start(call);
	else
		opendir_reply(call, dir_new(call->mount, NULL, call->node, 0));
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	dir_close(fuse_req_userdata(req), dir_of(fi));
	fuse_reply_err(req, 0);
}

static void fsyncdir_done(struct call *call, const struct sftp_reply *reply)
{
	call_reply_err(call, reply->error);
}

static void fsyncdir_issue(struct call *call)
{
	struct wire_buf *b;

	if (!dir_attached(call->dir)) {
		call_reply_err(call, ESTALE);
		return;
	}
	b = call_begin(call, NATIVE_FSYNC);
	wire_put_u64(b, call->dir->fh);
	wire_put_u8(b, call->sync.data_only);
	call_send(call, fsyncdir_done);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, fsyncdir_issue);

	if (!call)
		return;
	call->dir = dir_of(fi);
	call->sync.data_only = data_only;
	call_start(call);
}
