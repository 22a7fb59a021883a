/* SPDX-License-Identifier: MIT */
/* become_root: a command that only root can carry out is started again by sudo, with the same words and more. */
#ifndef HOMEPORT_BECOME_ROOT_H
#define HOMEPORT_BECOME_ROOT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* This program's file. 0 or a negative errno. */
int become_root_self(char self[PATH_MAX]);

/* Whether sudo starts this program without asking for a password: 1, 0, or -ENOENT where there is no sudo. */
int become_root_is_free(const char *self);

/*
 * Becomes `sudo self argv...`, `sudo -n` with `free`; sudo asks for a password on the terminal. argv ends with NULL.
 * Returns only when it cannot be: a negative errno.
 */
int become_root(const char *self, bool free, const char *const argv[]);

#endif
