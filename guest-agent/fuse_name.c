/* SPDX-License-Identifier: MIT */
/*
 * Requests about names: lookup and forget; mknod, mkdir, symlink, create; unlink, rmdir, rename, link.
 *
 * Each handler makes a call; `…_issue` builds its request, `…_done` answers the kernel. Names where a nested share
 * lies, or that lead to one, are ours: they are found without asking the host, and cannot be removed, replaced or moved
 * (EBUSY).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fuse_call.h"
#include "fuse_file.h"
#include "fuse_ops.h"
#include "lookahead.h"
#include "loop.h"
#include "second_walk.h"

/* Whether the name below the node belongs to a nested share. */
static bool name_is_ours(const struct node *parent, const char *name)
{
	return graft_child(node_graft(parent), name, strlen(name));
}

/* Refuses to change a name of ours: true, answered. */
static bool refuse_ours(struct call *call, const struct node *parent, const char *name)
{
	if (!name_is_ours(parent, name))
		return false;
	call_reply_err(call, EBUSY);
	return true;
}

/* ---------------------------------------------------------------------------------------------- lookup and forget */

static void lookup_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_attr attr;
	uint64_t server;

	if (reply->error == ESTALE && second_walk_take_lookup(call)) {
		call_reply_err(call, ENOENT); /* the folder has gone since the walk began */
		return;
	}
	if (call_reply_failed(call, reply))
		return;
	lookahead_found(call->node);
	if (!reply_found(reply, &server, &attr))
		call_reply_malformed(call);
	else
		call_reply_found(call, call->node, call->name, server, &attr, reply->stamp);
}

static bool lookup_listed(struct call *call, struct listing *l, uint32_t index)
{
	struct sftp_attr attr = listing_entry(l, index).attr;
	struct node *n = l->slots[index].node;
	struct mount *m = call->mount;

	if (l->generation != call->share->generation || n->flags & NODE_STALE || attr_is_outdated(n, l, &attr))
		return false;
	lookahead_used(m, l);
	lookahead_found(call->node);
	node_ref(n);
	node_set_name(m->nodes, n, call->node, call->name, strlen(call->name));
	call_reply_entry_aged(call, n, &attr, loop_now_us(m->loop) - l->fetched_us);
	return true;
}

/* Answers from the directory's listing: true. */
static bool lookup_remembered(struct call *call)
{
	struct mount *m = call->mount;
	struct listing *l;
	uint32_t index;

	switch (listing_memory_look_up(&m->listings, call->node, call->name, loop_now_us(m->loop), &l, &index)) {
	case LISTING_ABSENT:
		if (!lookahead_believes(m, l))
			break;
		call_reply_err(call, ENOENT);
		return true;
	case LISTING_FOUND:
		return lookup_listed(call, l, index);
	case LISTING_UNKNOWN:
		break;
	}
	return false;
}

static void lookup_issue(struct call *call)
{
	struct wire_buf *b;

	if (!second_walk_by_any(call)) {
		if (lookup_remembered(call))
			return;
		lookahead_asked(call->mount, call->node);
		if (lookahead_wait(call, call->node))
			return;
	}
	b = call_begin(call, NATIVE_LOOKUP);
	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	call_send(call, lookup_done);
}

/* A name on the way to a nested share: the host's directory where it has one, else one of ours. */
static void way_done(struct call *call, const struct sftp_reply *reply)
{
	struct mount *m = call->mount;
	struct sftp_attr attr;
	uint64_t server;
	struct node *n;

	if (!reply->error) {
		if (reply_found(reply, &server, &attr) && S_ISDIR(attr.mode)) {
			call_reply_found(call, call->node, call->name, server, &attr, reply->stamp);
			return;
		}
		share_forget(call->share, server, 1);
	}
	n = mount_synthetic(m, call->node, call->name);
	if (!n) {
		call_reply_err(call, ENOMEM);
		return;
	}
	mount_synthetic_attr(m, n, &attr);
	call_reply_entry(call, node_ref(n), &attr);
}

static void way_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_LOOKUP);

	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	call_send(call, way_done);
}

static void nested_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	if (call_reply_failed(call, reply))
		return;
	sftp_attr_get(&r, &attr);
	if (!wire_read_done(&r))
		call_reply_malformed(call);
	else
		call_reply_entry(call, node_ref(call->node), &attr);
}

static void nested_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_GETATTR);

	wire_put_u64(b, call->node->server);
	wire_put_u64(b, 0);
	call_send(call, nested_done);
}

/* The root of a nested share. While its server is away it is as last told: the way to it and past it stays open. */
static void lookup_nested(struct call *call, struct share *s)
{
	if (s->root_known && !share_attached(s)) {
		call_reply_entry(call, node_ref(s->root), &s->root_attr);
		return;
	}
	/* From here on it is a call to the nested share about its root. */
	node_unref(call->mount->nodes, call->node);
	call->node = node_ref(s->root);
	call->share = s;
	call->issue = nested_issue;
	call_start(call);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *call = call_new(req, parent, lookup_issue);
	const struct graft *ours;
	struct sftp_reply none = {.error = ENOENT};

	if (!call || !call_set_name(call, name))
		return;
	ours = graft_child(node_graft(call->node), name, strlen(name));
	if (ours && ours->share != GRAFT_NO_SHARE) {
		lookup_nested(call, call->mount->shares[ours->share]);
		return;
	}
	if (!call->share) {
		if (ours)
			way_done(call, &none);
		else
			call_reply_err(call, ENOENT);
		return;
	}
	if (ours)
		call->issue = way_issue;
	call_start(call);
}

