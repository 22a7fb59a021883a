/* SPDX-License-Identifier: MIT */
/*
 * Requests about open directories: opendir, readdir, readdirplus, releasedir, fsyncdir.
 *
 * Theory of operation
 *
 * What a directory holds comes from the host in listings (dir_listing.h) of DIR_BATCH bytes, most of them larger than
 * what the kernel asks for at a time. The first comes with OPENDIR's answer, or is remembered: then the host is not
 * asked at all, and the handle there is opened only if it is needed later. The next is asked for as soon as one is used
 * up, so that it is under way while the caller looks at the last. A listing is served from where the last answer ended
 * (the host's cookie of the last entry); a caller that seeks elsewhere, or back to the beginning after a second, makes
 * it be asked for anew. The kernel keeps a listing that is whole, for as long as we remember it.
 *
 * Entries are told with nodes and attributes while these are fresh. Later, or where they may be older than a write of
 * ours, they are left out, and the kernel looks the name up.
 *
 * Names of nested shares hide the host's of the same name, and are listed after the host's, under cookies of ours.
 */
#include "fuse_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dir_listing.h"
#include "fuse_call.h"
#include "fuse_ops.h"
#include "fuse_stale.h"
#include "lookahead.h"
#include "loop.h"

/* Above what file systems use: ext4's cookies have 63 bits, but end at 0x7fffffff in the upper half. */
#define OURS_COOKIE 0x7ffffffffff00000u
#define OURS_DOTS   2u /* ".", ".." of a directory that is ours alone */

struct dir {
	LIST_ENTRY(dir) link;
	struct node *node;
	struct share *share; /* NULL: a directory of ours */
	uint64_t fh;         /* 0: not opened on the host */
	uint64_t theirs;     /* the handle under which an earlier agent opened it; 0: we did */
	uint32_t generation;
	bool plus;   /* what the kernel asked for last */
	bool closed; /* freed when what is under way arrives */
	bool fetching;
	struct call_list waiting; /* calls that need what is under way */

	struct listing *listing; /* being served; NULL: none is there */
	uint32_t next;           /* of its entries, not served yet */
	uint64_t cookie;         /* where that one goes on from */
	int error;               /* instead of a listing */
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
	return handle_object(fi->fh);
}

static bool dir_attached(const struct dir *d)
{
	return d->share && share_attached(d->share) && d->generation == d->share->generation;
}

static void dir_drop_listing(struct mount *m, struct dir *d)
{
	listing_unref(m->nodes, d->listing);
	d->listing = NULL;
	d->error = 0;
}

static void dir_serve_from(struct dir *d, struct listing *l, uint64_t cookie)
{
	d->listing = l;
	d->next = 0;
	d->cookie = cookie;
}

static bool dir_used_up(const struct dir *d)
{
	return d->listing && d->next == d->listing->count;
}

void dir_free(struct mount *m, struct dir *d)
{
	dir_drop_listing(m, d);
	LIST_REMOVE(d, link);
	node_unref(m->nodes, d->node);
	free(d);
}

/* ------------------------------------------------------------------------------------------------------- fetching */

static void dir_serve(struct call *call);

void dir_listing_ask(struct share *s, const struct node *dir, uint32_t want, uint8_t flags)
{
	struct wire_buf *b = sftp_client_begin(s->client, NATIVE_OPENDIR);

	wire_put_u64(b, dir->server);
	wire_put_u32(b, want);
	wire_put_u8(b, flags);
}

/* The entries of an answer, from `end` on. NULL, and *error is set. */
static struct listing *listing_take(struct mount *m, struct node *dir, struct listing_told *told, struct wire_reader r,
				    int *error)
{
	struct listing *l;
	int rc;

	told->now_us = loop_now_us(m->loop);
	told->end = wire_get_u8(&r);
	told->count = wire_get_u32(&r);
	rc = listing_new(m->nodes, dir, told, r, &l);
	if (rc < 0)
		*error = rc == -ENOMEM ? ENOMEM : EIO;
	return rc < 0 ? NULL : l;
}

struct listing *dir_listing_take(struct mount *m, struct node *dir, uint32_t generation, const struct sftp_reply *reply,
				 bool plus, uint64_t *fh)
{
	struct listing_told told = {.generation = generation, .stamp = reply->stamp, .begins = true, .plus = plus};
	struct wire_reader r = reply->body;
	struct sftp_attr attr;
	int error;

	*fh = wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
	told.folds = attr.flags & SFTP_ATTR_FOLDS;
	return r.bad ? NULL : listing_take(m, dir, &told, r, &error);
}

