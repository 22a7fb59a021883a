/* SPDX-License-Identifier: MIT */
/*
 * The native requests that modify. The table refuses them on a read-only share before they get here; the sandbox would
 * refuse what they call.
 *
 * Each answers with the attributes before and after, so that the client can tell its own change from another's. What
 * is taken by name is looked at by name first: then it is known which node gains or loses that name.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bounds.h"
#include "virtual_owner.h"

int native_place_read(struct wire_reader *in, struct native_place *p)
{
	p->attr_flags = 0;
	p->node = wire_get_u64(in);
	return native_get_name(in, p->name);
}

int native_place_begin(struct sftp_job *job, struct wire_reader *in, struct native_place *p)
{
	*in = job_body(job);
	sftp_caller_get(in, &p->caller);
	return native_place_read(in, p);
}

int native_place_get(struct sftp_job *job, struct native_place *p, bool folder_ok)
{
	enum mask mask;
	int r = share_node_get(job->share, p->node, true, &p->info, &p->ref);

	if (r < 0)
		return r;
	mask = share_mask(job->share, p->ref.fd, p->name);
	if (p->info.type != DT_DIR)
		r = -ENOTDIR;
	else if (p->info.flags & NODE_PROTECTED || mask > MASK_FOLDER || (mask == MASK_FOLDER && !folder_ok))
		r = -EACCES;
	else
		r = fsop_change_before(&job->share->root, p->ref.fd, &p->change);
	if (r < 0)
		share_node_put(job->share, &p->ref);
	return r;
}

int native_place_put(struct sftp_job *job, struct native_place *p, int r)
{
	if (r == 0)
		r = fsop_change_after(&job->share->root, p->ref.fd, &p->change);
	if (r == 0)
		sftp_change_put(&job->out, &p->change);
	else if (r == -ENOENT)
		r = native_missing_in(p->ref.fd);
	share_node_put(job->share, &p->ref);
	return r;
}

/* ---- removing and moving ---- */

/* What fd stands for lost a name: its last one, and fd is kept for it, and is -1 from here on. */
static void keep_nameless(struct sftp_job *job, int *fd)
{
	struct fsop_stat st;

	if (fsop_stat(&job->share->root, *fd, NULL, true, &st) < 0 || st.attr.nlink)
		return;
	share_node_keep(job->share, &st.identity, *fd);
	*fd = -1;
}

int native_unlink(struct sftp_job *job)
{
	struct root *root = &job->share->root;
	struct native_place place;
	struct wire_reader in;
	struct fsop_stat st;
	int r = native_place_begin(job, &in, &place), fd;

	r = native_body_end(&in, r);
	if (r == 0)
		r = native_place_get(job, &place, false);
	if (r < 0)
		return r;
	/* Held while it is unlinked, so that what is left of it (its other names) can be told. */
	fd = root_open_beneath(place.ref.fd, place.name, O_PATH);
	r = fd < 0 ? fd : unlinkat(place.ref.fd, place.name, 0) < 0 ? -errno : 0;
	if (r == 0) {
		sftp_job_changed(job);
		r = fsop_change_after(root, place.ref.fd, &place.change);
	}
	if (r == 0) {
		bool known = fsop_stat(root, fd, NULL, false, &st) == 0;

		sftp_change_put(&job->out, &place.change);
		wire_put_u8(&job->out, known);
		if (known) {
			sftp_attr_put(&job->out, &st.attr);
			nodes_name_remove(job->share->nodes, &st.identity, place.node, place.name);
			/* The client may know it by its other names alone. */
			if (st.attr.nlink)
				native_tell_attr(job, &st.identity);
			keep_nameless(job, &fd);
		}
	}
	if (fd >= 0)
		close(fd);
	share_node_put(job->share, &place.ref);
	return r;
}

int native_rmdir(struct sftp_job *job)
{
	struct native_place place;
	struct wire_reader in;
	struct fsop_stat st;
	int r = native_place_begin(job, &in, &place), fd;

	r = native_body_end(&in, r);
	if (r == 0)
		r = native_place_get(job, &place, true);
	if (r < 0)
		return r;
	fd = root_open_beneath(place.ref.fd, place.name, O_PATH);
	r = fd < 0 ? fd : unlinkat(place.ref.fd, place.name, AT_REMOVEDIR) < 0 ? -errno : 0;
	if (r == 0) {
		sftp_job_changed(job);
		if (fsop_stat(&job->share->root, fd, NULL, true, &st) == 0)
			nodes_name_remove(job->share->nodes, &st.identity, place.node, place.name);
		keep_nameless(job, &fd);
	}
	if (fd >= 0)
		close(fd);
	return native_place_put(job, &place, r);
}

