/* SPDX-License-Identifier: MIT */
/*
 * Requests about attributes: getattr, setattr, readlink, statfs. The root's attributes and statfs are answered from
 * memory while a share has no server or the link is down (those that wait for the host then, too), so that a shell's
 * prompt in the mount works whatever happens to the host.
 */
#include <errno.h>
#include <string.h>

#include "fuse_call.h"
#include "fuse_ops.h"
#include "fuse_stale.h"
#include "loop.h"
#include "second_walk.h"

/* -------------------------------------------------------------------------------------------------------- getattr */

static void named_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_attr attr;
	uint64_t server;

	if (call_reply_failed(call, reply))
		return;
	if (!reply_found(reply, &server, &attr)) {
		call_reply_malformed(call);
		return;
	}
	share_forget(call->share, server, 1);
	if (call->node->flags & NODE_IS_DIR ? !S_ISDIR(attr.mode) : !S_ISREG(attr.mode)) {
		call_reply_err(call, ESTALE);
		return;
	}
	if (call->req) {
		call_answer_attr(call, call->node, &attr, 0);
		node_untold(call->node, false);
	}
	call_free(call);
}

/*
 * The kernel has walked the path a second time and asks for what it found: to see who may open it, say. Replaced once
 * more since: it would not look again, so what the name means by now is told in its place, as OPEN does. Nor does it
 * for opendir(3), which looks at what it has opened: and that was from memory.
 */
static bool getattr_by_name(struct call *call)
{
	const struct node *n = call->node;
	struct wire_buf *b;

	if (!call->req || call->file || n->flags & NODE_ROOT || !n->parent || !n->name)
		return false;
	if (n->flags & NODE_IS_DIR ? !dir_is_from_memory(call->mount, n) : !second_walk_by_caller(call))
		return false;
	b = call_begin(call, NATIVE_LOOKUP);
	wire_put_u64(b, n->parent->server);
	wire_put_cstring(b, n->name);
	call_send(call, named_done);
	return true;
}

static void getattr_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	if ((reply->error == ESTALE && getattr_by_name(call)) || call_reply_failed(call, reply))
		return;
	sftp_attr_get(&r, &attr);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	/* Whoever opened it meanwhile may have seen more, and be about to read. */
	attr_memory_later(&call->mount->attrs, call->node->id, loop_now_us(call->mount->loop), ATTR_MEMORY_US, &attr);
	call_reply_attr(call, call->node, &attr);
}

static void getattr_issue(struct call *call)
{
	struct mount *m = call->mount;
	struct sftp_attr attr;
	struct wire_buf *b;
	uint64_t fh, age;

	if (!(node_writes(call->node) && node_writes(call->node)->bytes) &&
	    attr_memory_get(&m->attrs, call->node->id, loop_now_us(m->loop), ATTR_MEMORY_US, &attr, &age) &&
	    !node_told_later(call->node, &attr)) {
		call_reply_attr_aged(call, call->node, &attr, age);
		return;
	}
	if (!call_after_writes(call, getattr_issue, &fh))
		return;
	b = call_begin(call, NATIVE_GETATTR);
	wire_put_u64(b, call->node->server);
	wire_put_u64(b, fh);
	call_send(call, getattr_done);
}

/* Whether it is worth asking: else the answer comes from memory. */
static bool host_answers(const struct call *call)
{
	return share_attached(call->share) && call->mount->linked;
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, getattr_issue);
	struct sftp_attr attr;

	if (!call)
		return;
	call->statx = call->mount->raw == RAW_STATX;
	if (!call->share) {
		mount_synthetic_attr(call->mount, call->node, &attr);
		call_reply_attr(call, call->node, &attr);
		return;
	}
	if (call->node->flags & NODE_ROOT && !host_answers(call)) {
		mount_root_attr(call->mount, call->share, &attr);
		call_reply_attr(call, call->node, &attr);
		return;
	}
	/* The open file's own: also when its last name is gone. One of a lost server is asked for by node. */
	if (fi && (call->node->flags & NODE_IS_DIR) == 0) {
		struct file *f = handle_object(fi->fh);

		call->file = f->generation == call->share->generation ? f : NULL;
	}
	call_start(call);
}

