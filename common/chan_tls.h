/* SPDX-License-Identifier: MIT */
/*
 * chan_tls: a chan of a TCP connection under TLS 1.3, between two ends that have a key in common: an external PSK with
 * (EC)DHE (RFC 8446, sections 2.2 and 4.2.11). There are no certificates: whoever has not the key is nobody.
 */
#ifndef HOMEPORT_CHAN_TLS_H
#define HOMEPORT_CHAN_TLS_H

#include <stdint.h>

#include "bounds.h"

struct chan;
struct loop;

enum chan_tls_role {
	CHAN_TLS_CLIENT, /* who connected */
	CHAN_TLS_SERVER,
};

/*
 * Called once, never before chan_tls_new() returned. why is NULL: the other end has the key, and the chan can be given
 * an owner. Else a sentence, and the chan is of no use. Either way it is the caller's, who may free it in here.
 */
typedef void chan_tls_ready_cb(void *ctx, const char *why);

/*
 * fd is a TCP socket, not blocking, connected or about to be; it becomes the chan's. The process must ignore SIGPIPE.
 * How long `ready` is waited for is the caller's matter. NULL (fd closed): out of memory or descriptors.
 */
struct chan *chan_tls_new(struct loop *loop, int fd, enum chan_tls_role role, const uint8_t key[DIRECT_KEY_SIZE],
			  chan_tls_ready_cb *ready, void *ctx);

#endif
