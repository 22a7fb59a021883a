/* SPDX-License-Identifier: MIT */
/* See fsop.h. Runs on the worker that carries the request out; any call may block as long as the file system likes. */
#include "fsop.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fnv.h"
#include "owner_record.h"

/* A change within this time before now may be followed by another with the same ctime (clock ticks). */
#define RACY_NS 100000000

/* ---- attributes ---- */

static struct sftp_time time_of(const struct statx_timestamp *t)
{
	return (struct sftp_time){t->tv_sec, t->tv_nsec};
}

static bool is_racy(const struct statx_timestamp *ctime)
{
	struct timespec now;
	int64_t seconds;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	seconds = now.tv_sec - ctime->tv_sec;
	if (seconds > 1)
		return false;
	/* A ctime in the future says nothing. */
	return seconds < -1 || seconds * 1000000000 + now.tv_nsec - ctime->tv_nsec < RACY_NS;
}

/* Where the file system keeps no time of birth, its handle tells a new file from an old one of the same number. */
static uint64_t version_of_handle(int fd, const char *name)
{
	union {
		struct file_handle h;
		uint8_t bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} handle = {.h.handle_bytes = MAX_HANDLE_SZ};
	int mount;

	if (name_to_handle_at(fd, name, &handle.h, &mount, *name ? 0 : AT_EMPTY_PATH) < 0)
		return 0;
	return fnv1a(FNV1A_START, handle.h.f_handle, handle.h.handle_bytes);
}

static void attr_of(const struct statx *st, uint32_t device, struct sftp_attr *a)
{
	*a = (struct sftp_attr){
		.ino = st->stx_ino,
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.rdev_major = st->stx_rdev_major,
		.rdev_minor = st->stx_rdev_minor,
		.dev = device,
		.atime = time_of(&st->stx_atime),
		.mtime = time_of(&st->stx_mtime),
		.ctime = time_of(&st->stx_ctime),
	};
	if (st->stx_mask & STATX_BTIME) {
		a->flags |= SFTP_ATTR_BTIME;
		a->btime = time_of(&st->stx_btime);
	}
	if (is_racy(&st->stx_ctime))
		a->flags |= SFTP_ATTR_RACY;
}

