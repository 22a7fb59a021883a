/* SPDX-License-Identifier: MIT */
/*
 * The table of native requests, and those that leave the share as it is. Runs on the pool's workers.
 *
 * What a function puts after an error does not matter: the reply is then a status alone. Lookups that were counted for
 * a reply that failed afterwards are given back.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bounds.h"
#include "listing.h"

int native_get_name(struct wire_reader *r, char name[SFTP_NAME_MAX + 1])
{
	size_t len;
	const uint8_t *p = wire_get_string(r, &len, SFTP_PACKET_MAX);

	if (!p)
		return -EBADMSG;
	if (len > SFTP_NAME_MAX)
		return -ENAMETOOLONG;
	if (!sftp_name_valid(p, len))
		return -EINVAL;
	memcpy(name, p, len);
	name[len] = '\0';
	return 0;
}

/* What a child that may be a mount is asked: not its server, unless the folder is that server's already. */
static bool ask_cached(const struct share *share, const struct node_info *folder)
{
	return !share->root.devices[folder->identity.device].remote;
}

static uint8_t child_flags(const struct node_info *folder, enum mask mask)
{
	return (folder->flags & NODE_PROTECTED) | (mask == MASK_PROTECTED ? NODE_PROTECTED : 0);
}

int native_put_found(struct sftp_job *job, uint64_t parent, const struct node_info *folder, int dirfd, const char *name,
		     enum mask mask, uint32_t attr_flags)
{
	struct share *share = job->share;
	struct fsop_stat st;
	uint64_t node;
	int r = fsop_stat(&share->root, dirfd, name, ask_cached(share, folder), &st);

	if (r < 0)
		return r;
	r = nodes_look_up(share->nodes, parent, name, &st.identity, st.type, child_flags(folder, mask), &node);
	if (r < 0)
		return r;
	share_node_hold(share, node, dirfd, name, &st.identity);
	native_tell_moved(job, node, &st);
	wire_put_u64(&job->out, node);
	st.attr.flags |= attr_flags;
	sftp_attr_put(&job->out, &st.attr);
	return 0;
}

int native_missing_in(int dirfd)
{
	struct stat st;

	return fstat(dirfd, &st) == 0 && st.st_nlink == 0 ? -ESTALE : -ENOENT;
}

/*
 * A name in a folder that is gone. The kernel walks the path again after ESTALE, but not where the name was looked up
 * in order to be made: that would fail. So ESTALE is for a name that the path has now, ENOENT for one it has not; then
 * making it answers ESTALE, after which the kernel does walk again.
 */
static int lookup_in_gone(struct sftp_job *job, uint64_t parent, const char *name)
{
	if (share_name_elsewhere(job->share, parent, name))
		return -ESTALE;
	native_tell_gone(job, parent);
	return -ENOENT;
}

static int native_lookup(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t parent = wire_get_u64(&in);
	char name[SFTP_NAME_MAX + 1];
	struct node_info folder;
	struct fd_ref ref;
	enum mask mask;
	int r = native_get_name(&in, name);

	if (r < 0 || !wire_read_done(&in))
		return r < 0 ? r : -EBADMSG;
	r = share_node_get(job->share, parent, true, &folder, &ref);
	if (r == 0) {
		mask = share_mask(job->share, ref.fd, name);
		r = mask == MASK_HIDDEN ? -ENOENT : native_put_found(job, parent, &folder, ref.fd, name, mask, 0);
		if (r == -ENOENT)
			r = native_missing_in(ref.fd);
		share_node_put(job->share, &ref);
	}
	return r == -ESTALE ? lookup_in_gone(job, parent, name) : r;
}

static int native_forget(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint32_t count = wire_get_u32(&in);

	while (count-- && !in.bad) {
		uint64_t node = wire_get_u64(&in);
		uint64_t lookups = wire_get_u64(&in);

		if (!in.bad)
			share_node_forget(job->share, node, lookups);
	}
	return 0;
}

