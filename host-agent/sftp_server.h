/* SPDX-License-Identifier: MIT */
/*
 * sftp_server: one stream of SFTP or native requests on one share. PROTOCOL.md, "Native SFTP".
 */
#ifndef HOMEPORT_SFTP_SERVER_H
#define HOMEPORT_SFTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "share.h"
#include "wire.h"

struct sftp_server;

/* The share stays the caller's. NULL: no memory. */
struct sftp_server *sftp_server_new(struct share *share);
void sftp_server_free(struct sftp_server *server);

/*
 * Serves packets from in_fd, replies to out_fd, until the input ends. 0: everything is done. -EBUSY: the input ended
 * and a file call still hangs; nothing may be freed, the process can only exit. -EPROTO: what came was no packet.
 */
int sftp_server_run(struct sftp_server *server, int in_fd, int out_fd);

/*
 * One packet (from its type on) carried out here and now, its reply appended to `reply`: how tests and the fuzzer drive
 * it. The packet is copied. 0 or -EPROTO.
 */
int sftp_server_packet(struct sftp_server *server, const uint8_t *packet, size_t len, struct wire_buf *reply);

#endif