/* Who had which name after a rename. `there` is what stood at the new name before; NULL: nothing. */
static void rename_nodes(struct nodes *nodes, const struct native_place *from, const struct native_place *to,
			 const struct node_identity *moved, const struct node_identity *there, uint32_t flags)
{
	/* Two names of one file: rename(2) does nothing. */
	if (there && node_identity_same(moved, there))
		return;
	nodes_name_remove(nodes, moved, from->node, from->name);
	nodes_name_add(nodes, moved, to->node, to->name);
	if (!there)
		return;
	nodes_name_remove(nodes, there, to->node, to->name);
	if (flags & NATIVE_RENAME_EXCHANGE)
		nodes_name_add(nodes, there, from->node, from->name);
}

/* The reply tells of the folders: of what was moved the time has changed, of what stood there also the links. */
static void rename_tell(struct sftp_job *job, const struct node_identity *moved, const struct node_identity *there)
{
	if (there && node_identity_same(moved, there))
		return;
	native_tell_attr(job, moved);
	if (there)
		native_tell_attr(job, there);
}

/* What stands at the new name is held while it is replaced: the client may use it on. -1: nothing does. */
static int hold_replaced(struct root *root, const struct native_place *to, struct fsop_stat *there)
{
	int fd = root_open_beneath(to->ref.fd, to->name, O_PATH);

	if (fd >= 0 && fsop_stat(root, fd, NULL, true, there) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int rename_place(struct sftp_job *job, struct native_place *from, struct native_place *to, uint32_t flags)
{
	struct root *root = &job->share->root;
	struct fsop_stat moved, there;
	int r = fsop_stat(root, from->ref.fd, from->name, true, &moved);
	int fd;

	if (r < 0)
		return r;
	fd = hold_replaced(root, to, &there);
	/* The values of renameat2(2), so that they pass as they are. */
	if (renameat2(from->ref.fd, from->name, to->ref.fd, to->name, flags) < 0) {
		r = -errno;
	} else {
		const struct node_identity *replaced = fd >= 0 ? &there.identity : NULL;

		sftp_job_changed(job);
		rename_nodes(job->share->nodes, from, to, &moved.identity, replaced, flags);
		rename_tell(job, &moved.identity, replaced);
		if (fd >= 0)
			keep_nameless(job, &fd);
	}
	if (fd >= 0)
		close(fd);
	return r;
}

int native_rename(struct sftp_job *job)
{
	struct root *root = &job->share->root;
	struct native_place from, to;
	struct wire_reader in;
	uint32_t flags;
	int r = native_place_begin(job, &in, &from);

	if (r == 0)
		r = native_place_read(&in, &to);
	flags = wire_get_u32(&in);
	r = native_body_end(&in, r);
	if (r < 0)
		return r;
	if (flags & ~(uint32_t)NATIVE_RENAME_ALL)
		return -EINVAL;
	r = native_place_get(job, &from, false);
	if (r < 0)
		return r;
	r = native_place_get(job, &to, false);
	if (r == 0) {
		r = rename_place(job, &from, &to, flags);
		if (r == 0)
			r = fsop_change_after(root, from.ref.fd, &from.change);
		if (r == 0)
			sftp_change_put(&job->out, &from.change);
		r = native_place_put(job, &to, r);
	}
	share_node_put(job->share, &from.ref);
	return r;
}

/* ---- attributes and data ---- */

static int set_read(struct wire_reader *in, struct fsop_set *set)
{
	set->mask = wire_get_u32(in);
	set->mode = wire_get_u32(in);
	set->uid = wire_get_u32(in);
	set->gid = wire_get_u32(in);
	set->size = wire_get_u64(in);
	set->atime.sec = wire_get_i64(in);
	set->atime.nsec = wire_get_u32(in);
	set->mtime.sec = wire_get_i64(in);
	set->mtime.nsec = wire_get_u32(in);
	return wire_read_done(in) ? 0 : -EBADMSG;
}

/* The handle's descriptor where there is one, else the node's. */
static int set_target(struct sftp_job *job, uint64_t node, uint64_t fh, struct node_info *info, struct fd_ref *ref)
{
	const struct handle *h = job->handle;

	if (!fh)
		return share_node_get(job->share, node, true, info, ref);
	if (!h || h->closed)
		return -EBADF;
	*info = (struct node_info){.identity = h->identity, .type = h->type, .flags = h->node_flags};
	*ref = (struct fd_ref){h->fd, FD_REF_BORROWED};
	return 0;
}

/* Whether what failed has changed something all the same; within one tick of the clock before, it goes unseen. */
static bool half_done(struct root *root, int fd, const struct sftp_change *before)
{
	struct fsop_stat st;

	return fsop_stat(root, fd, NULL, false, &st) == 0 &&
	       (st.attr.size != before->size || st.attr.ctime.sec != before->ctime.sec ||
		st.attr.ctime.nsec != before->ctime.nsec);
}

int native_setattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct root *root = &job->share->root;
	struct sftp_change change;
	struct sftp_caller caller;
	struct node_info info;
	struct fsop_set set;
	struct fd_ref ref;
	uint64_t node, fh;
	bool writable_fd;
	int r;

	sftp_caller_get(&in, &caller);
	node = wire_get_u64(&in);
	fh = wire_get_u64(&in);
	r = set_read(&in, &set);
	if (r < 0)
		return r;
	r = set_target(job, node, fh, &info, &ref);
	if (r < 0)
		return r;
	writable_fd = fh && job->handle->flags & NATIVE_O_WRITE;
	r = info.flags & NODE_PROTECTED ? -EACCES : fsop_change_before(root, ref.fd, &change);
	if (r == 0) {
		r = virtual_owner_set(root, ref.fd, info.type, writable_fd, &set);
		sftp_job_changed(job);
		/* The size, and then not the owner. */
		if (r < 0 && half_done(root, ref.fd, &change))
			native_tell_attr(job, &info.identity);
	}
	if (r == 0)
		r = fsop_change_after(root, ref.fd, &change);
	if (r == 0)
		sftp_change_put(&job->out, &change);
	share_node_put(job->share, &ref);
	return r;
}

void native_drop_set_id(struct sftp_job *job, const struct sftp_caller *caller, int fd)
{
	struct root *root = &job->share->root;

	if (caller->uid == 0 || (root->privileged && caller->uid == SFTP_OWNER_HOST))
		return;
	/* The write itself has been done. An ordinary user's kernel has taken the bits. */
	if (root->virtual_owners || root->privileged)
		(void)virtual_owner_drop_set_id(root, fd);
}

/* Appended, or (its opener has taken O_APPEND back, or it was written to through a map) in its place. */
static ssize_t write_to(const struct handle *h, const uint8_t *data, size_t len, uint64_t offset)
{
	if (!(h->flags & NATIVE_O_APPEND))
		return fsop_write(h->fd, data, len, offset, false);
	if (offset == NATIVE_WRITE_APPEND)
		return fsop_write(h->fd, data, len, 0, true);
	return fsop_write_in_place(h->fd, data, len, offset);
}

int native_write(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct root *root = &job->share->root;
	const struct handle *h = job->handle;
	struct sftp_change change;
	struct sftp_caller caller;
	const uint8_t *data;
	uint64_t offset;
	size_t len;
	ssize_t n;
	int r;

	sftp_caller_get(&in, &caller);
	wire_get_u64(&in);
	offset = wire_get_u64(&in);
	data = wire_get_string(&in, &len, SFTP_DATA_MAX);
	if (!wire_read_done(&in))
		return -EBADMSG;
	if (!h || h->closed || !(h->flags & NATIVE_O_WRITE))
		return -EBADF;
	r = fsop_change_before(root, h->fd, &change);
	if (r < 0)
		return r;
	n = write_to(h, data, len, offset);
	sftp_job_changed(job);
	if (n > 0)
		native_drop_set_id(job, &caller, h->fd);
	if (n >= 0)
		r = fsop_change_after(root, h->fd, &change);
	if (n < 0 || r < 0)
		return n < 0 ? (int)n : r;
	wire_put_u32(&job->out, (uint32_t)n);
	sftp_change_put(&job->out, &change);
	atomic_fetch_add_explicit(&job->share->counters->bytes_written, (uint64_t)n, memory_order_relaxed);
	return 0;
}
