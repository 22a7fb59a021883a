/* SPDX-License-Identifier: MIT */
/*
 * sftp_stock: SFTP version 3 and OpenSSH's extensions, for clients that are not ours. Requests by path are in
 * sftp_stock.c, those by handle in stock_handle.c.
 */
#ifndef HOMEPORT_SFTP_STOCK_H
#define HOMEPORT_SFTP_STOCK_H

#include "sftp_job.h"
#include "stock_path.h"

/* SSH_FX_EOF travels as this among errors: no file call answers it. */
#define STOCK_EOF (-ENODATA)

/* Begins a reply of this type, whose header is there already. */
void stock_begin(struct sftp_job *job, uint8_t type);

/* A HANDLE for fd, which is taken over; the reply. */
int stock_put_handle(struct sftp_job *job, int fd, const struct fsop_stat *st, uint32_t flags, bool protected);

/* SFTP's values of an open file's access; OPEN's flags. */
enum { STOCK_READ = 1, STOCK_WRITE = 2, STOCK_APPEND = 4, STOCK_CREAT = 8, STOCK_TRUNC = 16, STOCK_EXCL = 32 };

int stock_close(struct sftp_job *job);
int stock_read(struct sftp_job *job);
int stock_write(struct sftp_job *job);
int stock_fstat(struct sftp_job *job);
int stock_fsetstat(struct sftp_job *job);
int stock_readdir(struct sftp_job *job);
int stock_fsync(struct sftp_job *job);
int stock_fstatvfs(struct sftp_job *job);
int stock_put_statvfs(struct sftp_job *job, int fd);

#endif
