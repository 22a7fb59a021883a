/* SPDX-License-Identifier: MIT */
/*
 * The folder, the socket in it, and messages with descriptors. See meet.h.
 *
 * The folder must outlive logins: systemd-logind empties /run/user/UID seconds after the last session of the user
 * ended, which is just what a lost link looks like, while serve and its mounts are to stay. So ~/.cache comes first,
 * and the runtime folder only where the home cannot be written. A socket cannot move under a mount of ours unseen: the
 * agent refuses to mount above it.
 *
 * The socket is named after the machine, because a home may be shared by several over a network, and after the build:
 * hosts of different versions each find the agent they brought.
 */
#include "meet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "build_id.h"
#include "fd_packet.h"

#define MEET_LOG_MAX (1 << 20) /* a log longer than this is begun anew, the old one kept once */
#define NAME_SIZE    64

enum place {
	PLACE_CACHE,
	PLACE_RUNTIME,
	PLACE_TMP,
	PLACE_COUNT,
};

/* Where `place` would be; false where it does not exist for this user. Makes the folder above it where that is ours. */
static bool place_name(enum place place, bool make, char *path, size_t size)
{
	const char *home = getenv("HOME"), *runtime = getenv("XDG_RUNTIME_DIR");
	int n = -1;

	switch (place) {
	case PLACE_CACHE:
		if (!home || home[0] != '/')
			return false;
		n = snprintf(path, size, "%s/.cache", home);
		if (make && n < (int)size)
			mkdir(path, 0700);
		n = snprintf(path, size, "%s/.cache/homeport", home);
		break;
	case PLACE_RUNTIME:
		n = runtime && runtime[0] == '/' ? snprintf(path, size, "%s/homeport-guest", runtime)
						 : snprintf(path, size, "/run/user/%u/homeport-guest", geteuid());
		break;
	case PLACE_TMP:
		n = snprintf(path, size, "/tmp/homeport-%u", geteuid());
		break;
	case PLACE_COUNT:
		break;
	}
	return n > 0 && n < (int)size;
}

/* Opens the folder if it is a folder, ours, and nobody else's. Returns its descriptor or a negative errno. */
static int folder_open(const char *path, bool make)
{
	struct stat st;
	int fd;

	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

/* The name of a file of ours in the folder: KIND-MACHINE-BUILD, the build's first digits; or KIND-MACHINE. */
static void file_name(char name[NAME_SIZE], const char *kind, const char *build)
{
	struct utsname machine;

	uname(&machine);
	snprintf(name, NAME_SIZE, "%s-%.32s%s%.8s", kind, machine.nodename, *build ? "-" : "", build);
}

static int socket_address(const char *folder, const char *name, struct sockaddr_un *at)
{
	int n;

	at->sun_family = AF_UNIX;
	n = snprintf(at->sun_path, sizeof(at->sun_path), "%s/%s", folder, name);
	return n < (int)sizeof(at->sun_path) ? 0 : -ENAMETOOLONG;
}

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.uid == geteuid();
}