/* What was asked for is there, or will not come: those who wait are served. */
static void fetched(struct dir *d)
{
	struct call_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct call *call;

	d->fetching = false;
	if (d->closed) {
		dir_free(d->share->mount, d);
		return;
	}
	TAILQ_CONCAT(&waiting, &d->waiting, waiting);
	while ((call = TAILQ_FIRST(&waiting))) {
		TAILQ_REMOVE(&waiting, call, waiting);
		call->state = CALL_NEW;
		dir_serve(call);
	}
}

/* A folder that is gone has nothing to be listed (getdents(2)); one of a lost server may be there all the same. */
static int reply_error(const struct sftp_reply *reply)
{
	if (reply->lost)
		return ESTALE;
	return reply->error == ESTALE ? ENOENT : reply->error;
}

static void fetch_done(void *ctx, const struct sftp_reply *reply)
{
	struct dir *d = ctx;
	struct listing_told told = {.generation = d->generation, .stamp = reply->stamp, .plus = d->plus};
	uint64_t cookie = d->cookie;
	struct listing *l = NULL;

	d->error = reply_error(reply);
	if (!d->error)
		l = listing_take(d->share->mount, d->node, &told, reply->body, &d->error);
	/* Nothing more, and no end: it would be asked for without end. */
	if (l && !l->count)
		l->end = true;
	dir_serve_from(d, l, cookie);
	fetched(d);
}

static bool dir_fetch_more(struct dir *d)
{
	struct wire_buf *b = sftp_client_begin(d->share->client, NATIVE_READDIR);

	wire_put_u64(b, d->fh);
	wire_put_u64(b, d->cookie);
	wire_put_u32(b, DIR_BATCH);
	wire_put_u8(b, d->plus ? NATIVE_READDIR_PLUS : 0);
	d->fetching = sftp_client_end(d->share->client, fetch_done, d);
	return d->fetching;
}

static void dir_release(struct dir *d)
{
	struct share *s = d->share;
	struct wire_buf *b;

	if (!s || !d->fh || !dir_attached(d))
		return;
	b = sftp_client_begin(s->client, NATIVE_RELEASE);
	wire_put_u64(b, d->fh);
	sftp_client_end(s->client, NULL, NULL);
}

/* A directory that was opened from memory is opened on the host. */
static void reopen_done(void *ctx, const struct sftp_reply *reply)
{
	struct dir *d = ctx;
	struct wire_reader r = reply->body;

	d->fetching = false;
	d->error = reply_error(reply);
	if (!d->error) {
		d->fh = wire_get_u64(&r);
		d->error = r.bad ? EIO : 0;
	}
	if (d->closed)
		dir_release(d);
	else if (!d->error && !dir_fetch_more(d))
		d->error = ENOMEM;
	if (!d->fetching)
		fetched(d);
}

/* Asks for what follows the cookie. False: it cannot be asked for. */
static bool dir_fetch(struct dir *d, uint64_t cookie)
{
	if (!dir_attached(d))
		return false;
	dir_drop_listing(d->share->mount, d);
	d->cookie = cookie;
	if (d->fh)
		return dir_fetch_more(d);
	dir_listing_ask(d->share, d->node, 0, 0);
	d->fetching = sftp_client_end(d->share->client, reopen_done, d);
	return d->fetching;
}

/* -------------------------------------------------------------------------------------------------------- serving */

/* The answer to a READDIR. */
struct answer {
	struct call *call;
	char *buf;
	size_t len, size;
	uint64_t age_us; /* of the entries */
};

/* Adds an entry; false: it does not fit any more. */
static bool answer_add(struct answer *a, const char *name, const struct fuse_entry_param *e, uint64_t cookie)
{
	char *at = a->buf + a->len;
	size_t room = a->size - a->len, need;

	if (a->call->io.plus)
		need = fuse_add_direntry_plus(a->call->req, at, room, name, e, (off_t)cookie);
	else
		need = fuse_add_direntry(a->call->req, at, room, name, &e->attr, (off_t)cookie);
	if (need > room)
		return false;
	a->len += need;
	return true;
}

/* The kernel is given the entry with its node; it counts that as a lookup. */
static bool answer_add_plus(struct answer *a, const struct dir *d, const struct sftp_entry *e, const char *name,
			    struct node *n)
{
	const struct listing *l = d->listing;
	struct mount *m = a->call->mount;
	struct fuse_entry_param out = {0};

	attr_to_stat(m, n, &e->attr, &out.attr);
	if (a->age_us < LISTING_KEEP_US && !attr_is_outdated(n, l, &e->attr)) {
		out.ino = n->id;
		out.attr_timeout = MOUNT_KEEP_S - (double)a->age_us / 1e6;
		out.entry_timeout = l->stamp < d->share->entries_stamp ? 0 : out.attr_timeout;
	}
	if (!answer_add(a, name, &out, e->cookie))
		return false;
	if (out.ino) {
		node_tell(n, &e->attr, l->fetched_us);
		node_told(n);
	}
	return true;
}

