/* SPDX-License-Identifier: MIT */
/* Stock requests on an open file or folder. The server has found the handle and put the request in its order. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bounds.h"
#include "listing.h"
#include "sftp_stock.h"
#include "stock_attrs.h"
#include "virtual_owner.h"

#define READDIR_ENTRIES 100u
#define STATVFS_RDONLY  1u
#define STATVFS_NOSUID  2u

/* The body from behind the handle on. */
static struct wire_reader body_after_handle(const struct sftp_job *job)
{
	struct wire_reader in = job_body(job);

	wire_get_bytes(&in, job->row->fh_at + 8u);
	return in;
}

static int handle_of(const struct sftp_job *job, uint8_t type, uint32_t flag, struct handle **handle)
{
	struct handle *h = job->handle;

	if (!h || h->closed || (type && h->type != type) || (h->flags & flag) != flag)
		return -EBADF;
	*handle = h;
	return 0;
}

int stock_put_handle(struct sftp_job *job, int fd, const struct fsop_stat *st, uint32_t flags, bool protected)
{
	struct node_info info = {.identity = st->identity, .type = st->type, .flags = protected ? NODE_PROTECTED : 0};
	struct handle *handle;
	int r = share_handle_open(job->share, fd, 0, &info, flags, &handle);

	if (r < 0)
		return r;
	stock_begin(job, SSH_FXP_HANDLE);
	wire_put_u32(&job->out, 8);
	wire_put_u64(&job->out, handle->fh);
	share_handle_put(job->share, handle);
	return 0;
}

int stock_close(struct sftp_job *job)
{
	struct handle *h;
	int r = handle_of(job, 0, 0, &h);

	if (r == 0)
		share_handle_close(job->share, h);
	return r;
}

int stock_read(struct sftp_job *job)
{
	struct wire_reader in = body_after_handle(job);
	uint64_t offset = wire_get_u64(&in);
	uint32_t length = wire_get_u32(&in);
	struct handle *h;
	ssize_t n;
	int r;

	if (!wire_read_done(&in))
		return -EBADMSG;
	r = handle_of(job, DT_REG, NATIVE_O_READ, &h);
	if (r < 0)
		return r;
	if (length > SFTP_DATA_MAX)
		length = SFTP_DATA_MAX;
	stock_begin(job, SSH_FXP_DATA);
	n = sftp_job_read(job, h->fd, offset, length);
	if (n == 0 && length)
		return STOCK_EOF;
	return n < 0 ? (int)n : 0;
}

int stock_write(struct sftp_job *job)
{
	struct wire_reader in = body_after_handle(job);
	uint64_t offset = wire_get_u64(&in);
	const uint8_t *data;
	struct handle *h;
	size_t len;
	ssize_t n;
	int r;

	data = wire_get_string(&in, &len, SFTP_PACKET_MAX);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = handle_of(job, DT_REG, NATIVE_O_WRITE, &h);
	if (r < 0)
		return r;
	n = fsop_write(h->fd, data, len, offset, h->flags & NATIVE_O_APPEND);
	sftp_job_changed(job);
	if (n < 0)
		return (int)n;
	atomic_fetch_add_explicit(&job->share->counters->bytes_written, (uint64_t)n, memory_order_relaxed);
	/* Version 3 cannot say "so much of it": then the disk is full. */
	return (size_t)n == len ? 0 : -ENOSPC;
}

int stock_fstat(struct sftp_job *job)
{
	struct fsop_stat st;
	struct handle *h;
	int r = handle_of(job, 0, 0, &h);

	if (r == 0)
		r = fsop_stat(&job->share->root, h->fd, NULL, false, &st);
	if (r < 0)
		return r;
	stock_begin(job, SSH_FXP_ATTRS);
	stock_attrs_put(&job->out, &st.attr);
	return 0;
}

int stock_fsetstat(struct sftp_job *job)
{
	struct wire_reader in = body_after_handle(job);
	struct fsop_set set;
	struct handle *h;
	int r;

	stock_attrs_get(&in, &set);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = handle_of(job, 0, 0, &h);
	if (r < 0)
		return r;
	if (h->node_flags & NODE_PROTECTED)
		return -EACCES;
	sftp_job_changed(job);
	return virtual_owner_set(&job->share->root, h->fd, h->type, h->flags & NATIVE_O_WRITE, &set);
}

/* One entry; what is masked, or vanished just now, is passed over. */
static bool put_entry(struct sftp_job *job, const struct handle *h, const char *name)
{
	struct root *root = &job->share->root;
	bool cached = !root->devices[h->identity.device].remote;
	struct fsop_stat st;

	if (!listing_is_dots(name) && share_mask(job->share, h->fd, name) == MASK_HIDDEN)
		return false;
	/* What ".." of the shared folder is, is not the client's to know. */
	if (fsop_stat(root, h->fd, strcmp(name, "..") == 0 ? NULL : name, cached, &st) < 0)
		return false;
	wire_put_cstring(&job->out, name);
	stock_long_name_put(&job->out, name, &st.attr);
	stock_attrs_put(&job->out, &st.attr);
	return true;
}

int stock_readdir(struct sftp_job *job)
{
	const struct dirent64 *d = NULL;
	uint32_t count = 0;
	struct handle *h;
	size_t at;
	int r = handle_of(job, DT_DIR, 0, &h);

	if (r < 0)
		return r;
	stock_begin(job, SSH_FXP_NAME);
	at = job->out.len;
	wire_put_u32(&job->out, 0);
	while (count < READDIR_ENTRIES) {
		/* Version 3 knows no cookies: each request goes on where the last one ended. */
		r = listing_next(h, h->listing.cookie, &d);
		if (r < 0 || !d)
			break;
		if (put_entry(job, h, d->d_name))
			count++;
		listing_take(h, d);
	}
	if (count == 0)
		return r < 0 ? r : STOCK_EOF;
	if (!job->out.failed)
		wire_poke_u32(job->out.data + at, count);
	return 0;
}

int stock_fsync(struct sftp_job *job)
{
	struct handle *h;
	int r = handle_of(job, 0, 0, &h);

	if (r < 0)
		return r;
	sftp_job_may_block(job);
	return fsync(h->fd) < 0 ? -errno : 0;
}

/* OpenSSH's PROTOCOL, section 4.4. */
int stock_put_statvfs(struct sftp_job *job, int fd)
{
	struct statvfs st;

	if (fstatvfs(fd, &st) < 0)
		return -errno;
	stock_begin(job, SSH_FXP_EXTENDED_REPLY);
	wire_put_u64(&job->out, st.f_bsize);
	wire_put_u64(&job->out, st.f_frsize);
	wire_put_u64(&job->out, st.f_blocks);
	wire_put_u64(&job->out, st.f_bfree);
	wire_put_u64(&job->out, st.f_bavail);
	wire_put_u64(&job->out, st.f_files);
	wire_put_u64(&job->out, st.f_ffree);
	wire_put_u64(&job->out, st.f_favail);
	wire_put_u64(&job->out, st.f_fsid);
	wire_put_u64(&job->out, (st.f_flag & ST_RDONLY || !job->share->writable ? STATVFS_RDONLY : 0) |
					(st.f_flag & ST_NOSUID ? STATVFS_NOSUID : 0));
	wire_put_u64(&job->out, st.f_namemax);
	return 0;
}

int stock_fstatvfs(struct sftp_job *job)
{
	struct handle *h;
	int r = handle_of(job, 0, 0, &h);

	return r < 0 ? r : stock_put_statvfs(job, h->fd);
}
