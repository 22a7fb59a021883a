/* SPDX-License-Identifier: MIT */
/*
 * See unix_socket.h.
 *
 * Whether anybody has a socket is asked by connecting to it with one of another type: the kernel says EPROTOTYPE where
 * a process holds it and ECONNREFUSED where none does (unix(7)), and the one that does hears nothing of it, however
 * often it is asked. What cannot be asked is left alone.
 *
 * Between that and the removal another agent might do the same, and be done: its fresh socket would go. So whoever
 * replaces one holds the lock of its folder meanwhile (flock(2)), for microseconds, and who finds it held finds the
 * socket taken.
 */
#include "unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folders.h"
#include "sock_address.h"

#define BACKLOG 1024

/* 0 when the path is free now: nobody had the socket that was there. */
static int remove_stale(const struct sock_address *at)
{
	struct stat st;
	int fd, error;

	if (lstat(at->un.sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = connect(fd, &at->any, at->len) == 0 ? 0 : errno;
	close(fd);
	if (error != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(at->un.sun_path) == 0 ? 0 : -errno;
}

/* The folder, locked; -EWOULDBLOCK: by somebody else. Another error: it cannot be, as on NFS. */
static int folder_lock(const struct sock_address *at)
{
	size_t len = (size_t)(strrchr(at->un.sun_path, '/') - at->un.sun_path);
	char folder[sizeof(at->un.sun_path)];
	int fd, rc;

	memcpy(folder, at->un.sun_path, len);
	folder[len] = '\0';
	fd = open(len ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

static int bind_here(int fd, const struct sock_address *at)
{
	return bind(fd, &at->any, at->len) == 0 ? 0 : -errno;
}

static int bind_over_stale(int fd, const struct sock_address *at)
{
	int lock = folder_lock(at), rc;

	if (lock == -EWOULDBLOCK)
		return -EADDRINUSE;
	rc = remove_stale(at);
	if (!rc)
		rc = bind_here(fd, at);
	if (lock >= 0)
		close(lock);
	return rc;
}

static int bind_path(int fd, const struct sock_address *at)
{
	int rc = bind_here(fd, at);

	if (rc == -ENOENT && (rc = folders_make_above(at->un.sun_path)) == 0)
		rc = bind_here(fd, at);
	return rc == -EADDRINUSE ? bind_over_stale(fd, at) : rc;
}

int unix_socket_listen(const struct sock_address *at, struct unix_socket_file *file)
{
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return -errno;
	/* The file takes the mode of the socket, so there is no moment at which others could connect. */
	rc = fchmod(fd, 0600) < 0 ? -errno : bind_path(fd, at);
	if (rc == 0 && (listen(fd, BACKLOG) < 0 || lstat(at->un.sun_path, &st) < 0))
		rc = -errno;
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*file = (struct unix_socket_file){.dev = st.st_dev, .ino = st.st_ino};
	return fd;
}

void unix_socket_remove(const struct sock_address *at, const struct unix_socket_file *file)
{
	struct stat st;

	if (lstat(at->un.sun_path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
		unlink(at->un.sun_path);
}
