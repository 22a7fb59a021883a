/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_FILE_H
#define HOMEPORT_CONFIG_FILE_H

#include <limits.h>
#include <sys/stat.h>

#include "config.h"

/*
 * The configuration's files: where they lie, whether they may be trusted, and whether what they name exists. Blocks on
 * the file system; config.h is the pure part.
 */

/*
 * The user's home (HOME, else the password file) into `out` (PATH_MAX bytes). 0, or -ENOENT where there is none that is
 * an absolute path.
 */
int config_home(char out[PATH_MAX]);

/* The configuration folder, $XDG_CONFIG_HOME/homeport or ~/.config/homeport. 0, or -ENAMETOOLONG. */
int config_folder(const char *home, char out[PATH_MAX]);

/* The path of NAME.yaml in a folder. 0, or -ENAMETOOLONG. */
int config_file_path(const char *folder, const char *name, char out[PATH_MAX]);

/*
 * Opens and parses a file that belongs to the user or root and that nobody else can write. 0 and *out is the caller's;
 * a negative errno (-ENOENT: there is no such file), and what is wrong is in `problems`.
 */
int config_load(const char *path, const char *home, struct problems *problems, struct config **out);

/*
 * Reads such a file's bytes, to be freed by the caller, and what it is. Errors as config_load.
 */
int config_file_read(const char *path, struct problems *problems, char **text, size_t *size, struct stat *st);

/*
 * Puts these bytes in the place of the file that config_file_read() read, with its mode and owner, whole or not at all.
 * A link stays one. 0; -EBUSY when it was changed since; a negative errno.
 */
int config_file_replace(const char *path, const struct stat *st, const char *text, size_t size);
/* Looks at a file and at all it names: everything that is wrong, in the order of its lines. */
void config_check(const char *path, const char *home, struct problems *problems);

/* Adds an error for each path of the configuration that is not there, or cannot be used for what it is. */
void config_check_paths(const struct config *config, struct problems *problems);

#endif
