/* SPDX-License-Identifier: MIT */
/*
 * keep_socket: where the helper of a mount is found when its agent has gone (helper.h): a socket for each mount, in the
 * agent's own folder (meet.h), which nobody else can enter. The agent makes it and hands it to the helper, so that a
 * helper of root's never follows a path that is a user's. Its name says, in digits, on which machine, for which host
 * and at which target.
 */
#ifndef HOMEPORT_KEEP_SOCKET_H
#define HOMEPORT_KEEP_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEEP_SOCKET_PATH_MAX 512

/* The path for a host (an instance's id, 16 bytes) and a target, as the host wrote it. Pure but for the machine's name.
 */
void keep_socket_path(const char *folder, const uint8_t host[16], const char *target, char path[KEEP_SOCKET_PATH_MAX]);

/* Listens there (0600), in the place of what was left there. The descriptor, or a negative errno. */
int keep_socket_listen(const char *path);

/* Connects (non-blocking): -ENOENT when no helper listens there any more, whose socket is removed then. Or another
 * negative errno. */
int keep_socket_connect(const char *path);

/* What a helper keeps there, if one does, is unmounted: at once, or when the agent that it serves has gone. */
void keep_socket_unmount(const char *path);

/* What helpers keep for a host, and `in_use` does not say of its path, is unmounted. */
void keep_socket_give_up(const char *folder, const uint8_t host[16], bool (*in_use)(void *ctx, const char *path),
			 void *ctx);

/* Removes the sockets of helpers that have ended. */
void keep_socket_sweep(const char *folder);

#endif
