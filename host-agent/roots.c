/* SPDX-License-Identifier: MIT */
/*
 * The root is opened before the sandbox closes, once; a symlink in its own path is followed then and never again.
 *
 * File systems below it are numbered as they are met: 0 is the root's own. Their types come from mountinfo, by device
 * number, never from statfs(2), which asks the very server that may hang. A device that mountinfo does not know (a
 * subvolume of btrfs has a number of its own) is taken for a local one. What a server answers for is shown and, unless
 * crossing was asked for, not entered (EACCES, which no tool takes for "empty").
 */
#include "roots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *const remote_types[] = {
	"9p", "afs", "autofs", "ceph", "cifs", "coda", "davfs", "nfs", "nfs4", "ncpfs", "smb3", "smbfs", "virtiofs",
};

static bool type_remote(const char *type)
{
	for (size_t i = 0; i < sizeof(remote_types) / sizeof(remote_types[0]); i++)
		if (strcmp(type, remote_types[i]) == 0)
			return true;
	/* fuse, fuse.sshfs, ...; fuseblk (ntfs-3g and the like) is a program all the same */
	return strncmp(type, "fuse", 4) == 0;
}

/* Is the device of one line of mountinfo (proc(5)) this one, and a remote one? */
static bool line_remote(const char *line, uint32_t major, uint32_t minor)
{
	const char *dash = strstr(line, " - ");
	unsigned at_major, at_minor;
	char type[64];

	return sscanf(line, "%*d %*d %u:%u", &at_major, &at_minor) == 2 && at_major == major && at_minor == minor &&
	       dash && sscanf(dash, " - %63s", type) == 1 && type_remote(type);
}

static bool device_remote(const struct root *root, uint32_t major, uint32_t minor)
{
	bool remote = false;
	char *line = NULL;
	size_t size = 0;
	FILE *f;
	int fd;

	/* Opened anew, as a reader of its own; by the descriptor, since the sandbox hides the path. */
	fd = root->mountinfo_fd >= 0 ? fcntl(root->mountinfo_fd, F_DUPFD_CLOEXEC, 3) : -1;
	f = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!f) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	rewind(f);
	while (!remote && getline(&line, &size, f) >= 0)
		remote = line_remote(line, major, minor);
	free(line);
	fclose(f);
	return remote;
}

static int device_add(struct root *root, uint32_t major, uint32_t minor, uint32_t *index)
{
	uint32_t count = root->device_count;
	struct root_device *d = &root->devices[count];

	if (count == SFTP_DEVICES_MAX)
		return -EMFILE;
	*d = (struct root_device){.major = major, .minor = minor, .remote = device_remote(root, major, minor)};
	d->refused = d->remote && !root->cross && count > 0;
	root->device_count = count + 1;
	*index = count;
	return 0;
}

static bool device_find(const struct root *root, uint32_t from, uint32_t major, uint32_t minor, uint32_t *index)
{
	for (uint32_t i = from; i < root->device_count; i++) {
		if (root->devices[i].major == major && root->devices[i].minor == minor) {
			*index = i;
			return true;
		}
	}
	return false;
}

/* Entries never change once counted, so that finding one needs no lock. */
int root_device_index(struct root *root, uint32_t major, uint32_t minor, uint32_t *index)
{
	static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
	int r = 0;

	if (device_find(root, 0, major, minor, index))
		return 0;
	pthread_mutex_lock(&adding);
	if (!device_find(root, 0, major, minor, index))
		r = device_add(root, major, minor, index);
	pthread_mutex_unlock(&adding);
	return r;
}

int root_open(struct root *root, const char *dir, bool cross, const char **what)
{
	uint32_t index;
	struct stat st;

	root->proc_fd = root->mountinfo_fd = -1;
	root->cross = cross;
	root->privileged = geteuid() == 0;
	root->device_count = 0;
	*what = dir;
	root->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0)
		return -errno;
	*what = "/proc/self/fd";
	root->proc_fd = open(*what, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->proc_fd < 0 || fstat(root->fd, &st) < 0) {
		int r = -errno;

		root_close(root);
		return r;
	}
	root->mountinfo_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	return root_device_index(root, major(st.st_dev), minor(st.st_dev), &index);
}

void root_close(struct root *root)
{
	int *fds[] = {&root->fd, &root->proc_fd, &root->mountinfo_fd};

	for (size_t i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

int root_open_beneath(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* EAGAIN: a rename went on meanwhile and the kernel cannot say whether we stayed beneath. */
	for (int tries = 0; tries < 16; tries++) {
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd >= 0 ? (int)fd : -errno;
}

int root_reopen(const struct root *root, int fd, int flags)
{
	char name[16];
	int opened;

	snprintf(name, sizeof(name), "%d", fd);
	opened = openat(root->proc_fd, name, flags | O_CLOEXEC | O_NOCTTY);
	return opened >= 0 ? opened : -errno;
}
