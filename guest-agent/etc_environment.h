/* SPDX-License-Identifier: MIT */
/*
 * etc_environment: a host's variables in /etc/environment, which PAM and systemd give to whoever logs in:
 *
 *	# homeport ID: until its end, of a host that is connected
 *	http_proxy="http://127.0.0.1:3128"
 *	# homeport ID: end
 *
 * They stand first, so that what this machine's own lines say goes before them, and all else stays as it is, byte for
 * byte.
 */
#ifndef HOMEPORT_ETC_ENVIRONMENT_H
#define HOMEPORT_ETC_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session.h"

struct wire_buf;

#define ETC_ENVIRONMENT "/etc/environment"

/*
 * Pure: appends the text to `out` with this host's block (of `count` variables NAME=VALUE; 0: with none) in the place
 * of the one that was there. A value that the file cannot hold, with a quote or a line's end in it, is left out. `id`
 * NULL: without the blocks of all hosts. Out of memory: out->failed.
 */
void etc_environment_edit(const char *text, size_t len, const uint8_t *id, char *const *variables, size_t count,
			  struct wire_buf *out);

/*
 * Makes the file (ETC_ENVIRONMENT, but in tests) so, whole or not at all; nothing is written where it is so already.
 * One that is not there is made, but not for nothing. 0, or a negative errno: it is as it was.
 */
int etc_environment_set(const char *path, const uint8_t *id, char *const *variables, size_t count);

#endif