static void forget_one(struct mount *m, uint64_t ino, uint64_t lookups)
{
	struct node *n = node_by_id(m->nodes, ino);

	if (n)
		node_forget(m->nodes, n, lookups);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	forget_one(fuse_req_userdata(req), ino, lookups);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget_one(fuse_req_userdata(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---------------------------------------------------------------------------------------------- what makes a name */

/* A name of the directory means something else now. */
static void dir_changed(struct call *call, struct node *dir, const char *name, const struct sftp_change *change,
			uint64_t stamp)
{
	listing_memory_doubt(&call->mount->listings, dir, name);
	call_changed(call, dir, change, stamp);
}

/* The reply of SYMLINK, MKDIR, MKNOD and LINK. call->other is the parent of a LINK. */
static void made_done(struct call *call, const struct sftp_reply *reply)
{
	struct node *parent = call->other ? call->other : call->node;
	const char *name = call->other ? call->other_name : call->name;
	struct wire_reader r = reply->body;
	struct sftp_change change;
	struct sftp_attr attr;
	uint64_t server;

	if (call_reply_failed(call, reply))
		return;
	server = wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
	sftp_change_get(&r, &change);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	dir_changed(call, parent, name, &change, reply->stamp);
	lookahead_made(call->mount, parent);
	/* These attributes were read after the change: they cannot be older than it. */
	call_reply_found(call, parent, name, server, &attr, reply->stamp + 1);
}

/* A call that makes `name` below parent; NULL: answered. */
static struct call *make_call(fuse_req_t req, fuse_ino_t parent, const char *name, call_fn *issue)
{
	struct call *call = call_new(req, parent, issue);

	if (!call || !call_set_name(call, name) || refuse_ours(call, call->node, name))
		return NULL;
	return call;
}

static struct wire_buf *make_begin(struct call *call, uint8_t type)
{
	struct wire_buf *b = call_begin_making(call, type);

	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	/* Both before and after: a listing may come between. */
	listing_memory_doubt(&call->mount->listings, call->node, call->name);
	return b;
}

static void mkdir_done(struct call *call, const struct sftp_reply *reply)
{
	call->fresh = !reply->error;
	made_done(call, reply);
}

static void mkdir_issue(struct call *call)
{
	struct wire_buf *b = make_begin(call, NATIVE_MKDIR);

	call_put_mode(call, b);
	call_send(call, mkdir_done);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct call *call = make_call(req, parent, name, mkdir_issue);

	if (!call)
		return;
	call_set_mode(call, mode);
	call_start(call);
}

/* bind(2) walks no path twice: of a folder that is gone it is told so, as locally. */
static void mknod_done(struct call *call, const struct sftp_reply *reply)
{
	if (reply->error == ESTALE && S_ISSOCK(call->make.mode))
		call_reply_err(call, ENOENT);
	else
		made_done(call, reply);
}

static void mknod_issue(struct call *call)
{
	struct wire_buf *b = make_begin(call, NATIVE_MKNOD);

	call_put_mode(call, b);
	wire_put_u32(b, major(call->make.rdev));
	wire_put_u32(b, minor(call->make.rdev));
	call_send(call, mknod_done);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct call *call = make_call(req, parent, name, mknod_issue);

	if (!call)
		return;
	call->make.rdev = rdev;
	call_set_mode(call, mode);
	call_start(call);
}

static void symlink_issue(struct call *call)
{
	struct wire_buf *b = make_begin(call, NATIVE_SYMLINK);

	wire_put_cstring(b, call->other_name);
	call_send(call, made_done);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct call *call = make_call(req, parent, name, symlink_issue);

	if (!call)
		return;
	call->other_name = strdup(target);
	if (call->other_name)
		call_start(call);
	else
		call_reply_err(call, ENOMEM);
}

static void link_issue(struct call *call)
{
	struct wire_buf *b;

	attr_memory_drop(&call->mount->attrs, call->node->id);
	if (call_wait_writes(call, call->node, link_issue))
		return;
	listing_memory_doubt(&call->mount->listings, call->other, call->other_name);
	b = call_begin_modifying(call, NATIVE_LINK);
	wire_put_u64(b, call->node->server);
	wire_put_u64(b, call->other->server);
	wire_put_cstring(b, call->other_name);
	call_send(call, made_done);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct call *call = call_new(req, ino, link_issue);

	if (!call || !call_set_other(call, parent) || !call_set_other_name(call, name) ||
	    refuse_ours(call, call->other, name))
		return;
	call_start(call);
}

/* --------------------------------------------------------------------------------------------------------- create */

static void create_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct mount *m = call->mount;
	struct sftp_change change;
	struct sftp_attr attr;
	uint64_t server, fh;
	struct node *n;

	if (call_reply_failed(call, reply))
		return;
	server = wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
	fh = wire_get_u64(&r);
	sftp_change_get(&r, &change);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	dir_changed(call, call->node, call->name, &change, reply->stamp);
	lookahead_made(m, call->node);
	n = node_found(m->nodes, call->node, call->name, strlen(call->name), server, &attr);
	if (n)
		call_reply_created(call, n, fh, &attr);
	else
		call_reply_err(call, ENOMEM);
}

static void create_issue(struct call *call)
{
	struct wire_buf *b = make_begin(call, NATIVE_CREATE);

	wire_put_u32(b, call->make.flags);
	call_put_mode(call, b);
	call_send(call, create_done);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct mount *m = fuse_req_userdata(req);
	struct call *call;

	if (m->raw == RAW_TMPFILE) {
		op_tmpfile(req, parent, mode, fi);
		return;
	}
	call = make_call(req, parent, name, create_issue);
	if (!call)
		return;
	call->make.flags = open_flags_to_native(fi->flags);
	call_set_mode(call, mode);
	call_start(call);
}

/* ------------------------------------------------------------------------------------- what removes or moves names */

/* The node's ctime, and maybe its link count, are others now. NULL is fine. */
static void node_touched(struct mount *m, struct node *n, uint64_t stamp)
{
	if (!n)
		return;
	node_outdated(n, stamp + 1);
	attr_memory_drop(&m->attrs, n->id);
}

/* What lost the call's name, as far as it is known: one link less, or none. */
static void name_gone(struct call *call, uint64_t stamp)
{
	struct node *n = node_by_name(call->mount->nodes, call->node, call->name, strlen(call->name));

	node_touched(call->mount, n, stamp);
}

static void unlink_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_change change;
	struct sftp_attr attr;

	if (call_reply_failed(call, reply))
		return;
	sftp_change_get(&r, &change);
	if (wire_get_u8(&r))
		sftp_attr_get(&r, &attr);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	dir_changed(call, call->node, call->name, &change, reply->stamp);
	name_gone(call, reply->stamp);
	call_reply_err(call, 0);
}

static void unlink_issue(struct call *call)
{
	make_begin(call, NATIVE_UNLINK);
	call_send(call, unlink_done);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *call = make_call(req, parent, name, unlink_issue);

	if (call)
		call_start(call);
}

static void rmdir_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_change change;

	if (call_reply_failed(call, reply))
		return;
	sftp_change_get(&r, &change);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	dir_changed(call, call->node, call->name, &change, reply->stamp);
	name_gone(call, reply->stamp);
	call_reply_err(call, 0);
}

