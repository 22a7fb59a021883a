/* SPDX-License-Identifier: MIT */
/*
 * idmap: owners, at the one edge where they pass between host and guest. Pure.
 *
 * The host's user is the guest's login user; everybody else is nobody. With root on both sides owners are unchanged:
 * then the server can set them, and the guest's root means the host's.
 */
#ifndef HOMEPORT_IDMAP_H
#define HOMEPORT_IDMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "sftp_wire.h"

#define IDMAP_NOBODY 65534u

struct idmap {
	uint32_t host_uid, host_gid;
	uint32_t guest_uid, guest_gid;
};

/* Host to guest: attributes as the kernel is told them. `share` keeps inode numbers of different shares apart. */
void idmap_attr_to_guest(const struct idmap *m, unsigned share, const struct sftp_attr *attr, struct stat *st);

/* The inode number alone, for directory entries without attributes; dev is not known there and taken as the root's. */
uint64_t idmap_ino_to_guest(unsigned share, uint32_t dev, uint64_t ino);

/* Guest to host: who asks. Somebody else than the login user is the host's user too: the host knows no others. */
void idmap_caller_to_host(const struct idmap *m, uint32_t uid, uint32_t gid, struct sftp_caller *caller);

/*
 * Guest to host: chown. Owners are NULL where they are left alone. Returns the NATIVE_SET_ bits to send and the host's
 * numbers, or -EPERM for an owner the host's user cannot give. What the file already shows (st) needs no request,
 * unless it is the login user's: then the host's chown(2) to its own user moves the ctime and takes set-id bits.
 */
int idmap_chown_to_host(const struct idmap *m, const struct stat *st, const uint32_t *uid, const uint32_t *gid,
			uint32_t *host_uid, uint32_t *host_gid);

/* Guest to host: the mode of a new or changed file: type and permission bits, and nothing else. */
uint32_t idmap_mode_to_host(uint32_t mode);

/* Whether owners pass unchanged. */
bool idmap_is_identity(const struct idmap *m);

#endif
