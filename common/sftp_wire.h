/* SPDX-License-Identifier: MIT */
/*
 * sftp_wire: what the share's server (host) and the mount (guest) say to each other, to and from bytes. Pure.
 * SFTP version 3 as in draft-ietf-secsh-filexfer-02, and our native requests: PROTOCOL.md, "Native SFTP".
 */
#ifndef HOMEPORT_SFTP_WIRE_H
#define HOMEPORT_SFTP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/* draft-ietf-secsh-filexfer-02, section 3 */
enum sftp_type {
	SSH_FXP_INIT = 1,
	SSH_FXP_VERSION = 2,
	SSH_FXP_OPEN = 3,
	SSH_FXP_CLOSE = 4,
	SSH_FXP_READ = 5,
	SSH_FXP_WRITE = 6,
	SSH_FXP_LSTAT = 7,
	SSH_FXP_FSTAT = 8,
	SSH_FXP_SETSTAT = 9,
	SSH_FXP_FSETSTAT = 10,
	SSH_FXP_OPENDIR = 11,
	SSH_FXP_READDIR = 12,
	SSH_FXP_REMOVE = 13,
	SSH_FXP_MKDIR = 14,
	SSH_FXP_RMDIR = 15,
	SSH_FXP_REALPATH = 16,
	SSH_FXP_STAT = 17,
	SSH_FXP_RENAME = 18,
	SSH_FXP_READLINK = 19,
	SSH_FXP_SYMLINK = 20,
	SSH_FXP_STATUS = 101,
	SSH_FXP_HANDLE = 102,
	SSH_FXP_DATA = 103,
	SSH_FXP_NAME = 104,
	SSH_FXP_ATTRS = 105,
	SSH_FXP_EXTENDED = 200,
	SSH_FXP_EXTENDED_REPLY = 201,

	/* Native, after both sides agreed on NATIVE_EXTENSION. PROTOCOL.md names each field. */
	NATIVE_LOOKUP = 128,
	NATIVE_FORGET,
	NATIVE_GETATTR,
	NATIVE_SETATTR,
	NATIVE_READLINK,
	NATIVE_SYMLINK,
	NATIVE_MKDIR,
	NATIVE_MKNOD,
	NATIVE_UNLINK,
	NATIVE_RMDIR,
	NATIVE_RENAME,
	NATIVE_LINK,
	NATIVE_OPEN,
	NATIVE_CREATE,
	NATIVE_READ,
	NATIVE_WRITE,
	NATIVE_RELEASE,
	NATIVE_FSYNC,
	NATIVE_OPENDIR,
	NATIVE_READDIR,
	NATIVE_STATFS,
	NATIVE_CANCEL,
	NATIVE_FALLOCATE,
	NATIVE_SEEK,
	NATIVE_COPY,
	NATIVE_GETXATTR,
	NATIVE_SETXATTR,
	NATIVE_LISTXATTR,
	NATIVE_REMOVEXATTR,
	NATIVE_LOCK,
	NATIVE_TMPFILE = 160, /* the numbers between are free */
	NATIVE_END,
	NATIVE_REPLY = 192,
	NATIVE_INVALIDATE = 193,
};

#define NATIVE_EXTENSION "native@homeport"
#define NATIVE_VERSION   "1"
#define NATIVE_ROOT      1u /* the node every share starts with */

struct sftp_time {
	int64_t sec;
	uint32_t nsec;
};

/* PROTOCOL.md, "Attributes". */
enum {
	SFTP_ATTR_BTIME = 1 << 0, /* btime is there */
	SFTP_ATTR_RACY = 1 << 1,  /* ctime lies less than 100 ms before the host's clock when read: may change unseen */
	SFTP_ATTR_FOLDS = 1 << 2, /* of a folder, in the answers of OPENDIR and MKDIR: finds names in other spellings */
	SFTP_ATTR_UID_RECORDED = 1 << 3, /* uid is the guest's own number */
	SFTP_ATTR_MY_GROUP = 1 << 4,     /* its group is one of the server's, which is no root */
	SFTP_ATTR_GID_RECORDED = 1 << 5, /* gid is the guest's own number */
};
struct sftp_attr {
	uint64_t ino, size, blocks; /* blocks of 512 bytes */
	uint32_t mode, nlink, uid, gid;
	uint32_t rdev_major, rdev_minor;
	uint32_t dev;   /* index of the device within the share; 0 is the root's own */
	uint32_t flags; /* SFTP_ATTR_ */
	struct sftp_time atime, mtime, ctime, btime;
};
#define SFTP_ATTR_SIZE 104u
void sftp_attr_put(struct wire_buf *out, const struct sftp_attr *a);
void sftp_attr_get(struct wire_reader *r, struct sftp_attr *a);

/* PROTOCOL.md, "Change": what a modifying request found, and what it left. */
struct sftp_change {
	uint64_t size; /* before */
	struct sftp_time mtime, ctime;
	struct sftp_attr after;
};
#define SFTP_CHANGE_SIZE (32u + SFTP_ATTR_SIZE)
void sftp_change_put(struct wire_buf *out, const struct sftp_change *c);
void sftp_change_get(struct wire_reader *r, struct sftp_change *c);

/* With virtual ownership, where an owner or group is set: the host's own, not recorded. */
#define SFTP_OWNER_HOST UINT32_MAX

/* Who asks, and which request this is (the same number when it is repeated). In front of every modifying request. */
struct sftp_caller {
	uint64_t request;
	uint32_t uid, gid; /* host ids */
};
void sftp_caller_put(struct wire_buf *out, const struct sftp_caller *c);
void sftp_caller_get(struct wire_reader *r, struct sftp_caller *c);

