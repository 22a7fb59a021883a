/* SPDX-License-Identifier: MIT */
/*
 * fsop: file calls on descriptors and single names, with exact errno. A name here is one component, never a path
 * (asserted). Knows neither the wire's requests nor threads.
 */
#ifndef HOMEPORT_FSOP_H
#define HOMEPORT_FSOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "nodes.h"
#include "roots.h"
#include "sftp_wire.h"

struct fsop_stat {
	struct sftp_attr attr;
	struct node_identity identity;
	uint8_t type; /* DT_ */
};

/*
 * Attributes of fd itself (name NULL) or of `name` in the folder fd, not following a link. `cached`: of a child that
 * may be a mount, what the kernel knows without asking a file server. With virtual ownership, as recorded.
 */
int fsop_stat(struct root *root, int fd, const char *name, bool cached, struct fsop_stat *out);

/* The part of a change that is found before, and the part that is left after. */
int fsop_change_before(struct root *root, int fd, struct sftp_change *change);
int fsop_change_after(struct root *root, int fd, struct sftp_change *change);

/* Values of a SETATTR, which may be none (the ctime moves all the same), carried out on fd (O_PATH or open) in the
 * order size, owner, mode, times. */
struct fsop_set {
	uint32_t mask; /* NATIVE_SET_ */
	uint32_t mode, uid, gid;
	uint64_t size;
	struct sftp_time atime, mtime;
};
int fsop_set(const struct root *root, int fd, uint8_t type, bool writable_fd, const struct fsop_set *set);

/* All of it up to the end of the file; the count, or negative errno. `now`: only what is in memory,
 * else -EAGAIN, where the file system can tell. */
ssize_t fsop_read(int fd, void *data, size_t len, uint64_t offset, bool now);

/* All of it, or how much until an error; the error when nothing was written. `append`: fd has O_APPEND. */
ssize_t fsop_write(int fd, const void *data, size_t len, uint64_t offset, bool append);

/* The same at the offset alone, through an fd that has O_APPEND: nobody else writes through it meanwhile. */
ssize_t fsop_write_in_place(int fd, const void *data, size_t len, uint64_t offset);

/* Another name for the file fd stands for. */
int fsop_link(const struct root *root, int fd, int dirfd, const char *name);

/* The target of the link fd stands for, at most size bytes, without NUL. */
ssize_t fsop_read_link(int fd, char *target, size_t size);

/* NATIVE_O_ flags as open(2)'s; -EINVAL for those that make no sense. */
int fsop_open_flags(uint32_t native, int *flags);

#endif
