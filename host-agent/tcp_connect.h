/* SPDX-License-Identifier: MIT */
/*
 * tcp_connect: a connected TCP socket to a host, over whichever of its addresses answers first.
 */
#ifndef HOMEPORT_TCP_CONNECT_H
#define HOMEPORT_TCP_CONNECT_H

struct cancel;
struct link_error;
struct ssh_target;

/*
 * Resolves the target's hostname and connects. Addresses are tried in the resolver's order, families in turn, each a
 * quarter of a second after the one before (or as soon as that has failed), all at once in the end; the first that
 * connects wins. Blocks: for a worker thread. Returns the descriptor (close-on-exec, non-blocking, with the options of
 * a long-lived connection set), or a negative errno with err filled in.
 */
int tcp_connect(const struct ssh_target *target, struct cancel *cancel, struct link_error *err);

/*
 * The delayed acknowledgement costs 40 ms in a dialogue of small packets, which logging in is, and the kernel forgets
 * that it was told so: to be called before each step. Does nothing to what is no TCP socket.
 */
void tcp_acknowledge_quickly(int fd);

#endif
