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
#include <linux/fs.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "owner_record.h"

#define CASEFOLD_FL 0x40000000u /* FS_CASEFOLD_FL, Linux 5.2 */

static const char *const remote_types[] = {
	"9p", "afs", "autofs", "ceph", "cifs", "coda", "davfs", "nfs", "nfs4", "ncpfs", "smb3", "smbfs", "virtiofs",
};

/* Those that let each folder choose (ext4, f2fs, tmpfs) are asked folder by folder. */
static const char *const folding_types[] = {
	"adfs", "affs", "befs", "exfat", "hfs", "hfsplus", "hpfs", "jfs", "msdos", "ntfs", "ntfs3", "vfat",
};

static bool type_remote(const char *type)
{
	for (size_t i = 0; i < sizeof(remote_types) / sizeof(remote_types[0]); i++)
		if (strcmp(type, remote_types[i]) == 0)
			return true;
	/* fuse, fuse.sshfs, ...; fuseblk (ntfs-3g and the like) is a program all the same */
	return strncmp(type, "fuse", 4) == 0;
}

static bool type_folds(const char *type)
{
	for (size_t i = 0; i < sizeof(folding_types) / sizeof(folding_types[0]); i++)
		if (strcmp(type, folding_types[i]) == 0)
			return true;
	return false;
}

/* The type of file system in one line of mountinfo (proc(5)), if it is about this device. */
static bool line_type(const char *line, uint32_t major, uint32_t minor, char type[64])
{
	const char *dash = strstr(line, " - ");
	unsigned at_major, at_minor;

	return sscanf(line, "%*d %*d %u:%u", &at_major, &at_minor) == 2 && at_major == major && at_minor == minor &&
	       dash && sscanf(dash, " - %63s", type) == 1;
}

/* Empty when it is not known. */
static void device_type(const struct root *root, uint32_t major, uint32_t minor, char type[64])
{
	bool found = false;
	char *line = NULL;
	size_t size = 0;
	FILE *f;
	int fd;

	type[0] = '\0';
	/* Opened anew, as a reader of its own; by the descriptor, since the sandbox hides the path. */
	fd = root->mountinfo_fd >= 0 ? fcntl(root->mountinfo_fd, F_DUPFD_CLOEXEC, 3) : -1;
	f = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!f) {
		if (fd >= 0)
			close(fd);
		return;
	}
	rewind(f);
	while (!found && getline(&line, &size, f) >= 0)
		found = line_type(line, major, minor, type);
	if (!found)
		type[0] = '\0';
	free(line);
	fclose(f);
}

static int device_add(struct root *root, uint32_t major, uint32_t minor, uint32_t *index)
{
	uint32_t count = root->device_count;
	struct root_device *d = &root->devices[count];
	char type[64];

	if (count == SFTP_DEVICES_MAX)
		return -EMFILE;
	device_type(root, major, minor, type);
	*d = (struct root_device){
		.major = major, .minor = minor, .remote = type_remote(type), .folds = type_folds(type)};
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

static int by_number(const void *a, const void *b)
{
	const gid_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The effective one too: getgroups(2) may leave it out. */
static int find_groups(struct root *root)
{
	int count = getgroups(0, NULL);

	if (count < 0)
		return -errno;
	root->groups = calloc((size_t)count + 1, sizeof(*root->groups));
	if (!root->groups)
		return -ENOMEM;
	count = getgroups(count, root->groups);
	if (count < 0)
		return -errno;
	root->groups[count] = getegid();
	root->group_count = (size_t)count + 1;
	qsort(root->groups, root->group_count, sizeof(*root->groups), by_number);
	return 0;
}

bool root_has_group(const struct root *root, uint32_t gid)
{
	const gid_t key = gid;

	return root->groups && bsearch(&key, root->groups, root->group_count, sizeof(key), by_number);
}

int root_open(struct root *root, const char *dir, bool cross, const char **what)
{
	uint32_t index;
	struct stat st;
	int r;

	root->proc_fd = root->mountinfo_fd = -1;
	root->groups = NULL;
	root->group_count = 0;
	root->cross = cross;
	root->virtual_owners = root->keep_atime = false;
	root->privileged = geteuid() == 0;
	root->device_count = 0;
	*what = dir;
	root->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0)
		return -errno;
	*what = "/proc/self/fd";
	root->proc_fd = open(*what, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->proc_fd < 0 || fstat(root->fd, &st) < 0) {
		r = -errno;
		root_close(root);
		return r;
	}
	root->mountinfo_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	*what = "groups";
	r = root->privileged ? 0 : find_groups(root);
	if (r == 0) {
		*what = dir;
		r = root_device_index(root, major(st.st_dev), minor(st.st_dev), &index);
	}
	if (r < 0)
		root_close(root);
	return r;
}

int root_record_owners(struct root *root)
{
	struct owner_record record;
	int r = owner_record_read(root->fd, NULL, S_IFDIR, &record);

	root->virtual_owners = r == 0 || r == -ENODATA;
	return root->virtual_owners ? 0 : r;
}

void root_close(struct root *root)
{
	int *fds[] = {&root->fd, &root->proc_fd, &root->mountinfo_fd};

	for (size_t i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	free(root->groups);
	root->groups = NULL;
	root->group_count = 0;
}

bool root_folds(const struct root *root, uint32_t device, int fd)
{
	unsigned long flags = 0; /* the kernel writes an int into it, whatever the request's number says */
	int opened = -1, r;

	if (root->devices[device].folds || root->devices[device].remote)
		return true;
	r = ioctl(fd, FS_IOC_GETFLAGS, &flags);
	if (r < 0 && errno == EBADF) {
		opened = root_open_beneath(fd, ".", O_RDONLY | O_DIRECTORY);
		r = opened >= 0 ? ioctl(opened, FS_IOC_GETFLAGS, &flags) : -1;
		if (opened < 0)
			return true;
	}
	if (opened >= 0)
		close(opened);
	/* A file system without such flags has no folders that fold. */
	return r == 0 && flags & CASEFOLD_FL;
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
	flags |= O_CLOEXEC | O_NOCTTY;
	if (root->keep_atime && !(flags & O_PATH))
		flags |= O_NOATIME;
	opened = openat(root->proc_fd, name, flags);
	if (opened < 0 && errno == EPERM && flags & O_NOATIME)
		opened = openat(root->proc_fd, name, flags & ~O_NOATIME);
	return opened >= 0 ? opened : -errno;
}
