/* SPDX-License-Identifier: MIT */
/* write_all: write(2) to the end. */
#ifndef HOMEPORT_WRITE_ALL_H
#define HOMEPORT_WRITE_ALL_H

#include <stddef.h>

/* Writes all of the bytes, however often that takes, or to the first error: 0, or a negative errno. Blocks. */
int write_all(int fd, const void *data, size_t len);

#endif
