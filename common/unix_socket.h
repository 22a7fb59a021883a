/* SPDX-License-Identifier: MIT */
/*
 * unix_socket: a listening unix socket by its path. A socket that nobody has any more is replaced; one that somebody
 * has, and any other file, never.
 */
#ifndef HOMEPORT_UNIX_SOCKET_H
#define HOMEPORT_UNIX_SOCKET_H

#include <sys/types.h>

struct sock_address;

/* The file that was made, so that no other one is removed in its place. */
struct unix_socket_file {
	dev_t dev;
	ino_t ino;
};

/*
 * Listens at an absolute path: for its owner alone (0600), in a folder that is made (0700, and those above it) where it
 * is missing. Returns the descriptor (non-blocking, close-on-exec), or a negative errno: -EADDRINUSE when somebody has
 * the socket that is there, -EEXIST when something else is there.
 */
int unix_socket_listen(const struct sock_address *at, struct unix_socket_file *file);

/* Removes the file, if it is still the one that was made: while the socket is open no other one has its number. */
void unix_socket_remove(const struct sock_address *at, const struct unix_socket_file *file);

#endif
