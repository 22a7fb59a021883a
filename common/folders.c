/* SPDX-License-Identifier: MIT */
/* mkdir -p. See folders.h. */
#include "folders.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int make_one(const char *path, size_t len)
{
	char part[PATH_MAX];

	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len);
	part[len] = '\0';
	return mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int folders_make_above(const char *path)
{
	int rc = 0;

	for (const char *slash = strchr(path + 1, '/'); slash && rc == 0; slash = strchr(slash + 1, '/'))
		rc = make_one(path, (size_t)(slash - path));
	return rc;
}

int folders_make(const char *path)
{
	int rc = folders_make_above(path);

	return rc == 0 ? make_one(path, strlen(path)) : rc;
}
