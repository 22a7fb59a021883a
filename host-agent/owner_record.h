/* SPDX-License-Identifier: MIT */
/*
 * owner_record: who owns a file of a share with virtual ownership, where the host's user cannot record it for real.
 *
 * Theory of operation
 *
 * A file that the guest gave to somebody, or whose mode or kind an ordinary user of the host cannot make, has a record:
 * one extended attribute of the file on the host, OWNER_RECORD_XATTR. It is the guest's numbers as text, such as
 *
 *	mode=100640 uid=105 gid=- rdev=0:0
 *
 * with the mode in octal, its type included, and `-` for what the host's own owner or group stands for. A file without
 * one is what the host says. The host's file belongs to the host's user, who may always read and write it; its mode is
 * owner_record_host_mode() of the recorded one, and has no set-id bits. Where the host's user has changed the
 * permissions since, those are what counts; the rest of the record stays. Devices, FIFOs and sockets are empty regular
 * files on the host.
 *
 * The record goes where its file goes, and with it. What is not exactly as written here is no record: a host's user may
 * unpack a stranger's attributes too. A guest neither sees nor sets them (xattr_name.h). Symbolic links cannot have
 * any.
 */
#ifndef HOMEPORT_OWNER_RECORD_H
#define HOMEPORT_OWNER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp_wire.h"

#define OWNER_RECORD_XATTR "user.homeport.owner"
#define OWNER_RECORD_MAX   96u /* of its text, with a NUL */

struct owner_record {
	uint32_t mode;     /* with its type */
	uint32_t uid, gid; /* SFTP_OWNER_HOST: the host's */
	uint32_t rdev_major, rdev_minor;
};

/* From text of this length, without a NUL. -EINVAL: it is no record. Pure. */
int owner_record_parse(const char *text, size_t len, struct owner_record *record);

/* To text, with a NUL; its length without it. Pure. */
size_t owner_record_format(const struct owner_record *record, char text[OWNER_RECORD_MAX]);

/* The mode of the host's file, type included, for what the guest wants to have this mode. Pure. */
uint32_t owner_record_host_mode(uint32_t mode);

/* Whether the host's file of this mode can be what the record says. Pure. */
bool owner_record_fits(const struct owner_record *record, uint32_t host_mode);

/* What the record makes of the host's attributes, which it fits. Pure. */
void owner_record_show(const struct owner_record *record, struct sftp_attr *attr);

/* Whether the host's file alone would not be that. Pure. */
bool owner_record_is_needed(const struct owner_record *record);

/*
 * Of the file fd (O_PATH or open), or of `name` in the folder fd, which is not followed. -ENODATA: it has none, or none
 * that is one and fits its mode. -EOPNOTSUPP: its file system has none at all.
 */
int owner_record_read(int fd, const char *name, uint32_t host_mode, struct owner_record *record);

/* Of the file fd: written, or taken away. 0, or what setxattr(2) or removexattr(2) says. */
int owner_record_write(int fd, const struct owner_record *record);
int owner_record_remove(int fd);

#endif
