/* SPDX-License-Identifier: MIT */
/*
 * The native request LOCK: locks of the guest's programs on the host, where the share carries them (`locks: host`).
 * What a lock protects may have been changed by who held it before: so its reply brings the attributes of the moment.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>

#include "file_locks.h"

static int lock_check(const struct sftp_job *job, const struct sftp_lock *lock, uint8_t what)
{
	const struct handle *h = job->handle;
	bool fcntl = lock->kind == NATIVE_LOCK_FCNTL;

	if (!job->share->locks)
		return -EOPNOTSUPP;
	if (!h || h->closed)
		return -EBADF;
	if (lock->kind > NATIVE_LOCK_FLOCK || lock->type > NATIVE_LOCK_WRITE || what > NATIVE_LOCK_TEST ||
	    lock->start > INT64_MAX || lock->length > INT64_MAX - lock->start)
		return -EINVAL;
	if (what == NATIVE_LOCK_TEST)
		return fcntl && lock->type != NATIVE_LOCK_NONE ? 0 : -EINVAL;
	/* As fcntl(2) has it; flock(2) does not ask how a file was opened. */
	if (fcntl && ((lock->type == NATIVE_LOCK_READ && !(h->flags & NATIVE_O_READ)) ||
		      (lock->type == NATIVE_LOCK_WRITE && !(h->flags & NATIVE_O_WRITE))))
		return -EBADF;
	return 0;
}

int native_lock(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct share *share = job->share;
	struct sftp_lock lock;
	struct fsop_stat st;
	uint8_t what;
	int r;

	wire_get_u64(&in);
	what = wire_get_u8(&in);
	sftp_lock_get(&in, &lock);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = lock_check(job, &lock, what);
	if (r < 0)
		return r;
	sftp_job_may_block(job); /* a network file system asks its server */
	if (what == NATIVE_LOCK_TEST) {
		r = file_locks_test(share->locks, &share->root, job->handle, &lock);
		if (r == 0)
			sftp_lock_put(&job->out, &lock);
		return r;
	}
	r = file_locks_set(share->locks, &share->root, job->handle, &lock, share->writable);
	if (r == 0)
		r = fsop_stat(&share->root, job->handle->fd, NULL, false, &st);
	if (r == 0)
		sftp_attr_put(&job->out, &st.attr);
	return r;
}
