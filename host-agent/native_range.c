/* SPDX-License-Identifier: MIT */
/*
 * The native requests about ranges of open files: room for them and holes in them (FALLOCATE), where holes are (SEEK),
 * and copying from one file to another without the bytes leaving the host (COPY). What the file system below can, they
 * can; what it answers, they answer.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "bounds.h"

/* The request's handle as a regular file opened so; -EBADF. */
static int range_file(const struct sftp_job *job, uint32_t flag)
{
	const struct handle *h = job->handle;

	return h && !h->closed && h->type == DT_REG && h->flags & flag ? 0 : -EBADF;
}

int native_fallocate(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct root *root = &job->share->root;
	uint64_t offset, length;
	struct sftp_caller caller;
	struct sftp_change change;
	uint32_t mode;
	int r;

	sftp_caller_get(&in, &caller);
	wire_get_u64(&in);
	mode = wire_get_u32(&in);
	offset = wire_get_u64(&in);
	length = wire_get_u64(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = range_file(job, NATIVE_O_WRITE);
	if (r < 0)
		return r;
	if (mode & ~(uint32_t)NATIVE_FALLOCATE_ALL)
		return -EOPNOTSUPP;
	if (offset > INT64_MAX || length > INT64_MAX)
		return -EINVAL;
	sftp_job_may_block(job);
	r = fsop_change_before(root, job->handle->fd, &change);
	if (r == 0) {
		r = fallocate(job->handle->fd, (int)mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
		sftp_job_changed(job); /* also when it failed: some of it may have been done */
	}
	if (r == 0)
		r = fsop_change_after(root, job->handle->fd, &change);
	if (r == 0)
		sftp_change_put(&job->out, &change);
	return r;
}

/* Beside others on the handle: nobody's request depends on where the descriptor stands. */
int native_seek(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t offset;
	uint8_t what;
	off_t found;
	int r;

	wire_get_u64(&in);
	offset = wire_get_u64(&in);
	what = wire_get_u8(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = range_file(job, NATIVE_O_READ | NATIVE_O_WRITE);
	if (r < 0)
		return r;
	if (what != NATIVE_SEEK_DATA && what != NATIVE_SEEK_HOLE)
		return -EINVAL;
	if (offset > INT64_MAX)
		return -ENXIO;
	found = lseek(job->handle->fd, (off_t)offset, what == NATIVE_SEEK_DATA ? SEEK_DATA : SEEK_HOLE);
	if (found < 0)
		return -errno;
	wire_put_u64(&job->out, (uint64_t)found);
	return 0;
}

/* Where a copy goes on in either file. */
struct copy {
	uint64_t to, from, length;
};

static ssize_t copy_range(int to_fd, int from_fd, const struct copy *c)
{
	size_t length = c->length < SFTP_COPY_MAX ? (size_t)c->length : SFTP_COPY_MAX;
	off64_t to = (off64_t)c->to, from = (off64_t)c->from;
	ssize_t n;

	if (c->to > INT64_MAX || c->from > INT64_MAX)
		return -EINVAL;
	n = copy_file_range(from_fd, &from, to_fd, &to, length, 0);
	return n < 0 ? -errno : n;
}

static int copy_to_handle(struct sftp_job *job, const struct handle *from, const struct copy *c)
{
	struct root *root = &job->share->root;
	struct sftp_change change;
	ssize_t n;
	int r;

	if (from->type != DT_REG || !(from->flags & NATIVE_O_READ))
		return -EBADF;
	sftp_job_may_block(job);
	r = fsop_change_before(root, job->handle->fd, &change);
	if (r < 0)
		return r;
	n = copy_range(job->handle->fd, from->fd, c);
	sftp_job_changed(job);
	if (n >= 0)
		r = fsop_change_after(root, job->handle->fd, &change);
	if (n < 0 || r < 0)
		return n < 0 ? (int)n : r;
	wire_put_u64(&job->out, (uint64_t)n);
	sftp_change_put(&job->out, &change);
	return 0;
}

int native_copy(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct sftp_caller caller;
	struct handle *from;
	struct copy c;
	uint64_t fh;
	int r;

	sftp_caller_get(&in, &caller);
	wire_get_u64(&in);
	c.to = wire_get_u64(&in);
	fh = wire_get_u64(&in);
	c.from = wire_get_u64(&in);
	c.length = wire_get_u64(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = range_file(job, NATIVE_O_WRITE);
	from = r == 0 ? handles_get(job->share->handles, fh) : NULL;
	if (!from)
		return -EBADF;
	r = handles_bring(job->share->handles, from);
	if (r == 0)
		r = copy_to_handle(job, from, &c);
	share_handle_put(job->share, from);
	return r;
}
