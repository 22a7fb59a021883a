/* SPDX-License-Identifier: MIT */
/* fd_packet: packets between processes of this machine, with descriptors in them: SOCK_SEQPACKET and SCM_RIGHTS
 * (unix(7)). Calls block where the socket does. */
#ifndef HOMEPORT_FD_PACKET_H
#define HOMEPORT_FD_PACKET_H

#include <stddef.h>
#include <sys/types.h>

#define FD_PACKET_MAX 2u /* descriptors in one */

/* Connects, without blocking then or later: the socket, or a negative errno. */
int fd_packet_connect(const char *path);

/* Sends one, with copies of `count` descriptors. 0 or a negative errno. */
int fd_packet_send(int sock, const void *data, size_t len, const int *fds, size_t count);

/*
 * Receives one: its length; 0: the other end has gone; or a negative errno, -EPROTO when it is longer than `size` or
 * has more than `count` descriptors. Those it has are the caller's then; in the place of others stands -1.
 */
ssize_t fd_packet_receive(int sock, void *buf, size_t size, int *fds, size_t count);

#endif
