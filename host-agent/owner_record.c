/* SPDX-License-Identifier: MIT */
/* See owner_record.h. */
#include "owner_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "bounds.h"

/* ---- the text ---- */

static uint32_t parse_id(const char *text)
{
	return strcmp(text, "-") == 0 ? SFTP_OWNER_HOST : (uint32_t)strtoul(text, NULL, 10);
}

static bool mode_is_recorded(uint32_t mode)
{
	bool type =
		S_ISREG(mode) || S_ISDIR(mode) || S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);

	return type && !(mode & ~(uint32_t)(S_IFMT | 07777));
}

/* Whatever was read more freely than it is written does not come out as the same text again. */
int owner_record_parse(const char *text, size_t len, struct owner_record *record)
{
	char copy[OWNER_RECORD_MAX], again[OWNER_RECORD_MAX], mode[8], uid[11], gid[11], major[11], minor[11];

	if (len >= sizeof(copy) || memchr(text, '\0', len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (sscanf(copy, "mode=%7[0-7] uid=%10[0-9-] gid=%10[0-9-] rdev=%10[0-9]:%10[0-9]", mode, uid, gid, major,
		   minor) != 5)
		return -EINVAL;
	*record = (struct owner_record){
		.mode = (uint32_t)strtoul(mode, NULL, 8),
		.uid = parse_id(uid),
		.gid = parse_id(gid),
		.rdev_major = (uint32_t)strtoul(major, NULL, 10),
		.rdev_minor = (uint32_t)strtoul(minor, NULL, 10),
	};
	return mode_is_recorded(record->mode) && owner_record_format(record, again) == len &&
			       memcmp(again, text, len) == 0
		       ? 0
		       : -EINVAL;
}

static const char *format_id(uint32_t id, char text[11])
{
	if (id == SFTP_OWNER_HOST)
		return "-";
	snprintf(text, 11, "%" PRIu32, id);
	return text;
}

size_t owner_record_format(const struct owner_record *record, char text[OWNER_RECORD_MAX])
{
	char uid[11], gid[11];

	return (size_t)snprintf(text, OWNER_RECORD_MAX, "mode=%06" PRIo32 " uid=%s gid=%s rdev=%" PRIu32 ":%" PRIu32,
				record->mode, format_id(record->uid, uid), format_id(record->gid, gid),
				record->rdev_major, record->rdev_minor);
}

/* ---- what it means ---- */

uint32_t owner_record_host_mode(uint32_t mode)
{
	uint32_t bits = mode & (0777 | S_ISVTX);

	return S_ISDIR(mode) ? S_IFDIR | bits | S_IRWXU : S_IFREG | bits | S_IRUSR | S_IWUSR;
}

bool owner_record_fits(const struct owner_record *record, uint32_t host_mode)
{
	return (owner_record_host_mode(record->mode) & S_IFMT) == (host_mode & S_IFMT);
}

void owner_record_show(const struct owner_record *record, struct sftp_attr *attr)
{
	const uint32_t permissions = 0777;
	uint32_t host = owner_record_host_mode(record->mode);

	attr->mode = (host & permissions) == (attr->mode & permissions)
			     ? record->mode
			     : (record->mode & ~permissions) | (attr->mode & permissions);
	if (record->uid != SFTP_OWNER_HOST) {
		attr->uid = record->uid;
		attr->flags |= SFTP_ATTR_UID_RECORDED;
	}
	if (record->gid != SFTP_OWNER_HOST) {
		attr->gid = record->gid;
		attr->flags |= SFTP_ATTR_GID_RECORDED;
	}
	attr->rdev_major = record->rdev_major;
	attr->rdev_minor = record->rdev_minor;
}

bool owner_record_is_needed(const struct owner_record *record)
{
	return record->uid != SFTP_OWNER_HOST || record->gid != SFTP_OWNER_HOST ||
	       record->mode != owner_record_host_mode(record->mode);
}

/* ---- on the file ---- */

/* f*xattr(2) do not take O_PATH; the descriptor's entry in /proc leads to the very inode. */
static const char *entry_of(int fd, char path[32])
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return path;
}

int owner_record_read(int fd, const char *name, uint32_t host_mode, struct owner_record *record)
{
	char path[32 + SFTP_NAME_MAX + 1], text[OWNER_RECORD_MAX];
	ssize_t n;

	if (name) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
		n = lgetxattr(path, OWNER_RECORD_XATTR, text, sizeof(text));
	} else {
		n = getxattr(entry_of(fd, path), OWNER_RECORD_XATTR, text, sizeof(text));
	}
	if (n < 0)
		return errno == ERANGE ? -ENODATA : -errno;
	return owner_record_parse(text, (size_t)n, record) == 0 && owner_record_fits(record, host_mode) ? 0 : -ENODATA;
}

int owner_record_write(int fd, const struct owner_record *record)
{
	char path[32], text[OWNER_RECORD_MAX];
	size_t len = owner_record_format(record, text);

	return setxattr(entry_of(fd, path), OWNER_RECORD_XATTR, text, len, 0) < 0 ? -errno : 0;
}

int owner_record_remove(int fd)
{
	char path[32];

	return removexattr(entry_of(fd, path), OWNER_RECORD_XATTR) < 0 ? -errno : 0;
}
