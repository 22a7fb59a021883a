/* SPDX-License-Identifier: MIT */
/* name_servers: whom this machine asks for names: resolv.conf(5), read again when it is another one. */
#ifndef HOMEPORT_NAME_SERVERS_H
#define HOMEPORT_NAME_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "sock_address.h"

#define NAME_SERVERS_MAX  3 /* as the C library has it */
#define NAME_SERVERS_PORT 53
#define RESOLV_CONF       "/etc/resolv.conf"

struct name_servers {
	struct sock_address at[NAME_SERVERS_MAX];
	size_t count;
};

/* Pure: those that the text names, in its order; where it names none, the one of this machine. */
void name_servers_parse(const char *text, size_t len, struct name_servers *out);

struct name_servers_file {
	const char *path;
	struct stat seen; /* of what was read */
	bool read;
	struct name_servers servers;
};

/*
 * Reads the file where it is another one than before. True: the servers may be others. A file that is not there names
 * none; it is small and in /etc or /run, so the loop reads it itself.
 */
bool name_servers_look(struct name_servers_file *file);

#endif