static int native_getattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	uint64_t fh = wire_get_u64(&in);
	struct share *share = job->share;
	struct node_info info;
	struct fsop_stat st;
	struct fd_ref ref;
	int r;

	if (!wire_read_done(&in))
		return -EBADMSG;
	if (fh) {
		if (!job->handle || job->handle->closed)
			return -EBADF;
		r = fsop_stat(&share->root, job->handle->fd, NULL, false, &st);
	} else {
		r = share_node_get(share, node, false, &info, &ref);
		if (r < 0)
			return r;
		r = fsop_stat(&share->root, ref.fd, NULL, share->root.devices[info.identity.device].refused, &st);
		share_node_put(share, &ref);
		/* Removed, or replaced by another of the same name, and neither open nor kept. */
		if (r == 0 && st.attr.nlink == 0 && !info.opens && !(info.flags & NODE_KEPT)) {
			fdcache_drop(share->fds, node);
			r = -ESTALE;
		}
	}
	if (r == 0)
		sftp_attr_put(&job->out, &st.attr);
	return r;
}

static int native_readlink(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	struct node_info info;
	struct fd_ref ref;
	ssize_t n;
	size_t mark;
	int r;

	if (!wire_read_done(&in))
		return -EBADMSG;
	r = share_node_get(job->share, node, false, &info, &ref);
	if (r < 0)
		return r;
	mark = wire_put_length_begin(&job->out);
	n = wire_buf_reserve(&job->out, SFTP_PATH_MAX)
		    ? fsop_read_link(ref.fd, (char *)job->out.data + job->out.len, SFTP_PATH_MAX)
		    : -ENOMEM;
	share_node_put(job->share, &ref);
	if (n < 0)
		return (int)n;
	job->out.len += (size_t)n;
	wire_put_length_end(&job->out, mark);
	return 0;
}

/* ---- open files ---- */

static int open_file(struct sftp_job *job, const struct sftp_caller *caller, uint64_t node, uint32_t flags, int *fd,
		     struct node_info *info)
{
	struct fd_ref ref;
	int open_flags;
	int r = fsop_open_flags(flags, &open_flags);

	if (r < 0)
		return r;
	if (flags & (NATIVE_O_WRITE | NATIVE_O_TRUNC) && !job->share->writable)
		return -EROFS;
	r = share_node_get(job->share, node, true, info, &ref);
	if (r < 0)
		return r;
	if (info->type != DT_REG)
		r = info->type == DT_DIR ? -EISDIR : info->type == DT_LNK ? -ELOOP : -ENXIO;
	else if (flags & NATIVE_O_WRITE && info->flags & NODE_PROTECTED)
		r = -EACCES;
	else
		r = *fd = root_reopen(&job->share->root, ref.fd, open_flags);
	share_node_put(job->share, &ref);
	if (r < 0)
		return r;
	if (flags & NATIVE_O_TRUNC) {
		sftp_job_changed(job);
		native_drop_set_id(job, caller, *fd);
	}
	return 0;
}

