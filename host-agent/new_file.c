/* SPDX-License-Identifier: MIT */
/*
 * Files made whole. See new_file.h.
 *
 * A file is written beside its place and then linked there: a full disk or a crash leaves no half of it, and of two
 * that make it at the same time the first wins.
 */
#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "write_all.h"

int new_file_write(const char *path, const void *data, size_t len)
{
	char fresh[PATH_MAX];
	int fd, rc;

	if (snprintf(fresh, sizeof(fresh), "%s.%d", path, (int)getpid()) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, data, len);
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	if (!rc && link(fresh, path) < 0)
		rc = -errno;
	unlink(fresh);
	return rc;
}
