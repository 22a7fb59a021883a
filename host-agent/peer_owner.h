/* SPDX-License-Identifier: MIT */
/*
 * peer_owner: whose socket of this host is at the other end of a TCP connection or UDP exchange. The kernel is asked by
 * sock_diag(7), which needs no privilege.
 */
#ifndef HOMEPORT_PEER_OWNER_H
#define HOMEPORT_PEER_OWNER_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

/* One end: family 4 or 6, 4 or 16 bytes. */
struct peer_end {
	uint8_t family;
	const uint8_t *addr;
	uint16_t port;
};

/*
 * The user whose socket sends from `peer` to `own`; proto is IPPROTO_TCP or IPPROTO_UDP. Returns 0, -ENOENT (there is
 * no such socket here, any more: it was closed, or the peer is another machine) or another negative errno.
 */
int peer_owner(uint8_t proto, const struct peer_end *peer, const struct peer_end *own, uid_t *uid);

/* The same of an accepted TCP connection. */
int peer_owner_of(int fd, uid_t *uid);

#endif
