/* SPDX-License-Identifier: MIT */
/* open_args: the arguments of OPEN, a kind of stream each, to and from bytes. Pure. PROTOCOL.md, "OPEN arguments". */
#ifndef HOMEPORT_OPEN_ARGS_H
#define HOMEPORT_OPEN_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

struct wire_buf;

/* OPEN(sftp): which share, by its number, of which mount. */
struct sftp_target {
	uint32_t mount_id, share;
};
void sftp_target_put(struct wire_buf *out, const struct sftp_target *t);
int sftp_target_get(const uint8_t *data, size_t len, struct sftp_target *t); /* -EPROTO */

/* OPEN(tcp), OPEN(udp): where the guest connects to. */
struct tcp_target {
	uint8_t family; /* 4 or 6 */
	uint8_t addr[16];
	uint32_t scope;
	uint16_t port;
};
void tcp_target_put(struct wire_buf *out, const struct tcp_target *t);
int tcp_target_get(const uint8_t *data, size_t len, struct tcp_target *t); /* -EPROTO */

/* OPEN(unix): the socket the guest connects to, by its absolute path. */
struct unix_target {
	char path[SOCKET_PATH_MAX];
};
void unix_target_put(struct wire_buf *out, const struct unix_target *t);
int unix_target_get(const uint8_t *data, size_t len, struct unix_target *t); /* -EPROTO */

/* OPEN(reverse): which LISTEN of the host's it is a connection of. */
void reverse_target_put(struct wire_buf *out, uint32_t id);
int reverse_target_get(const uint8_t *data, size_t len, uint32_t *id); /* -EPROTO */

#endif