/* -------------------------------------------------------------------------------------------------------- setattr */

static const struct {
	int fuse;
	uint32_t native;
} set_bits[] = {
	{FUSE_SET_ATTR_MODE, NATIVE_SET_MODE},           {FUSE_SET_ATTR_SIZE, NATIVE_SET_SIZE},
	{FUSE_SET_ATTR_ATIME, NATIVE_SET_ATIME},         {FUSE_SET_ATTR_MTIME, NATIVE_SET_MTIME},
	{FUSE_SET_ATTR_ATIME_NOW, NATIVE_SET_ATIME_NOW}, {FUSE_SET_ATTR_MTIME_NOW, NATIVE_SET_MTIME_NOW},
};

/* Owners are decided apart: idmap_chown_to_host(). NOW implies the plain bit for the kernel, not for us. */
static uint32_t set_mask(int to_set)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < sizeof(set_bits) / sizeof(*set_bits); i++)
		if (to_set & set_bits[i].fuse)
			mask |= set_bits[i].native;
	if (mask & NATIVE_SET_ATIME_NOW)
		mask &= ~(uint32_t)NATIVE_SET_ATIME;
	if (mask & NATIVE_SET_MTIME_NOW)
		mask &= ~(uint32_t)NATIVE_SET_MTIME;
	return mask;
}

static void setattr_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_change change;

	if (call_take_change(call, reply, &change))
		call_reply_attr(call, call->node, &change.after);
}

static void put_time(struct wire_buf *b, const struct timespec *ts)
{
	wire_put_i64(b, ts->tv_sec);
	wire_put_u32(b, (uint32_t)ts->tv_nsec);
}

static void setattr_send(struct call *call, uint64_t fh, uint32_t mask, uint32_t uid, uint32_t gid)
{
	const struct stat *st = &call->setattr.st;
	struct wire_buf *b = call_begin_modifying(call, NATIVE_SETATTR);

	attr_memory_drop(&call->mount->attrs, call->node->id);

	wire_put_u64(b, call->node->server);
	wire_put_u64(b, fh);
	wire_put_u32(b, mask);
	wire_put_u32(b, idmap_mode_to_host(st->st_mode));
	wire_put_u32(b, uid);
	wire_put_u32(b, gid);
	wire_put_u64(b, (uint64_t)st->st_size);
	put_time(b, &st->st_atim);
	put_time(b, &st->st_mtim);
	call_send(call, setattr_done);
}

/* What the call wants of owners, as idmap_chown_to_host() returns it. */
static int owners_to_host(const struct call *call, const struct sftp_attr *present, uint32_t *uid, uint32_t *gid)
{
	const struct stat *want = &call->setattr.st;

	return idmap_chown_to_host(&call->share->ids, present,
				   call->setattr.to_set & FUSE_SET_ATTR_UID ? &want->st_uid : NULL,
				   call->setattr.to_set & FUSE_SET_ATTR_GID ? &want->st_gid : NULL, uid, gid);
}

/* The present owner is known: what of the wanted one has to be asked for? */
static void chown_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	uint32_t uid = 0, gid = 0, mask = set_mask(call->setattr.to_set);
	struct sftp_attr attr;
	int owners;

	if (call_reply_failed(call, reply))
		return;
	sftp_attr_get(&r, &attr);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	owners = owners_to_host(call, &attr, &uid, &gid);
	if (owners < 0)
		call_reply_err(call, -owners);
	else if (!(mask | (uint32_t)owners))
		call_reply_attr(call, call->node, &attr);
	else if (!call->req)
		call_free(call); /* its caller was killed before anything was done */
	else
		setattr_send(call, call->file ? call->file->fh : 0, mask | (uint32_t)owners, uid, gid);
}

