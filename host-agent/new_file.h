/* SPDX-License-Identifier: MIT */
/* new_file: files that are made whole or not at all, and never in the place of another. */
#ifndef HOMEPORT_NEW_FILE_H
#define HOMEPORT_NEW_FILE_H

#include <stddef.h>

/*
 * Makes a file of mode 0600 with these bytes, on the disk when it returns. 0, -EEXIST where there is one (also one made
 * meanwhile by another), or a negative errno, and no part of it is left.
 */
int new_file_write(const char *path, const void *data, size_t len);

#endif
