/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_TEMPLATE_H
#define HOMEPORT_CONFIG_TEMPLATE_H

#include <stdbool.h>
#include <stdio.h>

/*
 * Writes a configuration file for a session of that name in which everything but the host is a comment: what each key
 * is for, as "# prose", and the key with a value, as "#key: value", so that taking the # away has it. Each such line is
 * valid by itself, and all of them together are. `exists` says whether a path (which may begin with ~) is there: of the
 * files that could be named one that is is. Pure but for that.
 */
void config_template_write(FILE *out, const char *name, bool (*exists)(void *ctx, const char *path), void *ctx);

#endif