static void rmdir_issue(struct call *call)
{
	make_begin(call, NATIVE_RMDIR);
	call_send(call, rmdir_done);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call *call = make_call(req, parent, name, rmdir_issue);

	if (call)
		call_start(call);
}

/* The nodes follow their names, so that they are found again by them. */
static void names_moved(struct call *call, uint64_t stamp)
{
	struct node_table *t = call->mount->nodes;
	struct node *from = node_by_name(t, call->node, call->name, strlen(call->name));
	struct node *to = node_by_name(t, call->other, call->other_name, strlen(call->other_name));

	node_touched(call->mount, to, stamp);
	node_touched(call->mount, from, stamp);
	if (from)
		node_ref(from);
	if (to && call->make.flags & NATIVE_RENAME_EXCHANGE)
		node_set_name(t, to, call->node, call->name, strlen(call->name));
	if (from)
		node_set_name(t, from, call->other, call->other_name, strlen(call->other_name));
	node_unref(t, from);
}

static void rename_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_change from, to;

	if (call_reply_failed(call, reply))
		return;
	sftp_change_get(&r, &from);
	sftp_change_get(&r, &to);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	dir_changed(call, call->node, call->name, &from, reply->stamp);
	dir_changed(call, call->other, call->other_name, &to, reply->stamp);
	names_moved(call, reply->stamp);
	call_reply_err(call, 0);
}

/* A name that shows new content after the rename must have all of it on the host. */
static void rename_issue(struct call *call)
{
	struct node *n = node_by_name(call->mount->nodes, call->node, call->name, strlen(call->name));
	struct wire_buf *b;

	if (n && call_wait_writes(call, n, rename_issue))
		return;
	listing_memory_doubt(&call->mount->listings, call->other, call->other_name);
	b = make_begin(call, NATIVE_RENAME);
	wire_put_u64(b, call->other->server);
	wire_put_cstring(b, call->other_name);
	wire_put_u32(b, call->make.flags);
	call_send(call, rename_done);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *to_name,
	       unsigned int flags)
{
	struct call *call = make_call(req, parent, name, rename_issue);

	if (!call || !call_set_other(call, to) || !call_set_other_name(call, to_name) ||
	    refuse_ours(call, call->other, to_name))
		return;
	if (flags & ~(unsigned int)NATIVE_RENAME_ALL) {
		call_reply_err(call, EINVAL);
		return;
	}
	call->make.flags = flags;
	call_start(call);
}
