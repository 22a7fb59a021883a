/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "sftp_job.h"

const struct sftp_row *sftp_stock_row(uint8_t type)
{
	return NULL;
}

void sftp_stock_put_status(struct sftp_job *job, int error)
{
	job->out.len = STOCK_REPLY_HEADER;
	job->out.data[4] = SSH_FXP_STATUS;
	wire_put_u32(&job->out, error == -ENOSYS ? 8 : 4);
	wire_put_cstring(&job->out, "");
	wire_put_cstring(&job->out, "");
}

void sftp_stock_put_version(struct wire_buf *out)
{
	size_t mark = wire_put_length_begin(out);

	wire_put_u8(out, SSH_FXP_VERSION);
	wire_put_u32(out, 3);
	wire_put_cstring(out, NATIVE_EXTENSION);
	wire_put_cstring(out, NATIVE_VERSION);
	wire_put_length_end(out, mark);
}
