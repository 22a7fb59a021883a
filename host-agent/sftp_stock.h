/* SPDX-License-Identifier: MIT */
/*
 * sftp_stock: SFTP version 3 and OpenSSH's extensions, for clients that are not ours. Requests by path are in
 * sftp_stock.c, those that modify in stock_modify.c, those by handle in stock_handle.c.
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

/* The next string of the body as a path, found; the second: and it is there, else -ENOENT. */
int stock_find_next(struct sftp_job *job, struct wire_reader *in, bool follow, struct stock_found *found);
int stock_find_there(struct sftp_job *job, struct wire_reader *in, bool follow, struct stock_found *found);

/* May this name be made, replaced or removed? -EACCES, -EBUSY. `folder_ok`: it is to be, or is, a folder. */
int stock_may_alter(const struct stock_found *f, bool folder_ok);

/* The mode for something new, as the client wants it or `otherwise`, under the server's umask. */
mode_t stock_mode_to_make(const struct sftp_job *job, const struct fsop_set *set, mode_t otherwise);

/* The body of an extension from behind its name on. */
struct wire_reader stock_body_after_name(const struct sftp_job *job);

/* SFTP's values of an open file's access; OPEN's flags. */
enum { STOCK_READ = 1, STOCK_WRITE = 2, STOCK_APPEND = 4, STOCK_CREAT = 8, STOCK_TRUNC = 16, STOCK_EXCL = 32 };

int stock_setstat(struct sftp_job *job);
int stock_remove(struct sftp_job *job);
int stock_rmdir(struct sftp_job *job);
int stock_mkdir(struct sftp_job *job);
int stock_rename(struct sftp_job *job);
int stock_symlink(struct sftp_job *job);
int stock_posix_rename(struct sftp_job *job);
int stock_hardlink(struct sftp_job *job);
int stock_lsetstat(struct sftp_job *job);

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
