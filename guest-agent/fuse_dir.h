/* SPDX-License-Identifier: MIT */
/* Listings on the wire, for those who ask for them: fuse_dir.c and lookahead.c. PROTOCOL.md, OPENDIR. */
#ifndef HOMEPORT_FUSE_DIR_H
#define HOMEPORT_FUSE_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp_client.h"

#define DIR_BATCH (64u << 10) /* bytes of entries asked for at a time */

struct listing;
struct mount;
struct node;
struct share;

/* Builds an OPENDIR of the node; sftp_client_end() or call_send() sends it. Flags: NATIVE_OPENDIR_, NATIVE_READDIR_. */
void dir_listing_ask(struct share *s, const struct node *dir, uint32_t want, uint8_t flags);

/*
 * The listing in the answer to it (which is no error), with one reference, and the handle in *fh (0: none was asked
 * for). NULL: malformed, or out of memory.
 */
struct listing *dir_listing_take(struct mount *m, struct node *dir, uint32_t generation, const struct sftp_reply *reply,
				 bool plus, uint64_t *fh);

#endif
