/* SPDX-License-Identifier: MIT */
/* stream_listener: one listening socket, TCP or unix. */
#ifndef HOMEPORT_STREAM_LISTENER_H
#define HOMEPORT_STREAM_LISTENER_H

struct loop;
struct sock_address;
struct stream_listener;

/* A connection: fd is non-blocking, close-on-exec, without Nagle, and the callee's. It may close the listener. */
typedef void stream_accept_cb(void *ctx, int fd);

/*
 * Listens at this very address: nothing else answers there, and what already listens keeps it (-EADDRINUSE). A path is
 * taken as unix_socket.h has it, and removed at the end. Returns 0 or a negative errno.
 */
int stream_listener_open(struct loop *loop, const struct sock_address *at, stream_accept_cb *cb, void *ctx,
			 struct stream_listener **out);

/*
 * The same on a non-blocking socket that listens already; the listener has a descriptor of its own, and the socket goes
 * on listening when it is closed.
 */
int stream_listener_join(struct loop *loop, int fd, const struct sock_address *at, stream_accept_cb *cb, void *ctx,
			 struct stream_listener **out);
void stream_listener_close(struct stream_listener *l); /* NULL is fine */

/*
 * Of TCP: refuses whoever connects, and resets who waits, as if nothing listened; the port stays ours all the same.
 * Returns 0 or a negative errno, with nothing changed.
 */
int stream_listener_mute(struct stream_listener *l);

/* Listens again. Returns 0 or a negative errno: it may be closed then. */
int stream_listener_unmute(struct stream_listener *l);

#endif
