/* SPDX-License-Identifier: MIT */
/* whole_file: small files of the system's, read whole, and replaced whole: who reads sees the old one or the new. */
#ifndef HOMEPORT_WHOLE_FILE_H
#define HOMEPORT_WHOLE_FILE_H

#include <stdbool.h>
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

/*
 * Replaces the file by what `edit` appends to `out`, out of the text that it has; nothing is written where that is the
 * same. A file that is not there is empty, if it is to be made (then its mode is 0644). 0, or a negative errno, as
 * above: the file is as it was.
 */
typedef void whole_file_edit_cb(const void *ctx, const char *text, size_t len, struct wire_buf *out);
int whole_file_edit(const char *path, size_t max, bool make, whole_file_edit_cb *edit, const void *ctx);

/* Has a folder's changed names on the disk: that of `path`. 0 or a negative errno. */
int whole_file_sync_folder(const char *path);

#endif
