/* SPDX-License-Identifier: MIT */
/*
 * socket_files: which of this host's unix sockets stand behind files. The kernel is asked by sock_diag(7), which needs
 * no privilege and disturbs nobody: a connection would.
 */
#ifndef HOMEPORT_SOCKET_FILES_H
#define HOMEPORT_SOCKET_FILES_H

#include <stdint.h>
#include <sys/types.h>

/* A socket that is bound to a file and takes connections, or datagrams of anybody's. */
struct socket_file {
	dev_t dev; /* the file, as stat(2) has it */
	ino_t ino;
	uint64_t inode; /* the socket, as /proc/PID/fd has it */
	uid_t uid;
};

typedef void socket_files_cb(void *ctx, const struct socket_file *file);

/* Each one there is in this network namespace. 0, or a negative errno: -ENOENT where the kernel cannot say
 * (CONFIG_UNIX_DIAG). */
int socket_files_each(socket_files_cb *each, void *ctx);

#endif
