/* SPDX-License-Identifier: MIT */
/* shell_folder: where in the guest a folder of this machine is found, by the shares of a session. Pure. */
#ifndef HOMEPORT_SHELL_FOLDER_H
#define HOMEPORT_SHELL_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Both paths are absolute, in normal form and without links. */
struct shell_share {
	char *source, *target;
	bool mounted;
};

enum shell_place {
	SHELL_PLACE_NONE,      /* no share contains it */
	SHELL_PLACE_IN_GUEST,  /* *path is where it is */
	SHELL_PLACE_UNMOUNTED, /* only shares that are not mounted contain it */
	SHELL_PLACE_COVERED,   /* what is at its place in the guest is another share */
};

/*
 * The share whose source lies deepest has it, unless at its place in the guest there is another share. *path is the
 * caller's; with SHELL_PLACE_IN_GUEST alone it may be NULL: out of memory.
 */
enum shell_place shell_folder_find(const struct shell_share *shares, size_t count, const char *folder, char **path);

#endif