static int connect_in(const char *folder, const char *name)
{
	struct timeval patience = {.tv_sec = 5};
	struct sockaddr_un at;
	int fd, rc = socket_address(folder, name, &at);

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		rc = errno == ECONNREFUSED ? -ENOENT : -errno;
		close(fd);
		return rc;
	}
	if (!same_user(fd)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

static int connect_build(const char *build)
{
	char path[512], name[NAME_SIZE];
	int result = -ENOENT;

	file_name(name, "serve", build);
	for (enum place place = 0; place < PLACE_COUNT; place++) {
		int folder, fd;

		if (!place_name(place, false, path, sizeof(path)))
			continue;
		folder = folder_open(path, false);
		if (folder < 0)
			continue;
		close(folder);
		fd = connect_in(path, name);
		if (fd >= 0)
			return fd;
		if (fd != -ENOENT)
			result = fd;
	}
	return result;
}

int meet_connect(void)
{
	return connect_build(build_id_own());
}

bool meet_build_runs(const char *build)
{
	int fd = connect_build(build);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Those in one folder, which it closes. */
static void each_in(int folder, const char *path, const char *but, void (*ask)(void *ctx, int fd), void *ctx)
{
	char start[NAME_SIZE];
	struct dirent *entry;
	DIR *dir = fdopendir(folder);

	file_name(start, "serve", "");
	if (!dir)
		close(folder);
	while (dir && (entry = readdir(dir))) {
		const struct timeval patience = {.tv_sec = 5};
		int fd;

		if (strncmp(entry->d_name, start, strlen(start)) != 0 || !strcmp(entry->d_name, but))
			continue;
		fd = connect_in(path, entry->d_name);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		ask(ctx, fd);
		close(fd);
	}
	if (dir)
		closedir(dir);
}

void meet_each(bool own, void (*ask)(void *ctx, int fd), void *ctx)
{
	char path[512], name[NAME_SIZE];

	file_name(name, "serve", build_id_own());
	for (enum place place = 0; place < PLACE_COUNT; place++) {
		int folder = place_name(place, false, path, sizeof(path)) ? folder_open(path, false) : -1;

		if (folder >= 0)
			each_in(folder, path, own ? "" : name, ask, ctx);
	}
}

static void ask_release(void *ctx, int fd)
{
	char text[MEET_TEXT_MAX + 1];

	if (!meet_send(fd, ctx, NULL, 0))
		meet_receive(fd, text, NULL, 0);
}

void meet_release_others(const char *instance)
{
	char request[64];

	snprintf(request, sizeof(request), "hand-over %.32s", instance);
	meet_each(false, ask_release, request);
	/* Of who did that nothing is left to be released. */
	snprintf(request, sizeof(request), "release %.32s", instance);
	meet_each(false, ask_release, request);
}

/* The first place that can be made. Returns its descriptor, with its path, or a negative errno. */
static int folder_make(char *path, size_t size)
{
	int fd = -ENOENT;

	for (enum place place = 0; place < PLACE_COUNT; place++) {
		if (!place_name(place, true, path, size))
			continue;
		fd = folder_open(path, true);
		if (fd >= 0)
			return fd;
	}
	return fd;
}

static int listen_in(const char *folder)
{
	struct sockaddr_un at;
	char name[NAME_SIZE];
	int fd, rc;

	file_name(name, "serve", build_id_own());
	rc = socket_address(folder, name, &at);
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* We hold the lock: what lies there was left by one that died. */
	unlink(at.sun_path);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || chmod(at.sun_path, 0600) < 0 || listen(fd, 64) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int meet_listen(char *folder, size_t size)
{
	char name[NAME_SIZE];
	int dir = folder_make(folder, size), lock, fd;

	if (dir < 0)
		return dir;
	file_name(name, "lock", build_id_own());
	lock = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	fd = lock < 0 ? -errno : 0;
	close(dir);
	if (fd < 0)
		return fd;
	/* The lock stays open, and held, until the process ends. */
	if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		close(lock);
		return -EBUSY;
	}
	fd = listen_in(folder);
	if (fd < 0)
		close(lock);
	return fd;
}

void meet_unlisten(const char *folder)
{
	struct sockaddr_un at;
	char name[NAME_SIZE];

	file_name(name, "serve", build_id_own());
	if (!socket_address(folder, name, &at))
		unlink(at.sun_path);
}

int meet_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (!same_user(fd)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

int meet_send(int fd, const char *text, const int *fds, size_t count)
{
	size_t len = strlen(text);

	return len > MEET_TEXT_MAX ? -EMSGSIZE : fd_packet_send(fd, text, len, fds, count);
}

int meet_receive(int fd, char text[MEET_TEXT_MAX + 1], int *fds, size_t count)
{
	ssize_t n = fd_packet_receive(fd, text, MEET_TEXT_MAX, fds, count);

	text[n > 0 ? n : 0] = '\0';
	if (n <= 0 || !count || fds[count - 1] >= 0)
		return (int)n;
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return -EPROTO;
}

int meet_open_log(void)
{
	char path[512], name[NAME_SIZE], old[NAME_SIZE + 8];
	int dir = folder_make(path, sizeof(path)), fd;
	struct stat st;

	if (dir < 0)
		return dir;
	file_name(name, "log", "");
	snprintf(old, sizeof(old), "%s.1", name);
	if (!fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && st.st_size > MEET_LOG_MAX)
		renameat(dir, name, dir, old);
	fd = openat(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fd = -errno;
	close(dir);
	return fd;
}
