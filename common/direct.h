/* SPDX-License-Identifier: MIT */
/*
 * direct: one attempt at a TCP connection between the two agents beside the SSH one, under TLS with a key that went
 * over SSH (chan_tls.h). Either side may be the one that listens: a guest is not always to be reached from outside, nor
 * its host from inside. PROTOCOL.md, "A direct connection".
 */
#ifndef HOMEPORT_DIRECT_H
#define HOMEPORT_DIRECT_H

#include <stdint.h>

#include "bounds.h"

struct chan;
struct direct;
struct loop;
struct sock_address;

/*
 * Called once, never before the function that began the attempt returned; the attempt frees itself afterwards. chan has
 * no owner yet and is the callee's; NULL when nothing came of it within DIRECT_PATIENCE_US, and why is a sentence.
 */
typedef void direct_done_cb(void *ctx, struct chan *chan, const char *why);

/* Connects. Returns 0, or a negative errno with nothing begun. */
int direct_connect(struct loop *loop, const struct sock_address *to, const uint8_t key[DIRECT_KEY_SIZE],
		   direct_done_cb *done, void *ctx, struct direct **out);

/*
 * Listens at that address, at a port of the kernel's choice (*port), and takes the first that has the key; *inode is
 * the listening socket's, which ends with the attempt. Returns 0, or a negative errno with nothing begun.
 */
int direct_listen(struct loop *loop, const struct sock_address *at, const uint8_t key[DIRECT_KEY_SIZE],
		  direct_done_cb *done, void *ctx, struct direct **out, uint16_t *port, uint64_t *inode);

/* Gives the attempt up; `done` is not called. NULL is fine. */
void direct_free(struct direct *d);

#endif
