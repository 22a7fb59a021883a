/* SPDX-License-Identifier: MIT */
/*
 * marked_block: lines of ours in a configuration file of the system's, between two lines that say whose they are. They
 * stand first, so that what was there before is left byte for byte, with or without a newline at its end. Pure.
 */
#ifndef HOMEPORT_MARKED_BLOCK_H
#define HOMEPORT_MARKED_BLOCK_H

#include <stddef.h>

#include "wire.h"

/*
 * Appends to out the text with the block `body` (lines; NULL: with none) in the place of a block that was there.
 * Returns 0, or -EINVAL: a block begins and does not end.
 */
int marked_block_edit(const char *text, size_t len, const char *body, struct wire_buf *out);

#endif
