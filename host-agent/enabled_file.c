/* SPDX-License-Identifier: MIT */
/* The file `enable` writes. See enabled_file.h. */
#include "enabled_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "new_file.h"
#include "runtime_dir.h"

#define COPY_PATH_MAX (RUNTIME_PATH_MAX + 32)

static void copy_path(const struct runtime_dir *dir, char path[COPY_PATH_MAX])
{
	snprintf(path, COPY_PATH_MAX, "%s/enabled.yaml", dir->state);
}

/* The copy comes first: without its file it means nothing, while a file without its copy would be its user's for ever.
 */
int enabled_file_write(const char *path, const struct runtime_dir *dir, const char *text, size_t len)
{
	char copy[COPY_PATH_MAX];
	int rc;

	if (access(path, F_OK) == 0)
		return -EEXIST;
	copy_path(dir, copy);
	unlink(copy);
	rc = new_file_write(copy, text, len);
	return rc < 0 ? rc : new_file_write(path, text, len);
}

static bool same_bytes(FILE *a, FILE *b)
{
	int left, right;

	do {
		left = getc(a);
		right = getc(b);
	} while (left == right && left != EOF);
	return left == right && !ferror(a) && !ferror(b);
}

static int look(const char *path, const char *copy)
{
	FILE *file = fopen(path, "re"), *written;
	int found = ENABLED_FILE_NOT_OURS;

	if (!file)
		return errno == ENOENT ? ENABLED_FILE_NONE : -errno;
	written = fopen(copy, "re");
	if (written) {
		found = same_bytes(file, written) ? ENABLED_FILE_REMOVED : ENABLED_FILE_CHANGED;
		fclose(written);
	}
	fclose(file);
	return found;
}

int enabled_file_remove(const char *path, const struct runtime_dir *dir)
{
	char copy[COPY_PATH_MAX];
	int found;

	copy_path(dir, copy);
	found = look(path, copy);
	if (found == ENABLED_FILE_REMOVED && unlink(path) < 0)
		return -errno;
	if (found >= 0)
		unlink(copy);
	return found;
}