static bool answer_add_entry(struct answer *a, const struct dir *d, uint32_t index)
{
	const struct listing_slot *slot = &d->listing->slots[index];
	struct sftp_entry e = listing_entry(d->listing, index);
	struct fuse_entry_param out = {.attr.st_mode = DTTOIF(e.type),
				       .attr.st_ino = idmap_ino_to_guest(d->node->share, 0, e.ino)};
	char name[SFTP_NAME_MAX + 1];

	if (slot->hidden)
		return true;
	memcpy(name, e.name, e.name_len);
	name[e.name_len] = '\0';
	if (slot->node && a->call->io.plus)
		return answer_add_plus(a, d, &e, name, slot->node);
	if (e.flags & NATIVE_ENTRY_NODE)
		out.attr.st_ino = idmap_ino_to_guest(d->node->share, e.attr.dev, e.attr.ino);
	return answer_add(a, name, &out, e.cookie);
}

/* Entries of the listing, as many as fit. */
static void answer_add_listing(struct answer *a, struct dir *d)
{
	while (!dir_used_up(d)) {
		if (!answer_add_entry(a, d, d->next))
			return;
		d->cookie = listing_entry(d->listing, d->next++).cookie;
	}
}

/* Names of ours: the dots where the directory is ours alone, then the nested shares. */
static void answer_add_ours(struct answer *a, const struct dir *d, uint64_t from)
{
	static const char *const dots[OURS_DOTS] = {".", ".."};
	uint64_t index = from >= OURS_COOKIE ? from - OURS_COOKIE : 0;
	const struct graft *g = node_graft(d->node) ? node_graft(d->node)->children : NULL;

	for (uint64_t i = 0; i < OURS_DOTS; i++) {
		struct fuse_entry_param e = {.attr.st_mode = S_IFDIR, .attr.st_ino = d->node->id};

		if (i >= index && !d->share && !answer_add(a, dots[i], &e, OURS_COOKIE + i + 1))
			return;
	}
	for (uint64_t i = OURS_DOTS; g; g = g->next, i++) {
		struct fuse_entry_param e = {.attr.st_mode = S_IFDIR, .attr.st_ino = OURS_COOKIE + i};

		if (i >= index && !answer_add(a, g->name, &e, OURS_COOKIE + i + 1))
			return;
	}
}

/* Goes to where the caller wants to read on. False: what follows has to come from the host. */
static bool dir_seek(struct dir *d, uint64_t from, uint64_t age_us)
{
	const struct listing *l = d->listing;

	/* From the beginning it is what the directory holds now. */
	if (!l || (from == 0 && age_us >= LISTING_KEEP_US))
		return false;
	if (d->cookie == from)
		return !dir_used_up(d) || l->end;
	if (!l->whole)
		return false;
	for (d->next = 0, d->cookie = 0; d->cookie != from; d->next++) {
		if (dir_used_up(d))
			return false;
		d->cookie = listing_entry(l, d->next).cookie;
	}
	return true;
}

/* Fills the answer; false: what it needs has to come first. */
static bool answer_fill(struct answer *a, struct dir *d, uint64_t from)
{
	if (!d->share || from >= OURS_COOKIE) {
		answer_add_ours(a, d, from);
		return true;
	}
	if (d->error)
		return true;
	if (d->listing)
		a->age_us = loop_now_us(a->call->mount->loop) - d->listing->fetched_us;
	if (!dir_seek(d, from, a->age_us))
		return false;
	answer_add_listing(a, d);
	if (dir_used_up(d) && d->listing->end)
		answer_add_ours(a, d, a->len ? OURS_COOKIE : 0);
	return true;
}

static void dir_wait(struct call *call, struct dir *d)
{
	TAILQ_INSERT_TAIL(&d->waiting, call, waiting);
	call->waits_in = &d->waiting;
	call->state = CALL_QUEUED;
}

