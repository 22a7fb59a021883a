/* SPDX-License-Identifier: MIT */
/*
 * See shell_folder.h. A folder may be in several shares, and a share may be covered in the guest, in part, by one that
 * is mounted below it: ~/src of this machine is not what /home/me/src of the guest shows where /srv/data is mounted
 * there. So a share has a folder only if of all mounted ones it is the one found at that place.
 */
#include "shell_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of `path` is `folder`, when it is that or lies below; else 0. */
static size_t within(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	if (len == 1)
		return 1; /* "/": what is left begins with its slash */
	return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0') ? len : 0;
}

static char *path_in_guest(const struct shell_share *share, const char *folder)
{
	const char *target = strcmp(share->target, "/") == 0 ? "" : share->target;
	const char *rest = folder + (strcmp(share->source, "/") == 0 ? 0 : strlen(share->source));
	char *path;

	if (strcmp(rest, "/") == 0)
		rest = "";
	if (asprintf(&path, "%s%s", *target || *rest ? target : "/", rest) < 0)
		return NULL;
	return path;
}

/* Whether what the guest has at `path` is this share's. */
static bool shows(const struct shell_share *shares, size_t count, const struct shell_share *share, const char *path)
{
	size_t own = within(path, share->target);

	for (size_t i = 0; i < count; i++)
		if (shares[i].mounted && within(path, shares[i].target) > own)
			return false;
	return true;
}

enum shell_place shell_folder_find(const struct shell_share *shares, size_t count, const char *folder, char **path)
{
	enum shell_place place = SHELL_PLACE_NONE;
	size_t deepest = 0;

	*path = NULL;
	for (size_t i = 0; i < count; i++) {
		size_t depth = within(folder, shares[i].source);
		char *there;

		if (depth == 0)
			continue;
		if (!shares[i].mounted) {
			if (place == SHELL_PLACE_NONE)
				place = SHELL_PLACE_UNMOUNTED;
			continue;
		}
		there = path_in_guest(&shares[i], folder);
		if (there && !shows(shares, count, &shares[i], there)) {
			free(there);
			if (place != SHELL_PLACE_IN_GUEST)
				place = SHELL_PLACE_COVERED;
		} else if (depth > deepest) {
			free(*path);
			*path = there;
			deepest = depth;
			place = SHELL_PLACE_IN_GUEST;
		} else {
			free(there);
		}
	}
	return place;
}