static int native_open(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct sftp_caller caller;
	uint32_t flags, want;
	struct handle *handle;
	struct node_info info;
	struct fsop_stat st;
	uint64_t node;
	int fd, r;

	sftp_caller_get(&in, &caller);
	node = wire_get_u64(&in);
	flags = wire_get_u32(&in);
	want = wire_get_u32(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = open_file(job, &caller, node, flags, &fd, &info);
	if (r < 0)
		return r;
	r = fsop_stat(&job->share->root, fd, NULL, false, &st);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = share_handle_open(job->share, fd, node, &info, flags, &handle);
	if (r < 0)
		return r;
	wire_put_u64(&job->out, handle->fh);
	sftp_attr_put(&job->out, &st.attr);
	/* So that a small file is read with its OPEN. What goes wrong here is told by READ. */
	if (!(flags & NATIVE_O_READ))
		want = 0;
	sftp_job_read(job, fd, 0, want < SFTP_OPEN_WANT_MAX ? want : SFTP_OPEN_WANT_MAX);
	share_handle_put(job->share, handle);
	return 0;
}

/* The file of the request's handle; -EBADF. */
static int file_of(const struct sftp_job *job, uint32_t flag, struct handle **handle)
{
	*handle = job->handle;
	return *handle && !(*handle)->closed && (*handle)->type == DT_REG && (*handle)->flags & flag ? 0 : -EBADF;
}

static int native_read(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t offset;
	uint32_t length;
	struct handle *handle;
	ssize_t n;
	int r;

	wire_get_u64(&in);
	offset = wire_get_u64(&in);
	length = wire_get_u32(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	if (length > SFTP_DATA_MAX)
		return -EINVAL;
	r = file_of(job, NATIVE_O_READ, &handle);
	if (r < 0)
		return r;
	n = sftp_job_read(job, handle->fd, offset, length);
	return n < 0 ? (int)n : 0;
}

static int native_release(struct sftp_job *job)
{
	if (job->in.len != 5 + 8)
		return -EBADMSG;
	if (!job->handle || job->handle->closed)
		return -EBADF;
	share_handle_close(job->share, job->handle);
	return 0;
}

static int native_fsync(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	bool data_only;

	wire_get_u64(&in);
	data_only = wire_get_u8(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	if (!job->handle || job->handle->closed)
		return -EBADF;
	sftp_job_may_block(job);
	return (data_only ? fdatasync(job->handle->fd) : fsync(job->handle->fd)) < 0 ? -errno : 0;
}

/* ---- folders ---- */

/* With its node and attributes where it still is what was listed; an entry that just vanished is listed without. */
static void entry_complete(struct sftp_job *job, struct handle *h, const struct node_info *folder,
			   struct sftp_entry *entry, enum mask mask)
{
	const char *name = (const char *)entry->name;
	struct share *share = job->share;
	struct fsop_stat st;

	if (fsop_stat(&share->root, h->fd, name, ask_cached(share, folder), &st) < 0)
		return;
	if (nodes_look_up(share->nodes, h->node, name, &st.identity, st.type, child_flags(folder, mask), &entry->node))
		return;
	native_tell_moved(job, entry->node, &st);
	entry->flags = NATIVE_ENTRY_NODE;
	entry->attr = st.attr;
	entry->type = st.type;
}

/* One entry after `*cookie` into the reply; false where it does not fit. Masked ones are passed over. */
static bool put_entry(struct sftp_job *job, struct handle *h, const struct node_info *folder, const struct dirent64 *d,
		      size_t room, bool plus, uint32_t *count)
{
	struct sftp_entry entry = {
		.cookie = (uint64_t)d->d_off,
		.ino = d->d_ino,
		/* A recorded device or FIFO is a file to the host. */
		.type = d->d_type == DT_REG && job->share->root.virtual_owners ? DT_UNKNOWN : d->d_type,
		.name = (const uint8_t *)d->d_name,
		.name_len = strlen(d->d_name),
	};
	enum mask mask = MASK_NONE;

	if (22 + entry.name_len + (plus ? 8 + SFTP_ATTR_SIZE : 0) > room)
		return false;
	if (!listing_is_dots(d->d_name)) {
		mask = share_mask(job->share, h->fd, d->d_name);
		if (mask == MASK_HIDDEN)
			return true;
		if (plus)
			entry_complete(job, h, folder, &entry, mask);
	}
	sftp_entry_put(&job->out, &entry);
	++*count;
	return true;
}

/* Entries after the cookie, as many as fit into `length` bytes; a negative errno when there is none, and why. */
static int put_entries(struct sftp_job *job, struct handle *h, uint64_t cookie, uint32_t length, uint8_t flags)
{
	struct node_info folder = {.identity = h->identity, .type = DT_DIR, .flags = h->node_flags};
	const struct dirent64 *d = NULL;
	uint32_t count = 0;
	size_t start;
	int r;

	wire_put_u8(&job->out, 0);
	wire_put_u32(&job->out, 0);
	start = job->out.len;
	for (;;) {
		r = listing_next(h, cookie, &d);
		if (r < 0 || !d)
			break;
		if (!put_entry(job, h, &folder, d, start + length - job->out.len, flags & NATIVE_READDIR_PLUS, &count))
			break;
		cookie = (uint64_t)d->d_off;
		listing_take(h, d);
	}
	/* What has been counted must be told: an error is met again by the next request. */
	if (count == 0 && (r < 0 || d))
		return r < 0 ? r : -EINVAL;
	if (job->out.failed)
		return -ENOMEM;
	job->out.data[start - 5] = r == 0 && !d;
	wire_poke_u32(job->out.data + start - 4, count);
	return 0;
}

static int native_opendir(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	uint32_t want = wire_get_u32(&in);
	uint8_t flags = wire_get_u8(&in);
	struct share *share = job->share;
	struct handle *handle;
	struct node_info info;
	struct fsop_stat st;
	struct fd_ref ref;
	int r, fd;

	if (!wire_read_done(&in))
		return -EBADMSG;
	if (want > SFTP_DATA_MAX || flags & ~(NATIVE_READDIR_PLUS | NATIVE_OPENDIR_LIST))
		return -EINVAL;
	r = share_node_get(share, node, true, &info, &ref);
	if (r < 0)
		return r;
	fd = info.type == DT_DIR ? root_reopen(&share->root, ref.fd, O_RDONLY | O_DIRECTORY) : -ENOTDIR;
	r = fd < 0 ? fd : fsop_stat(&share->root, fd, NULL, false, &st);
	share_node_put(share, &ref);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = share_handle_open(share, fd, node, &info, NATIVE_O_READ, &handle);
	if (r < 0)
		return r;
	if (root_folds(&share->root, info.identity.device, fd))
		st.attr.flags |= SFTP_ATTR_FOLDS;
	wire_put_u64(&job->out, flags & NATIVE_OPENDIR_LIST ? 0 : handle->fh);
	sftp_attr_put(&job->out, &st.attr);
	/* An error is met again by READDIR. */
	if (want) {
		put_entries(job, handle, 0, want, flags);
	} else {
		wire_put_u8(&job->out, 0);
		wire_put_u32(&job->out, 0);
	}
	if (flags & NATIVE_OPENDIR_LIST)
		share_handle_close(share, handle);
	share_handle_put(share, handle);
	return 0;
}

static int native_readdir(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct handle *h = job->handle;
	uint32_t length;
	uint64_t cookie;
	uint8_t flags;

	wire_get_u64(&in);
	cookie = wire_get_u64(&in);
	length = wire_get_u32(&in);
	flags = wire_get_u8(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	if (!h || h->closed || h->type != DT_DIR)
		return -EBADF;
	if (length > SFTP_DATA_MAX || flags & ~NATIVE_READDIR_PLUS)
		return -EINVAL;
	return put_entries(job, h, cookie, length, flags);
}

static int native_statfs(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	struct node_info info;
	struct statvfs st;
	struct fd_ref ref;
	int r;

	if (!wire_read_done(&in))
		return -EBADMSG;
	r = share_node_get(job->share, node, true, &info, &ref);
	if (r < 0)
		return r;
	r = fstatvfs(ref.fd, &st) < 0 ? -errno : 0;
	share_node_put(job->share, &ref);
	if (r < 0)
		return r;
	wire_put_u64(&job->out, st.f_bsize);
	wire_put_u64(&job->out, st.f_frsize);
	wire_put_u64(&job->out, st.f_blocks);
	wire_put_u64(&job->out, st.f_bfree);
	wire_put_u64(&job->out, st.f_bavail);
	wire_put_u64(&job->out, st.f_files);
	wire_put_u64(&job->out, st.f_ffree);
	wire_put_u32(&job->out, (uint32_t)st.f_namemax);
	return 0;
}

/* ---- the table: PROTOCOL.md, "Requests" ---- */

#define CALLER 16 /* bytes of it in front of the body */
#define READS  ROW_NATIVE
#define ALTERS (ROW_NATIVE | ROW_MODIFIES)

/* By number; one that is nobody's is all zeros. */
static const struct sftp_row native_rows[NATIVE_END] = {
	[NATIVE_LOOKUP] = {NATIVE_LOOKUP, READS, 0, ROW_NONE, ROW_NONE, native_lookup},
	[NATIVE_FORGET] = {NATIVE_FORGET, READS | ROW_AT_ONCE, ROW_NONE, ROW_NONE, ROW_NONE, native_forget},
	[NATIVE_GETATTR] = {NATIVE_GETATTR, READS | ROW_SHARED, 0, 8, ROW_NONE, native_getattr},
	[NATIVE_SETATTR] = {NATIVE_SETATTR, ALTERS, CALLER, CALLER + 8, ROW_NONE, native_setattr},
	[NATIVE_READLINK] = {NATIVE_READLINK, READS, 0, ROW_NONE, ROW_NONE, native_readlink},
	[NATIVE_SYMLINK] = {NATIVE_SYMLINK, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_symlink},
	[NATIVE_MKDIR] = {NATIVE_MKDIR, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_mkdir},
	[NATIVE_MKNOD] = {NATIVE_MKNOD, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_mknod},
	[NATIVE_UNLINK] = {NATIVE_UNLINK, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_unlink},
	[NATIVE_RMDIR] = {NATIVE_RMDIR, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_rmdir},
	[NATIVE_RENAME] = {NATIVE_RENAME, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_rename},
	[NATIVE_LINK] = {NATIVE_LINK, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_link},
	[NATIVE_OPEN] = {NATIVE_OPEN, READS, CALLER, ROW_NONE, CALLER + 12, native_open},
	[NATIVE_CREATE] = {NATIVE_CREATE, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_create},
	[NATIVE_READ] = {NATIVE_READ, READS | ROW_SHARED, ROW_NONE, 0, 16, native_read},
	[NATIVE_WRITE] = {NATIVE_WRITE, ALTERS, ROW_NONE, CALLER, ROW_NONE, native_write},
	[NATIVE_RELEASE] = {NATIVE_RELEASE, READS | ROW_NO_REPLY | ROW_CLOSES, ROW_NONE, 0, ROW_NONE, native_release},
	[NATIVE_FSYNC] = {NATIVE_FSYNC, READS, ROW_NONE, 0, ROW_NONE, native_fsync},
	[NATIVE_OPENDIR] = {NATIVE_OPENDIR, READS, 0, ROW_NONE, 8, native_opendir},
	[NATIVE_READDIR] = {NATIVE_READDIR, READS, ROW_NONE, 0, 16, native_readdir},
	[NATIVE_STATFS] = {NATIVE_STATFS, READS, 0, ROW_NONE, ROW_NONE, native_statfs},
	[NATIVE_CANCEL] = {NATIVE_CANCEL, READS | ROW_AT_ONCE, ROW_NONE, ROW_NONE, ROW_NONE,
			   NULL}, /* sftp_server.c: it is about order */
	[NATIVE_TMPFILE] = {NATIVE_TMPFILE, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_tmpfile},
	[NATIVE_FALLOCATE] = {NATIVE_FALLOCATE, ALTERS, ROW_NONE, CALLER, ROW_NONE, native_fallocate},
	[NATIVE_SEEK] = {NATIVE_SEEK, READS | ROW_SHARED, ROW_NONE, 0, ROW_NONE, native_seek},
	[NATIVE_COPY] = {NATIVE_COPY, ALTERS, ROW_NONE, CALLER, ROW_NONE, native_copy},
	[NATIVE_GETXATTR] = {NATIVE_GETXATTR, READS, 0, ROW_NONE, ROW_NONE, native_getxattr},
	[NATIVE_SETXATTR] = {NATIVE_SETXATTR, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_setxattr},
	[NATIVE_LISTXATTR] = {NATIVE_LISTXATTR, READS, 0, ROW_NONE, ROW_NONE, native_listxattr},
	[NATIVE_REMOVEXATTR] = {NATIVE_REMOVEXATTR, ALTERS, CALLER, ROW_NONE, ROW_NONE, native_removexattr},
	[NATIVE_LOCK] = {NATIVE_LOCK, READS, ROW_NONE, 0, ROW_NONE, native_lock},
};

const struct sftp_row *sftp_native_row(uint8_t type)
{
	return type < NATIVE_END && native_rows[type].type ? &native_rows[type] : NULL;
}
