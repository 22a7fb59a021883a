/* SPDX-License-Identifier: MIT */
/* See virtual_owner.h. */
#include "virtual_owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "owner_record.h"

#define OWNER ((uint32_t)(NATIVE_SET_UID | NATIVE_SET_GID))

/* The record as it is, or as it would be: what the file shows as. -EACCES: there may be one, not to be read. */
static int record_of(int fd, mode_t mode, struct owner_record *record)
{
	struct sftp_attr shown = {.mode = mode};
	int r = owner_record_read(fd, NULL, mode, record);

	if (r == 0)
		owner_record_show(record, &shown);
	else
		*record = (struct owner_record){.uid = SFTP_OWNER_HOST, .gid = SFTP_OWNER_HOST};
	record->mode = shown.mode;
	return r == -EACCES ? r : 0;
}

/* Who is not recorded is the host's user: the file is given to it for real where it is somebody else's. */
static int give_to_host(int fd, const struct stat *st, uint32_t mask)
{
	uid_t uid = mask & NATIVE_SET_UID && st->st_uid != geteuid() ? geteuid() : (uid_t)-1;
	gid_t gid = mask & NATIVE_SET_GID && st->st_gid != getegid() ? getegid() : (gid_t)-1;

	if (uid == (uid_t)-1 && gid == (gid_t)-1)
		return 0;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Written first: a mode that is not the record's counts for more than the record. `mode` is the file's on the host. */
static int record_keep(const struct root *root, int fd, mode_t mode, const struct owner_record *record)
{
	const struct fsop_set set = {.mask = NATIVE_SET_MODE, .mode = owner_record_host_mode(record->mode)};
	const struct fsop_set nothing = {0};
	int r;

	if (owner_record_is_needed(record))
		r = owner_record_write(fd, record);
	else if ((r = owner_record_remove(fd)) == -ENODATA)
		r = fsop_set(root, fd, IFTODT(mode), false, &nothing);
	if (r == 0 && (set.mode & 07777) != (mode & 07777u))
		r = fsop_set(root, fd, IFTODT(mode), false, &set);
	return r;
}

/* `st` is what the file was before, `mode` what it has on the host by now. */
static int set_recorded(struct root *root, int fd, const struct stat *st, mode_t mode, const struct fsop_set *set)
{
	uint32_t to_host =
		(set->uid == SFTP_OWNER_HOST ? NATIVE_SET_UID : 0) | (set->gid == SFTP_OWNER_HOST ? NATIVE_SET_GID : 0);
	struct owner_record record;
	int r = record_of(fd, st->st_mode, &record);

	if (r < 0)
		return r;
	if (set->mask & NATIVE_SET_MODE)
		record.mode = (record.mode & S_IFMT) | (set->mode & 07777);
	if (set->mask & NATIVE_SET_UID)
		record.uid = set->uid;
	if (set->mask & NATIVE_SET_GID)
		record.gid = set->gid;
	r = give_to_host(fd, st, set->mask & to_host);
	return r < 0 ? r : record_keep(root, fd, mode, &record);
}

/* An attribute is read and written by who may the file; its owner may change its mode whatever that is. So what the
 * host's user has shut to itself (git's objects, say) is opened to it for as long as this takes. */
static int set_recorded_of_shut(struct root *root, int fd, const struct stat *st, const struct fsop_set *set)
{
	const struct fsop_set open = {.mask = NATIVE_SET_MODE, .mode = st->st_mode | S_IRUSR | S_IWUSR};
	const struct fsop_set shut = {.mask = NATIVE_SET_MODE, .mode = st->st_mode};
	int r = fsop_set(root, fd, IFTODT(st->st_mode), false, &open);

	if (r < 0)
		return r;
	r = set_recorded(root, fd, st, open.mode, set);
	if (r < 0)
		(void)fsop_set(root, fd, IFTODT(st->st_mode), false, &shut);
	return r;
}

/* A link, or what the host itself made beside files and folders, cannot have a record. */
static int set_unrecorded(const struct root *root, int fd, uint8_t type, const struct fsop_set *set)
{
	struct fsop_set kept = *set;

	kept.mask &= ~OWNER;
	return type == DT_LNK || !(set->mask & OWNER) ? fsop_set(root, fd, type, false, &kept) : -EPERM;
}

static int set_owner(struct root *root, int fd, uint8_t type, const struct fsop_set *set)
{
	struct stat st;
	int r;

	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return set_unrecorded(root, fd, type, set);
	r = set_recorded(root, fd, &st, st.st_mode, set);
	return r == -EACCES ? set_recorded_of_shut(root, fd, &st, set) : r;
}

int virtual_owner_set(struct root *root, int fd, uint8_t type, bool writable_fd, const struct fsop_set *set)
{
	struct fsop_set before = *set, owner = *set, after = *set;
	int r = 0;

	if (!root->virtual_owners || !(set->mask & (OWNER | NATIVE_SET_MODE)))
		return fsop_set(root, fd, type, writable_fd, set);
	/* In the order that fsop_set() has. */
	before.mask &= NATIVE_SET_SIZE | ~(uint32_t)NATIVE_SET_ALL;
	owner.mask &= OWNER | NATIVE_SET_MODE;
	after.mask &= NATIVE_SET_ALL & ~(OWNER | NATIVE_SET_MODE | NATIVE_SET_SIZE);
	if (before.mask)
		r = fsop_set(root, fd, type, writable_fd, &before);
	if (r == 0)
		r = set_owner(root, fd, type, &owner);
	if (r == 0 && after.mask)
		r = fsop_set(root, fd, type, writable_fd, &after);
	return r;
}

int virtual_owner_give(int fd, const struct sftp_attr *folder, const struct sftp_caller *caller, uint32_t mode,
		       uint32_t rdev_major, uint32_t rdev_minor)
{
	struct owner_record record = {.mode = mode,
				      .uid = caller->uid,
				      .gid = caller->gid,
				      .rdev_major = rdev_major,
				      .rdev_minor = rdev_minor};

	if (S_ISLNK(mode))
		return 0;
	if (folder->mode & S_ISGID) {
		record.gid = folder->flags & SFTP_ATTR_GID_RECORDED ? folder->gid : SFTP_OWNER_HOST;
		record.mode |= S_ISDIR(mode) ? S_ISGID : 0;
	}
	return owner_record_is_needed(&record) ? owner_record_write(fd, &record) : 0;
}

int virtual_owner_drop_set_id(struct root *root, int fd)
{
	struct fsop_set set = {.mask = NATIVE_SET_MODE};
	struct fsop_stat st;
	uint32_t drop;
	int r = fsop_stat(root, fd, NULL, false, &st);

	if (r < 0)
		return r;
	drop = (st.attr.mode & S_ISUID) | (st.attr.mode & S_IXGRP ? st.attr.mode & S_ISGID : 0);
	set.mode = st.attr.mode & ~drop;
	return drop ? virtual_owner_set(root, fd, DT_REG, false, &set) : 0;
}