/* SETATTR: which of the values are meant. */
enum {
	NATIVE_SET_MODE = 1 << 0,
	NATIVE_SET_UID = 1 << 1,
	NATIVE_SET_GID = 1 << 2,
	NATIVE_SET_SIZE = 1 << 3,
	NATIVE_SET_ATIME = 1 << 4,
	NATIVE_SET_MTIME = 1 << 5,
	NATIVE_SET_ATIME_NOW = 1 << 6,
	NATIVE_SET_MTIME_NOW = 1 << 7,
	NATIVE_SET_ALL = (1 << 8) - 1,
};

/* OPEN and CREATE flags, the same on every architecture. */
enum {
	NATIVE_O_READ = 1 << 0,
	NATIVE_O_WRITE = 1 << 1,
	NATIVE_O_APPEND = 1 << 2,
	NATIVE_O_TRUNC = 1 << 3,
	NATIVE_O_EXCL = 1 << 4,
	NATIVE_O_SYNC = 1 << 5,
	NATIVE_O_DSYNC = 1 << 6,
	NATIVE_O_NOATIME = 1 << 7,
	NATIVE_O_ALL = (1 << 8) - 1,
};

/* WRITE: at the end of the file, through a handle opened with NATIVE_O_APPEND. */
#define NATIVE_WRITE_APPEND UINT64_MAX

/* FALLOCATE modes: FALLOC_FL_ of fallocate(2), same values, but NO_HIDE_STALE. */
enum { NATIVE_FALLOCATE_ALL = 0x7b };

/* SETXATTR flags: XATTR_CREATE and XATTR_REPLACE of setxattr(2), same values; with an ACL, the set-group-id bit goes.
 */
enum { NATIVE_XATTR_FLAGS = 3, NATIVE_XATTR_KILL_SGID = 1 << 8 };

/* SEEK: what is looked for. */
enum { NATIVE_SEEK_DATA = 1, NATIVE_SEEK_HOLE = 2 };

/* LOCK: fcntl's locks, of a range (length 0: to the end, however far that is), or flock's, of the file. */
enum { NATIVE_LOCK_FCNTL = 0, NATIVE_LOCK_FLOCK = 1 };
enum { NATIVE_LOCK_NONE = 0, NATIVE_LOCK_READ = 1, NATIVE_LOCK_WRITE = 2 };
enum { NATIVE_LOCK_SET = 0, NATIVE_LOCK_TEST = 1 };
struct sftp_lock {
	uint64_t owner, start, length;
	uint8_t kind, type;
};
void sftp_lock_put(struct wire_buf *out, const struct sftp_lock *l);
void sftp_lock_get(struct wire_reader *r, struct sftp_lock *l);

/* RENAME flags: those of renameat2(2), same values. */
enum {
	NATIVE_RENAME_NOREPLACE = 1,
	NATIVE_RENAME_EXCHANGE = 2,
	NATIVE_RENAME_WHITEOUT = 4,
	NATIVE_RENAME_ALL = 7,
};

/* READDIR flags and the bits of an entry. */
enum { NATIVE_READDIR_PLUS = 1 << 0 };
enum { NATIVE_OPENDIR_LIST = 1 << 1 }; /* of OPENDIR alone: the entries, and no handle */
enum { NATIVE_ENTRY_NODE = 1 << 0 };   /* node and attributes follow; the node counts as one lookup */

struct sftp_entry {
	uint64_t cookie; /* READDIR from here gives what follows this entry */
	uint64_t ino;
	uint8_t type; /* DT_ of readdir(3) */
	uint8_t flags;
	const uint8_t *name; /* by reference */
	size_t name_len;
	uint64_t node;
	struct sftp_attr attr;
};
void sftp_entry_put(struct wire_buf *out, const struct sftp_entry *e);
void sftp_entry_get(struct wire_reader *r, struct sftp_entry *e);

enum native_invalidate {
	NATIVE_INVALIDATE_ENTRY = 1,
	NATIVE_INVALIDATE_ATTR = 2,
	NATIVE_INVALIDATE_RANGE = 3,
	NATIVE_INVALIDATE_SUBTREE = 4,
	NATIVE_INVALIDATE_ALL = 5,
};

/* PROTOCOL.md, "Invalidations". Fields that a kind does not have are 0 and empty. */
struct sftp_invalidation {
	enum native_invalidate kind;
	uint64_t stamp, node, offset, length;
	const uint8_t *name; /* by reference */
	size_t name_len;
};
#define NATIVE_INVALIDATE_STAMP 6u /* where in the packet, with its length, the stamp stands */

/* The whole packet, its length included. */
void sftp_invalidation_put(struct wire_buf *out, const struct sftp_invalidation *i);

/* What follows the type. The reader is bad where a kind is unknown or a name is none. */
void sftp_invalidation_get(struct wire_reader *r, struct sftp_invalidation *i);

/* A name as native requests carry it: 1 to 255 bytes, without '/' and NUL, not "." or "..". */
bool sftp_name_valid(const uint8_t *name, size_t len);

/* The name of a type, for logs and counters; "?" for none. */
const char *sftp_type_name(uint8_t type);

/*
 * Packets out of a byte stream. Feed chunks as they arrive; `packet` is called with each whole packet, from its type
 * byte on, by reference into the chunk where it lies whole in it. Returns 0, -EPROTO (a length of 0 or above max),
 * -ENOMEM, or what `packet` returned when that was negative.
 */
struct sftp_framer {
	struct wire_buf partial;
	size_t max;
};
typedef int sftp_packet_cb(void *ctx, const uint8_t *packet, size_t len);
int sftp_framer_feed(struct sftp_framer *f, const uint8_t *data, size_t len, sftp_packet_cb *packet, void *ctx);
void sftp_framer_clear(struct sftp_framer *f);

#endif
