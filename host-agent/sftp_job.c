/* SPDX-License-Identifier: MIT */
/* What the handlers of both protocols do alike. See sftp_job.h; runs on the pool's workers. */
#include "sftp_job.h"

#include <errno.h>

#include "fsop.h"

ssize_t sftp_job_read(struct sftp_job *job, int fd, uint64_t offset, uint32_t length)
{
	size_t mark = wire_put_length_begin(&job->out);
	uint8_t *data = wire_buf_reserve(&job->out, length);
	ssize_t n;

	if (!data)
		return -ENOMEM;
	/* What is in memory is copied faster than it is handed over. */
	n = fsop_read(fd, data, length, offset, true);
	if (n == -EAGAIN) {
		sftp_job_may_block(job);
		n = fsop_read(fd, data, length, offset, false);
	}
	if (n > 0) {
		job->out.len += (size_t)n;
		atomic_fetch_add_explicit(&job->share->counters->bytes_read, (uint64_t)n, memory_order_relaxed);
	}
	wire_put_length_end(&job->out, mark);
	return n;
}