static void setattr_issue(struct call *call)
{
	bool chown = call->setattr.to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
	uint32_t uid = 0, gid = 0;
	struct wire_buf *b;
	uint64_t fh;
	int owners;

	if (!call_after_writes(call, setattr_issue, &fh))
		return;
	if (!chown || !idmap_chown_needs_present(&call->share->ids)) {
		owners = owners_to_host(call, NULL, &uid, &gid);
		if (owners < 0)
			call_reply_err(call, -owners);
		else
			setattr_send(call, fh, set_mask(call->setattr.to_set) | (uint32_t)owners, uid, gid);
		return;
	}
	b = call_begin(call, NATIVE_GETATTR);
	wire_put_u64(b, call->node->server);
	wire_put_u64(b, fh);
	call_send(call, chown_done);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct call *call = call_new(req, ino, setattr_issue);

	if (!call)
		return;
	call->setattr.st = *st;
	call->setattr.to_set = to_set;
	if (fi)
		call->file = handle_object(fi->fh);
	call_start(call);
}

/* ------------------------------------------------------------------------------------------------------- readlink */

static void readlink_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	char target[SFTP_PATH_MAX + 1];
	const uint8_t *bytes;
	size_t len;

	if (call_reply_failed(call, reply))
		return;
	bytes = wire_get_string(&r, &len, SFTP_PATH_MAX);
	if (!wire_read_done(&r) || memchr(bytes, '\0', len)) {
		call_reply_malformed(call);
		return;
	}
	memcpy(target, bytes, len);
	target[len] = '\0';
	if (call->req)
		fuse_reply_readlink(call->req, target);
	call_free(call);
}

static void readlink_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_READLINK);

	wire_put_u64(b, call->node->server);
	call_send(call, readlink_done);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct call *call = call_new(req, ino, readlink_issue);

	if (call)
		call_start(call);
}

/* --------------------------------------------------------------------------------------------------------- statfs */

static void statfs_reply(struct call *call, const struct statvfs *space)
{
	if (call->req)
		fuse_reply_statfs(call->req, space);
	call_free(call);
}

static void statfs_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct statvfs space = {0};

	if (call_reply_failed(call, reply))
		return;
	space.f_bsize = wire_get_u64(&r);
	space.f_frsize = wire_get_u64(&r);
	space.f_blocks = wire_get_u64(&r);
	space.f_bfree = wire_get_u64(&r);
	space.f_bavail = wire_get_u64(&r);
	space.f_files = wire_get_u64(&r);
	space.f_ffree = wire_get_u64(&r);
	space.f_namemax = wire_get_u32(&r);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	call->share->space = space;
	call->share->space_known = true;
	statfs_reply(call, &space);
}

static void statfs_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_STATFS);

	wire_put_u64(b, call->node->server);
	call_send(call, statfs_done);
}

/* What was last heard, or as much as nothing. */
static const struct statvfs *statfs_memory(const struct call *call)
{
	static const struct statvfs nothing = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = SFTP_NAME_MAX};

	return call->share && call->share->space_known ? &call->share->space : &nothing;
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct call *call = call_new(req, ino, statfs_issue);

	if (!call)
		return;
	if (call->share && host_answers(call))
		call_start(call);
	else
		statfs_reply(call, statfs_memory(call));
}

/* ------------------------------------------------------------------------------------------------- without the host */

void mount_set_linked(struct mount *m, bool linked)
{
	struct call *call, *next;

	m->linked = linked;
	for (call = TAILQ_FIRST(&m->calls); call && !linked; call = next) {
		struct sftp_attr attr;

		next = TAILQ_NEXT(call, link);
		if (!call->req)
			continue;
		if (call->issue == statfs_issue) {
			fuse_reply_statfs(call->req, statfs_memory(call));
			call_answered(call);
		} else if (call->issue == getattr_issue && call->node->flags & NODE_ROOT) {
			mount_root_attr(m, call->share, &attr);
			call_answer_attr(call, call->node, &attr, MOUNT_KEEP_S);
			call_answered(call);
		}
	}
	mount_flush(m);
}
