/* SPDX-License-Identifier: MIT */
/* Owners between host and guest. See idmap.h. */
#include "idmap.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

bool idmap_is_identity(const struct idmap *m)
{
	return m->host_uid == 0 && m->guest_uid == 0;
}

static uint32_t to_guest(const struct idmap *m, uint32_t id, uint32_t host, uint32_t guest)
{
	if (idmap_is_identity(m))
		return id;
	return id == host ? guest : IDMAP_NOBODY;
}

uint64_t idmap_ino_to_guest(unsigned share, uint32_t dev, uint64_t ino)
{
	return ino ^ ((uint64_t)(share & 0xffu) << 56) ^ ((uint64_t)(dev & 0xffu) << 48);
}

static struct timespec time_to_guest(const struct sftp_time *t)
{
	return (struct timespec){.tv_sec = t->sec, .tv_nsec = t->nsec};
}

void idmap_attr_to_guest(const struct idmap *m, unsigned share, const struct sftp_attr *attr, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = idmap_ino_to_guest(share, attr->dev, attr->ino);
	st->st_mode = attr->mode;
	st->st_nlink = attr->nlink;
	st->st_uid = to_guest(m, attr->uid, m->host_uid, m->guest_uid);
	st->st_gid = to_guest(m, attr->gid, m->host_gid, m->guest_gid);
	st->st_rdev = makedev(attr->rdev_major, attr->rdev_minor);
	st->st_size = (off_t)attr->size;
	st->st_blocks = (blkcnt_t)attr->blocks;
	st->st_blksize = 4096;
	st->st_atim = time_to_guest(&attr->atime);
	st->st_mtim = time_to_guest(&attr->mtime);
	st->st_ctim = time_to_guest(&attr->ctime);
}

void idmap_caller_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller)
{
	caller->uid = idmap_is_identity(m) ? uid : m->host_uid;
	caller->gid = idmap_is_identity(m) ? gid : m->host_gid;
}

/* An id of the host's user and the login user's. */
struct id_pair {
	uint32_t host, guest;
};

/*
 * 1: send *host. 0: it already shows as that. The host's user could only give a file away, or take one that shows as
 * nobody's: the host forbids both. What is given to whom it belongs (`own`) is sent all the same: it moves the ctime,
 * and takes set-id bits away.
 */
static int owner_to_host(struct id_pair pair, bool own, uint32_t wanted, uint32_t shown, uint32_t *host)
{
	if (wanted != shown)
		return -EPERM;
	if (!own || wanted != pair.guest)
		return 0;
	*host = pair.host;
	return 1;
}

int idmap_chown_to_host(const struct idmap *m, const struct stat *st, const uint32_t *uid, const uint32_t *gid,
			uint32_t *host_uid, uint32_t *host_gid)
{
	bool own = st->st_uid == m->guest_uid;
	int mask = 0, rc;

	if (idmap_is_identity(m)) {
		if (uid)
			*host_uid = *uid;
		if (gid)
			*host_gid = *gid;
		return (uid ? NATIVE_SET_UID : 0) | (gid ? NATIVE_SET_GID : 0);
	}
	if (uid) {
		rc = owner_to_host((struct id_pair){m->host_uid, m->guest_uid}, own, *uid, st->st_uid, host_uid);
		if (rc < 0)
			return rc;
		mask |= rc ? NATIVE_SET_UID : 0;
	}
	if (gid) {
		rc = owner_to_host((struct id_pair){m->host_gid, m->guest_gid}, own, *gid, st->st_gid, host_gid);
		if (rc < 0)
			return rc;
		mask |= rc ? NATIVE_SET_GID : 0;
	}
	return mask;
}

uint32_t idmap_mode_to_host(uint32_t mode)
{
	return mode & (S_IFMT | 07777u);
}
