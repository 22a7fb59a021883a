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

/* The users, or the groups: the map, and the pair that stands beside it. */
struct ids {
	const struct id_map *map;
	uint32_t host, guest;
	bool unchanged; /* instead of the pair */
};

static struct ids users_of(const struct idmap *m)
{
	return (struct ids){&m->uids, m->host_uid, m->guest_uid, idmap_is_identity(m)};
}

static struct ids groups_of(const struct idmap *m)
{
	return (struct ids){&m->gids, m->host_gid, m->guest_gid, idmap_is_identity(m)};
}

/* False: it has no number on the other side. */
static bool translate(const struct ids *ids, enum id_way way, uint32_t id, uint32_t *out)
{
	bool to_guest = way == ID_TO_GUEST;
	uint32_t other, taken;

	if (id_map_find(ids->map, way, id, out))
		return true;
	if (ids->unchanged)
		other = id;
	else if (id == (to_guest ? ids->host : ids->guest))
		other = to_guest ? ids->guest : ids->host;
	else
		return false;
	if (id_map_find(ids->map, to_guest ? ID_TO_HOST : ID_TO_GUEST, other, &taken))
		return false;
	*out = other;
	return true;
}

bool idmap_user(const struct idmap *m, enum id_way way, uint32_t id, uint32_t *out)
{
	const struct ids users = users_of(m);

	return translate(&users, way, id, out);
}

bool idmap_group(const struct idmap *m, enum id_way way, uint32_t id, uint32_t *out)
{
	const struct ids groups = groups_of(m);

	return translate(&groups, way, id, out);
}

static uint32_t user_to_guest(const struct idmap *m, const struct sftp_attr *attr)
{
	uint32_t id;

	if (attr->flags & SFTP_ATTR_UID_RECORDED)
		return attr->uid;
	return idmap_user(m, ID_TO_GUEST, attr->uid, &id) ? id : IDMAP_NOBODY;
}

/* A group that is the host user's as well as its first one is the login user's: that is how it may use the file. */
static uint32_t group_to_guest(const struct idmap *m, const struct sftp_attr *attr)
{
	uint32_t id;

	if (attr->flags & SFTP_ATTR_GID_RECORDED)
		return attr->gid;
	if (idmap_group(m, ID_TO_GUEST, attr->gid, &id))
		return id;
	if (attr->flags & SFTP_ATTR_MY_GROUP && idmap_group(m, ID_TO_GUEST, m->host_gid, &id))
		return id;
	return IDMAP_NOBODY;
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
	st->st_uid = user_to_guest(m, attr);
	st->st_gid = group_to_guest(m, attr);
	st->st_rdev = makedev(attr->rdev_major, attr->rdev_minor);
	st->st_size = (off_t)attr->size;
	st->st_blocks = (blkcnt_t)attr->blocks;
	st->st_blksize = 4096;
	st->st_atim = time_to_guest(&attr->atime);
	st->st_mtim = time_to_guest(&attr->mtime);
	st->st_ctim = time_to_guest(&attr->ctime);
}

/* What is to be recorded: nothing where the host's user stands for it. */
static uint32_t to_record(const struct ids *ids, uint32_t id)
{
	uint32_t host;

	return translate(ids, ID_TO_HOST, id, &host) && host == ids->host ? SFTP_OWNER_HOST : id;
}

void idmap_caller_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller)
{
	if (m->recorded) {
		caller->uid = uid;
		caller->gid = gid;
		return;
	}
	if (!idmap_user(m, ID_TO_HOST, uid, &caller->uid))
		caller->uid = idmap_is_identity(m) ? IDMAP_NOBODY : m->host_uid;
	if (!idmap_group(m, ID_TO_HOST, gid, &caller->gid))
		caller->gid = idmap_is_identity(m) ? IDMAP_NOBODY : m->host_gid;
}

void idmap_owner_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller)
{
	const struct ids users = users_of(m), groups = groups_of(m);

	idmap_caller_to_host(m, uid, gid, caller);
	if (m->recorded) {
		caller->uid = to_record(&users, uid);
		caller->gid = to_record(&groups, gid);
	}
}

/* A file's owner, or group, as the host has it and as the guest sees it. */
struct owner {
	uint32_t host, shown;
	bool mine;  /* the file is the host user's */
	bool given; /* who owns a file may give it to this kind: a group of its own */
};

/* 1: send *host. 0: there is nothing to do. */
static int owner_to_host(const struct ids *ids, const struct owner *o, uint32_t wanted, uint32_t *host)
{
	uint32_t in_map;

	if (!ids->unchanged && wanted == o->shown) {
		*host = o->host;
		return o->mine;
	}
	if (!translate(ids, ID_TO_HOST, wanted, host))
		return -EPERM;
	return ids->unchanged || (o->mine && o->given) || id_map_find(ids->map, ID_TO_HOST, wanted, &in_map) ? 1
													     : -EPERM;
}

bool idmap_chown_needs_present(const struct idmap *m)
{
	return !idmap_is_identity(m) && !m->recorded;
}

int idmap_chown_to_host(const struct idmap *m, const struct sftp_attr *present, const uint32_t *uid,
			const uint32_t *gid, uint32_t *host_uid, uint32_t *host_gid)
{
	const struct ids users = users_of(m), groups = groups_of(m);
	struct owner user = {0}, group = {.given = true};
	int mask = 0, rc;

	if (m->recorded) {
		*host_uid = uid ? to_record(&users, *uid) : 0;
		*host_gid = gid ? to_record(&groups, *gid) : 0;
		return (uid ? NATIVE_SET_UID : 0) | (gid ? NATIVE_SET_GID : 0);
	}
	if ((uid || gid) && !idmap_is_identity(m)) {
		user.mine = group.mine = present->uid == m->host_uid;
		user.host = present->uid;
		user.shown = user_to_guest(m, present);
		group.host = present->gid;
		group.shown = group_to_guest(m, present);
	}
	if (uid) {
		rc = owner_to_host(&users, &user, *uid, host_uid);
		if (rc < 0)
			return rc;
		mask |= rc ? NATIVE_SET_UID : 0;
	}
	if (gid) {
		rc = owner_to_host(&groups, &group, *gid, host_gid);
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
