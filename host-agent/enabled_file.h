/* SPDX-License-Identifier: MIT */
/*
 * enabled_file: the configuration file that `homeport enable` writes and `homeport disable` removes again, if it is
 * still that. A copy in the session's state folder is how that is known: not a mark in the file, which would stay in it
 * when its user goes on from there.
 */
#ifndef HOMEPORT_ENABLED_FILE_H
#define HOMEPORT_ENABLED_FILE_H

#include <stddef.h>

struct runtime_dir;

/* Writes a file that is not there yet, and remembers it. 0, or a negative errno (-EEXIST), and there is none. */
int enabled_file_write(const char *path, const struct runtime_dir *dir, const char *text, size_t len);

enum enabled_file_end {
	ENABLED_FILE_REMOVED,
	ENABLED_FILE_NOT_OURS, /* nothing is known of having written it */
	ENABLED_FILE_CHANGED,  /* since it was written */
	ENABLED_FILE_NONE,     /* it is not there */
	ENABLED_FILE_ENDS
};

/* Removes the file if it is what was written, byte for byte, and forgets it. What became of it, or a negative errno. */
int enabled_file_remove(const char *path, const struct runtime_dir *dir);

#endif
