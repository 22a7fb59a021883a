/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_LIMA_H
#define HOMEPORT_LIMA_H

#include "config.h"

/*
 * A VM of Lima's, by the name Lima has for it: finds its files ($LIMA_HOME, else ~/.lima) and reads them. Blocks on the
 * file system; config_lima.h is the pure part.
 */

/*
 * The configuration of the instance `name`, which host_arg_check_name() has passed. 0 and *out is the caller's; a
 * negative errno, and what is wrong is in `problems`, as are warnings in both cases. A mount whose folder is not there,
 * which Lima would make, is left out with a warning.
 */
int lima_load(const char *name, const char *home, struct problems *problems, struct config **out);

/* Calls `each` with the name of every VM that Lima has. */
void lima_each(const char *home, void (*each)(void *ctx, const char *name), void *ctx);

#endif