int fsop_stat(struct root *root, int fd, const char *name, bool cached, struct fsop_stat *out)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (cached ? AT_STATX_DONT_SYNC : AT_STATX_SYNC_AS_STAT);
	struct owner_record record;
	struct statx st;
	uint32_t device;
	int r;

	assert(!name || !strchr(name, '/'));
	if (statx(fd, name ? name : "", name ? flags : flags | AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -errno;
	r = root_device_index(root, st.stx_dev_major, st.stx_dev_minor, &device);
	if (r < 0)
		return r;
	attr_of(&st, device, &out->attr);
	if (root_has_group(root, st.stx_gid))
		out->attr.flags |= SFTP_ATTR_MY_GROUP;
	out->identity = (struct node_identity){.ino = st.stx_ino, .device = device};
	if (st.stx_mask & STATX_BTIME)
		out->identity.version = (uint64_t)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec;
	else
		out->identity.version = version_of_handle(fd, name ? name : "");
	if (root->virtual_owners && (S_ISREG(st.stx_mode) || S_ISDIR(st.stx_mode)) &&
	    owner_record_read(fd, name, st.stx_mode, &record) == 0)
		owner_record_show(&record, &out->attr);
	out->type = IFTODT(out->attr.mode);
	return 0;
}

int fsop_change_before(struct root *root, int fd, struct sftp_change *change)
{
	struct fsop_stat st;
	int r = fsop_stat(root, fd, NULL, false, &st);

	if (r == 0) {
		change->size = st.attr.size;
		change->mtime = st.attr.mtime;
		change->ctime = st.attr.ctime;
	}
	return r;
}

int fsop_change_after(struct root *root, int fd, struct sftp_change *change)
{
	struct fsop_stat st;
	int r = fsop_stat(root, fd, NULL, false, &st);

	if (r == 0)
		change->after = st.attr;
	return r;
}

/* ---- setting them ---- */

static int set_owner(int fd, const struct fsop_set *set)
{
	uid_t uid = set->mask & NATIVE_SET_UID ? set->uid : (uid_t)-1;
	gid_t gid = set->mask & NATIVE_SET_GID ? set->gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* chmod through the descriptor's entry in /proc: fchmod(2) takes no O_PATH, and fchmodat2(2) is of Linux 6.6. */
static int set_mode(const struct root *root, int fd, uint8_t type, uint32_t mode)
{
	char name[16];

	if (type == DT_LNK)
		return -EOPNOTSUPP;
	snprintf(name, sizeof(name), "%d", fd);
	return fchmodat(root->proc_fd, name, mode & 07777, 0) < 0 ? -errno : 0;
}

static int set_size(const struct root *root, int fd, uint8_t type, bool writable_fd, uint64_t size)
{
	int opened, r;

	if (type != DT_REG)
		return type == DT_DIR ? -EISDIR : -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;
	opened = writable_fd ? fd : root_reopen(root, fd, O_WRONLY | O_NONBLOCK);
	if (opened < 0)
		return opened;
	r = ftruncate(opened, (off_t)size) < 0 ? -errno : 0;
	if (opened != fd)
		close(opened);
	return r;
}

static struct timespec time_to_set(uint32_t mask, uint32_t given, uint32_t now, const struct sftp_time *t)
{
	if (mask & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (mask & given)
		return (struct timespec){.tv_sec = t->sec, .tv_nsec = (long)t->nsec};
	return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(int fd, const struct fsop_set *set)
{
	const struct timespec times[2] = {
		time_to_set(set->mask, NATIVE_SET_ATIME, NATIVE_SET_ATIME_NOW, &set->atime),
		time_to_set(set->mask, NATIVE_SET_MTIME, NATIVE_SET_MTIME_NOW, &set->mtime),
	};

	return utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int fsop_set(const struct root *root, int fd, uint8_t type, bool writable_fd, const struct fsop_set *set)
{
	const uint32_t owner = NATIVE_SET_UID | NATIVE_SET_GID;
	const uint32_t times = NATIVE_SET_ATIME | NATIVE_SET_MTIME | NATIVE_SET_ATIME_NOW | NATIVE_SET_MTIME_NOW;
	int r = 0;

	if (set->mask & ~(uint32_t)NATIVE_SET_ALL || set->atime.nsec >= 1000000000 || set->mtime.nsec >= 1000000000)
		return -EINVAL;
	/* The size first, as it is what can fail for lack of room; the owner before the mode, whose set-id bits it
	 * clears. */
	if (set->mask & NATIVE_SET_SIZE)
		r = set_size(root, fd, type, writable_fd, set->size);
	/* Nothing at all is chown(2) with -1 and -1, which moves the ctime. */
	if (r == 0 && (set->mask & owner || !set->mask))
		r = set_owner(fd, set);
	if (r == 0 && set->mask & NATIVE_SET_MODE)
		r = set_mode(root, fd, type, set->mode);
	if (r == 0 && set->mask & times)
		r = set_times(fd, set);
	return r;
}

/* ---- data ---- */

ssize_t fsop_read(int fd, void *data, size_t len, uint64_t offset, bool now)
{
	size_t done = 0;

	if (offset > INT64_MAX)
		return -EINVAL;
	while (done < len) {
		const struct iovec v = {(char *)data + done, len - done};
		ssize_t n = preadv2(fd, &v, 1, (off_t)(offset + done), now ? RWF_NOWAIT : 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && now && errno == EAGAIN)
			return -EAGAIN;
		/* tmpfs and others cannot say; they hardly ever block either. */
		if (n < 0 && now && errno == EOPNOTSUPP) {
			now = false;
			continue;
		}
		if (n < 0)
			return done ? (ssize_t)done : -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t fsop_write(int fd, const void *data, size_t len, uint64_t offset, bool append)
{
	size_t done = 0;

	if (offset > INT64_MAX)
		return -EINVAL;
	while (done < len) {
		const char *at = (const char *)data + done;
		ssize_t n = append ? write(fd, at, len - done) : pwrite(fd, at, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (ssize_t)done : -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* pwrite(2) appends where the descriptor says so, whatever its offset. */
ssize_t fsop_write_in_place(int fd, const void *data, size_t len, uint64_t offset)
{
	int flags = fcntl(fd, F_GETFL);
	ssize_t n;

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_APPEND) < 0)
		return -errno;
	n = fsop_write(fd, data, len, offset, false);
	if (fcntl(fd, F_SETFL, flags) < 0)
		return -errno;
	return n;
}

/* ---- links ---- */

/* By the descriptor's entry in /proc: AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH before Linux 6.10. */
int fsop_link(const struct root *root, int fd, int dirfd, const char *name)
{
	char from[16];

	assert(!strchr(name, '/'));
	snprintf(from, sizeof(from), "%d", fd);
	return linkat(root->proc_fd, from, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

ssize_t fsop_read_link(int fd, char *target, size_t size)
{
	ssize_t n = readlinkat(fd, "", target, size);

	/* ENOENT is what readlinkat(2) answers for an O_PATH descriptor of anything else. */
	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno;
	return n;
}

int fsop_open_flags(uint32_t native, int *flags)
{
	int f;

	if (native & ~(uint32_t)NATIVE_O_ALL || !(native & (NATIVE_O_READ | NATIVE_O_WRITE)))
		return -EINVAL;
	f = native & NATIVE_O_WRITE ? native & NATIVE_O_READ ? O_RDWR : O_WRONLY : O_RDONLY;
	if (native & (NATIVE_O_APPEND | NATIVE_O_TRUNC) && !(native & NATIVE_O_WRITE))
		return -EINVAL;
	if (native & NATIVE_O_APPEND)
		f |= O_APPEND;
	if (native & NATIVE_O_TRUNC)
		f |= O_TRUNC;
	if (native & NATIVE_O_SYNC)
		f |= O_SYNC;
	if (native & NATIVE_O_DSYNC)
		f |= O_DSYNC;
	if (native & NATIVE_O_NOATIME)
		f |= O_NOATIME;
	*flags = f;
	return 0;
}
