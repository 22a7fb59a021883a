/* SPDX-License-Identifier: MIT */
/* follow: a log file, printed and followed. Blocking; for commands. */
#ifndef HOMEPORT_FOLLOW_H
#define HOMEPORT_FOLLOW_H

#include <stdbool.h>

/*
 * Writes the file to `out`; with go_on also what is added to it, and what is in the file that takes its name when it is
 * moved away, until nobody reads any more. 0 or a negative errno.
 */
int follow_file(const char *path, bool go_on, int out);

#endif
