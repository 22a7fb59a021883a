/* SPDX-License-Identifier: MIT */
/*
 * resolver: the guest asks this machine's name servers. What a question is about is not looked at: any type, any size,
 * and DNSSEC pass as they are; but for the names of `hostResolver.hosts`, which are answered here (over UDP).
 *
 * The guest reaches the name servers that resolv.conf names at this moment, at port 53, and nothing else. Questions
 * under way are bounded; the oldest gives way to the newest.
 */
#ifndef HOMEPORT_RESOLVER_H
#define HOMEPORT_RESOLVER_H

#include <stddef.h>

struct loop;
struct mux_stream;
struct relay_caller;
struct resolver;

/* `path` of the resolv.conf, which must outlive it. NULL: out of memory. */
struct resolver *resolver_new(struct loop *loop, const char *path);

/* Streams that are there are reset. NULL is fine. */
void resolver_free(struct resolver *r);

/* Names that are answered here, `count` texts "NAME=ADDRESS" of IPv4 or IPv6, instead of those before. 0 or -ENOMEM. */
int resolver_set_names(struct resolver *r, char *const *names, size_t count);

/* A stream that is offered: of datagrams (datagram.h), each a question; or of TCP, which one name server is joined to.
 * It is accepted or refused, now or later. The caller (relay.h) is copied. */
void resolver_open_udp(struct resolver *r, struct mux_stream *stream, const struct relay_caller *caller);
void resolver_open_tcp(struct resolver *r, struct mux_stream *stream, const struct relay_caller *caller);

#endif
