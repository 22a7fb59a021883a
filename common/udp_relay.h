/* SPDX-License-Identifier: MIT */
/*
 * udp_relay: carries datagrams between one mux stream, which is one client of the other side's, and one connected
 * socket. The socket is the client's own: a server here tells clients apart by it, and only the server's answers come
 * back.
 *
 * Nothing waits: what the stream or the socket has no room for is dropped, as a network would. A server that is not
 * there any more (ECONNREFUSED, which is ICMP's port unreachable) ends the stream with REFUSED.
 */
#ifndef HOMEPORT_UDP_RELAY_H
#define HOMEPORT_UDP_RELAY_H

#include <stdbool.h>

struct loop;
struct mux_stream;
struct relay_caller;

/*
 * Starts on a connected, non-blocking socket, which becomes the relay's, and a stream that is offered and not answered
 * yet: it is accepted. It ends with the stream. The caller (relay.h), which may be NULL, is copied. False, and nothing
 * has happened to any of them: out of memory.
 */
bool udp_relay_start(struct loop *loop, int fd, struct mux_stream *stream, const struct relay_caller *caller);

#endif
