/* SPDX-License-Identifier: MIT */
/* folders: mkdir -p. */
#ifndef HOMEPORT_FOLDERS_H
#define HOMEPORT_FOLDERS_H

/* Makes what is missing of an absolute path, each folder 0700. 0 or a negative errno. */
int folders_make(const char *path);

/* The same of the folder that the path lies in. */
int folders_make_above(const char *path);

#endif
