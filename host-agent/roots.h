/* SPDX-License-Identifier: MIT */
/*
 * roots: the folder that is shared: its descriptor, how paths and nodes are resolved beneath it, and the file systems
 * met there. Everything that opens by name goes through root_open_beneath(): the kernel refuses to leave.
 */
#ifndef HOMEPORT_ROOTS_H
#define HOMEPORT_ROOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "bounds.h"

struct root_device {
	uint32_t major, minor;
	bool remote;  /* a server answers for it (FUSE, NFS, CIFS ...): it may be slow, or never answer */
	bool refused; /* shown, but not entered: remote or automounted, and not asked for */
	bool folds;   /* finds names in other spellings, in every folder */
};

struct root {
	int fd;              /* O_PATH of the folder */
	int proc_fd;         /* /proc/self/fd, for opening again what was found by O_PATH */
	int mountinfo_fd;    /* what the types of file systems are read from; -1 without */
	bool cross;          /* enter every file system */
	bool privileged;     /* we are root: what is made for a caller is given to that caller */
	bool keep_atime;     /* what is read here is not marked as read, where the host's kernel lets us */
	bool virtual_owners; /* whose a file is to the guest is recorded with it (owner_record.h) */
	gid_t *groups;       /* ours, sorted; NULL: none, or we are root, to whom they do not matter */
	size_t group_count;
	struct root_device devices[SFTP_DEVICES_MAX];
	_Atomic uint32_t device_count;
};

/* Opens dir (a symlink is followed, this once). Negative errno; -ENOTDIR. *what names what failed. */
int root_open(struct root *root, const char *dir, bool cross, const char **what);
void root_close(struct root *root);

/* Whether the group is one of ours. */
bool root_has_group(const struct root *root, uint32_t gid);

/* Turns virtual ownership on. -EOPNOTSUPP: the file system does not keep user extended attributes. */
int root_record_owners(struct root *root);

/* O_PATH of a relative path beneath dirfd, without following a single link. `flags` as open(2)'s. */
int root_open_beneath(int dirfd, const char *path, int flags);

/* Opens again, for I/O, the regular file or folder fd stands for. The caller knows that it is one. A folder is listed
 * with the right to read it alone, as by its name: "." in it would need the right to search it too. O_NOATIME is done
 * without where the file is another's. */
int root_reopen(const struct root *root, int fd, int flags);

/*
 * Whether the folder fd stands for (O_PATH or open) finds names in other spellings than it lists them. True also where
 * that cannot be known.
 */
bool root_folds(const struct root *root, uint32_t device, int fd);

/* The index of a device, known from then on; -EMFILE: more file systems than SFTP_DEVICES_MAX. */
int root_device_index(struct root *root, uint32_t major, uint32_t minor, uint32_t *index);

#endif
