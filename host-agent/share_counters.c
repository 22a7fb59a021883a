/* SPDX-License-Identifier: MIT */
/* Counting in a share's server, and reading it in the agent. See share_counters.h. Any thread. */
#include "share_counters.h"

#include <stdatomic.h>
#include <time.h>

#include "clock.h"
#include "sftp_wire.h"

static enum op_kind kind_of(uint8_t type)
{
	switch (type) {
	case NATIVE_LOOKUP:
	case SSH_FXP_REALPATH:
		return OP_LOOKUP;
	case NATIVE_GETATTR:
	case SSH_FXP_STAT:
	case SSH_FXP_LSTAT:
	case SSH_FXP_FSTAT:
		return OP_STAT;
	case NATIVE_OPENDIR:
	case NATIVE_READDIR:
	case SSH_FXP_OPENDIR:
	case SSH_FXP_READDIR:
		return OP_LIST;
	case NATIVE_OPEN:
	case SSH_FXP_OPEN:
		return OP_OPEN;
	case NATIVE_READ:
	case NATIVE_READLINK:
	case SSH_FXP_READ:
	case SSH_FXP_READLINK:
		return OP_READ;
	case NATIVE_WRITE:
	case NATIVE_FALLOCATE:
	case NATIVE_COPY:
	case SSH_FXP_WRITE:
		return OP_WRITE;
	case NATIVE_FSYNC:
		return OP_SYNC;
	case NATIVE_RELEASE:
	case SSH_FXP_CLOSE:
		return OP_CLOSE;
	case NATIVE_CREATE:
	case NATIVE_TMPFILE:
	case NATIVE_MKNOD:
	case NATIVE_MKDIR:
	case NATIVE_SYMLINK:
	case NATIVE_LINK:
	case SSH_FXP_MKDIR:
	case SSH_FXP_SYMLINK:
		return OP_CREATE;
	case NATIVE_UNLINK:
	case NATIVE_RMDIR:
	case SSH_FXP_REMOVE:
	case SSH_FXP_RMDIR:
		return OP_REMOVE;
	case NATIVE_RENAME:
	case SSH_FXP_RENAME:
		return OP_RENAME;
	case NATIVE_SETATTR:
	case SSH_FXP_SETSTAT:
	case SSH_FXP_FSETSTAT:
		return OP_CHANGE;
	case NATIVE_GETXATTR:
	case NATIVE_SETXATTR:
	case NATIVE_LISTXATTR:
	case NATIVE_REMOVEXATTR:
		return OP_XATTR;
	case NATIVE_LOCK:
		return OP_LOCK;
	default:
		return OP_OTHER;
	}
}

uint64_t share_counters_begin(struct share_counters *c, uint8_t type)
{
	atomic_fetch_add_explicit(&c->kinds[kind_of(type)].count, 1, memory_order_relaxed);
	return atomic_load_explicit(&c->timed, memory_order_relaxed) ? clock_ns(CLOCK_MONOTONIC) : 0;
}

void share_counters_done(struct share_counters *c, uint8_t type, uint64_t begun)
{
	if (begun)
		atomic_fetch_add_explicit(
			&c->kinds[kind_of(type)].times[histogram_bucket(clock_ns(CLOCK_MONOTONIC) - begun)], 1,
			memory_order_relaxed);
}

void share_counters_add(const struct share_counters *c, struct op_counters *sum)
{
	for (unsigned i = 0; i < OP_KINDS; i++) {
		sum->kinds[i].count += atomic_load_explicit(&c->kinds[i].count, memory_order_relaxed);
		for (unsigned j = 0; j < HISTOGRAM_BUCKETS; j++)
			sum->kinds[i].times[j] += atomic_load_explicit(&c->kinds[i].times[j], memory_order_relaxed);
	}
}
