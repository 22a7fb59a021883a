/* SPDX-License-Identifier: MIT */
/* whole_file: small files of the system's, read whole, and replaced whole: who reads sees the old one or the new. */
#ifndef HOMEPORT_WHOLE_FILE_H
#define HOMEPORT_WHOLE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "wire.h"

/*
 * Reads a regular file of at most `max` bytes into text (empty before; the caller frees it, also on failure).
 * -ELOOP: it is a link; -EINVAL: no regular file, or larger; -EAGAIN: somebody writes it.
 */
int whole_file_read(const char *path, size_t max, struct stat *st, struct wire_buf *text);
int whole_file_read_fd(int fd, size_t max, struct stat *st, struct wire_buf *text); /* the same of an open one */

/*
 * Writes data to a new file PATH + suffix, with the owner and mode of `as` and path's own label, and renames it over
 * path when it is on the disk. A suffix that ends in XXXXXX gives each caller a name of its own; any other is taken
 * from whoever left it.
 */
int whole_file_replace(const char *path, const char *suffix, const struct wire_buf *data, const struct stat *as);

/* Has a folder's changed names on the disk: that of `path`. 0 or a negative errno. */
int whole_file_sync_folder(const char *path);

/* Tells one content from another (FNV-1a): for what an accident changes, not an enemy. */
uint64_t whole_file_hash(const void *data, size_t len);

#endif
