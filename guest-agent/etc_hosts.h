/* SPDX-License-Identifier: MIT */
/*
 * etc_hosts: the line of /etc/hosts by which programs of the guest find the host's services under a name,
 *
 *	127.0.0.1 host.homeport.internal # homeport ID
 *
 * with the id of the host it is there for. All else in the file stays as it is, byte for byte.
 */
#ifndef HOMEPORT_ETC_HOSTS_H
#define HOMEPORT_ETC_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session.h"

struct wire_buf;

#define ETC_HOSTS "/etc/hosts"

/* Pure: appends the text to `out`, with this host's line in front or without it. Out of memory: out->failed. */
void etc_hosts_edit(const char *text, size_t len, const uint8_t id[SESSION_ID_SIZE], bool present,
		    struct wire_buf *out);

/*
 * Makes the file (ETC_HOSTS, but in tests) have the line or not, whole or not at all; nothing is written where it is so
 * already. 0, or a negative errno: the file is as it was.
 */
int etc_hosts_set(const char *path, const uint8_t id[SESSION_ID_SIZE], bool present);

#endif
