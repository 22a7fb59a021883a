/* SPDX-License-Identifier: MIT */
/*
 * idmap: owners, at the one edge where they pass between host and guest. Pure.
 *
 * What a share's maps have (uidMap, gidMap) passes as they say. Of the rest, the host's user is the guest's login user,
 * a group that the host's user has is the login user's, and everybody else is nobody. With root on both sides the rest
 * is unchanged: then the server can set owners, and the guest's root means the host's. No two numbers of the host are
 * one of the guest, but for nobody and the login user's group: a number that a map gives away is nobody else's.
 *
 * With virtual ownership all that holds of the files that have no record. The server is told the guest's own numbers,
 * records them and shows them again; but the host's user's own is told as such (SFTP_OWNER_HOST), and needs no record.
 */
#ifndef HOMEPORT_IDMAP_H
#define HOMEPORT_IDMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "id_map.h"
#include "sftp_wire.h"

#define IDMAP_NOBODY 65534u

struct idmap {
	uint32_t host_uid, host_gid;
	uint32_t guest_uid, guest_gid;
	struct id_map uids, gids;
	bool recorded; /* virtual ownership: the server records any number of the guest's, and says which those are */
};

/* Host to guest: attributes as the kernel is told them. `share` keeps inode numbers of different shares apart. */
void idmap_attr_to_guest(const struct idmap *m, unsigned share, const struct sftp_attr *attr, struct stat *st);

/* The inode number alone, for directory entries without attributes; dev is not known there and taken as the root's. */
uint64_t idmap_ino_to_guest(unsigned share, uint32_t dev, uint64_t ino);

/* The number of a user, or of a group, on the other side: false where it has none. */
bool idmap_user(const struct idmap *m, enum id_way way, uint32_t id, uint32_t *out);
bool idmap_group(const struct idmap *m, enum id_way way, uint32_t id, uint32_t *out);

/* Guest to host: who asks. Whoever has no number there is the host's user too; with root on both sides, nobody. */
void idmap_caller_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller);

/* The same of whom the request makes an owner. */
void idmap_owner_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller);

/*
 * Guest to host: chown of a file that is as `present` says (NULL where idmap_chown_needs_present() says so, or both are
 * left alone). Owners are NULL where they are left alone. Returns the NATIVE_SET_ bits to send and the host's numbers,
 * or -EPERM for an owner that nobody could give. What a map has, and a group for the host user's own file, is for the
 * host to decide. What the file already shows needs no request, unless it is the host user's: then the host's chown(2)
 * to what it has moves the ctime and takes set-id bits.
 */
int idmap_chown_to_host(const struct idmap *m, const struct sftp_attr *present, const uint32_t *uid,
			const uint32_t *gid, uint32_t *host_uid, uint32_t *host_gid);

/* Guest to host: the mode of a new or changed file: type and permission bits, and nothing else. */
uint32_t idmap_mode_to_host(uint32_t mode);

/* Whether what no map has passes unchanged. */
bool idmap_is_identity(const struct idmap *m);

/* Whether idmap_chown_to_host() has to be told of the present owners. */
bool idmap_chown_needs_present(const struct idmap *m);

#endif