static void dir_serve(struct call *call)
{
	struct dir *d = call->dir;
	struct answer a = {.call = call, .size = call->io.size};
	int error;

	if (d->fetching) {
		dir_wait(call, d);
		return;
	}
	a.buf = malloc(a.size);
	if (!a.buf) {
		call_reply_err(call, ENOMEM);
		return;
	}
	if (!answer_fill(&a, d, call->io.offset)) {
		free(a.buf);
		if (dir_fetch(d, call->io.offset))
			dir_wait(call, d);
		else
			call_reply_err(call, dir_attached(d) ? ENOMEM : ESTALE);
		return;
	}
	error = d->error;
	d->error = 0;
	if (error)
		call_reply_err(call, error);
	else
		call_reply_buf(call, a.buf, a.len);
	free(a.buf);
	if (dir_used_up(d) && !d->listing->end)
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
	if (d->theirs && d->share && !call->node->server)
		call_start(call); /* the host may not be there yet, and has to find it again */
	else
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

bool dir_is_from_memory(const struct mount *m, const struct node *n)
{
	struct dir *d;

	LIST_FOREACH(d, &m->dirs, link)
	if (d->node == n && !d->fh)
		return true;
	return false;
}

uint64_t dir_known(const struct mount *m, uint64_t theirs)
{
	struct dir *d;

	LIST_FOREACH(d, &m->dirs, link)
	if (d->theirs == theirs)
		return handle_new(m, d);
	return 0;
}

uint64_t dir_again(struct mount *m, struct node *n, uint64_t theirs)
{
	uint64_t handle = dir_known(m, theirs);
	struct dir *d;

	if (handle)
		return handle;
	d = dir_new(m, n->share == NODE_NO_SHARE ? NULL : m->shares[n->share], n, 0);
	if (!d)
		return 0;
	d->theirs = theirs;
	return handle_new(m, d);
}

static void dir_close(struct mount *m, struct dir *d)
{
	dir_release(d);
	if (d->fetching)
		d->closed = true;
	else
		dir_free(m, d);
}

/* Answers with the new directory; `d` is NULL when memory ran out. */
static void opendir_reply(struct call *call, struct dir *d)
{
	struct mount *m = call->mount;
	struct fuse_file_info fi = {.fh = handle_new(m, d)};
	struct listing *l = d ? d->listing : NULL;

	if (!d) {
		call_reply_err(call, ENOMEM);
		return;
	}
	/* What the kernel holds may be of an earlier listing: it keeps it only where it was told of this one before. */
	fi.cache_readdir = l && l->whole && l->dir;
	fi.keep_cache = fi.cache_readdir && l->in_cache;
	if (fi.cache_readdir)
		l->in_cache = true;
	if (d->share && call->req)
		lookahead_opened(m, call->node);
	if (!call->req || fuse_reply_open(call->req, &fi) != 0)
		dir_close(m, d);
	call_free(call);
}

/* The directory as remembered: true, answered. */
static bool opendir_remembered(struct call *call)
{
	struct mount *m = call->mount;
	struct listing *l = listing_memory_get(&m->listings, call->node, loop_now_us(m->loop));
	struct dir *d;

	if (!l || !l->whole || !l->plus || !listing_is_sound(l) || l->generation != call->share->generation)
		return false;
	d = dir_new(m, call->share, call->node, 0);
	if (d) {
		lookahead_used(m, l);
		dir_serve_from(d, listing_ref(l), 0);
	}
	opendir_reply(call, d);
	return true;
}

/* The first entries come with the answer; where none did, READDIR says why. */
static void opendir_done(struct call *call, const struct sftp_reply *reply)
{
	struct mount *m = call->mount;
	struct listing *l;
	struct dir *d;
	uint64_t fh;

	if (call_reply_failed(call, reply))
		return;
	l = dir_listing_take(m, call->node, call->share->generation, reply, true, &fh);
	d = dir_new(m, call->share, call->node, fh);
	if (d && l && (l->count || l->end)) {
		lookahead_remember(m, call->node, l);
		dir_serve_from(d, listing_ref(l), 0);
	}
	listing_unref(m->nodes, l);
	opendir_reply(call, d);
}

static void opendir_issue(struct call *call)
{
	if (opendir_remembered(call) || lookahead_wait(call, call->node))
		return;
	dir_listing_ask(call->share, call->node, DIR_BATCH, NATIVE_READDIR_PLUS);
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

static void fsyncdir_issue(struct call *call);

static void fsyncdir_opened(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;

	if (reply->error) {
		call_reply_err(call, reply->error);
	} else if (!call->req) {
		/* Its caller was killed, and with it the directory may have gone. The host's handle goes with the
		 * share. */
		call_free(call);
	} else {
		dir_release(call->dir);
		call->dir->fh = wire_get_u64(&r);
		fsyncdir_issue(call);
	}
}

static void fsyncdir_issue(struct call *call)
{
	struct wire_buf *b;

	if (!dir_attached(call->dir)) {
		call_reply_err(call, ESTALE);
		return;
	}
	if (!call->dir->fh) {
		dir_listing_ask(call->share, call->node, 0, 0);
		call_send(call, fsyncdir_opened);
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
