/* SPDX-License-Identifier: MIT */
/* The newest process, by /proc/loadavg. See newest_pid.h. */
#include "newest_pid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The newest, or -1. */
static long newest_pid_read(int fd)
{
	char line[128], *last;
	ssize_t n = pread(fd, line, sizeof(line) - 1, 0);

	if (n <= 0)
		return -1;
	line[n] = '\0';
	last = strrchr(line, ' ');
	return last ? strtol(last + 1, NULL, 10) : -1;
}

int newest_pid_open(struct newest_pid *n)
{
	n->fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	if (n->fd < 0)
		return -errno;
	n->last = newest_pid_read(n->fd);
	if (n->last >= 0)
		return 0;
	newest_pid_close(n);
	return -ENODATA;
}

void newest_pid_close(struct newest_pid *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

bool newest_pid_changed(struct newest_pid *n)
{
	long before = n->last;

	if (n->fd < 0)
		return false;
	n->last = newest_pid_read(n->fd);
	return n->last != before;
}
