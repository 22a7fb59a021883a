/* SPDX-License-Identifier: MIT */
/*
 * listing: the entries of a folder's handle, one after the other, from any cookie (the host file system's own). What
 * getdents64(2) gave and no reply has taken stays with the handle, so requests on one handle are carried out alone.
 */
#ifndef HOMEPORT_LISTING_H
#define HOMEPORT_LISTING_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "handles.h"

/* The entry that follows `cookie` (0: the first), NULL at the end. Valid until the next call. Negative errno. */
int listing_next(struct handle *h, uint64_t cookie, const struct dirent64 **entry);

/* The entry just given is used: what follows it is reached by its d_off. */
void listing_take(struct handle *h, const struct dirent64 *entry);

static inline bool listing_is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

#endif
