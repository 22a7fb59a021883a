/* SPDX-License-Identifier: MIT */
/* From request to answer. See fuse_times.h. */
#include "fuse_times.h"

#include <stdbool.h>
#include <time.h>

#include <linux/fuse.h>

#include "clock.h"
#include "fuse_raw.h"
#include "op_meter.h"

static const uint8_t kinds[] = {
	[FUSE_LOOKUP] = OP_LOOKUP,
	[FUSE_GETATTR] = OP_STAT,
	[OPCODE_STATX] = OP_STAT,
	[FUSE_ACCESS] = OP_STAT,
	[FUSE_OPENDIR] = OP_LIST,
	[FUSE_READDIR] = OP_LIST,
	[FUSE_READDIRPLUS] = OP_LIST,
	[FUSE_OPEN] = OP_OPEN,
	[FUSE_READ] = OP_READ,
	[FUSE_READLINK] = OP_READ,
	[FUSE_WRITE] = OP_WRITE,
	[FUSE_FALLOCATE] = OP_WRITE,
	[FUSE_COPY_FILE_RANGE] = OP_WRITE,
	[FUSE_FSYNC] = OP_SYNC,
	[FUSE_FSYNCDIR] = OP_SYNC,
	[FUSE_FLUSH] = OP_SYNC,
	[FUSE_RELEASE] = OP_CLOSE,
	[FUSE_RELEASEDIR] = OP_CLOSE,
	[FUSE_CREATE] = OP_CREATE,
	[OPCODE_TMPFILE] = OP_CREATE,
	[FUSE_MKNOD] = OP_CREATE,
	[FUSE_MKDIR] = OP_CREATE,
	[FUSE_SYMLINK] = OP_CREATE,
	[FUSE_LINK] = OP_CREATE,
	[FUSE_UNLINK] = OP_REMOVE,
	[FUSE_RMDIR] = OP_REMOVE,
	[FUSE_RENAME] = OP_RENAME,
	[FUSE_RENAME2] = OP_RENAME,
	[FUSE_SETATTR] = OP_CHANGE,
	[FUSE_GETXATTR] = OP_XATTR,
	[FUSE_SETXATTR] = OP_XATTR,
	[FUSE_LISTXATTR] = OP_XATTR,
	[FUSE_REMOVEXATTR] = OP_XATTR,
	[FUSE_GETLK] = OP_LOCK,
	[FUSE_SETLK] = OP_LOCK,
	[FUSE_SETLKW] = OP_LOCK,
};

/* 0 is OP_LOOKUP and what the table leaves out alike: only the one opcode is. */
static enum op_kind kind_of(uint32_t opcode)
{
	if (opcode >= sizeof(kinds) || (kinds[opcode] == OP_LOOKUP && opcode != FUSE_LOOKUP))
		return OP_OTHER;
	return kinds[opcode];
}

static struct fuse_times_slot *slot_of(struct fuse_times *t, uint64_t unique)
{
	return &t->slots[unique / 2 % FUSE_TIMES_SLOTS]; /* the kernel's numbers are even, one after another */
}

void fuse_times_begin(struct fuse_times *t, uint64_t unique, uint32_t opcode)
{
	if (!t->meter || !raw_has_answer(opcode))
		return;
	t->handled = unique;
	t->handled_kind = kind_of(opcode);
	t->handled_since = t->meter->timed ? clock_ns(CLOCK_MONOTONIC) : 0;
	t->meter->counters.kinds[t->handled_kind].count++;
	t->waiting++;
	t->meter->waiting++;
}

void fuse_times_handled(struct fuse_times *t)
{
	if (t->handled && t->handled_since)
		*slot_of(t, t->handled) = (struct fuse_times_slot){t->handled, t->handled_since, t->handled_kind};
	t->handled = 0;
}

static void take_time(struct fuse_times *t, enum op_kind kind, uint64_t since)
{
	if (since)
		t->meter->counters.kinds[kind].times[histogram_bucket(clock_ns(CLOCK_MONOTONIC) - since)]++;
}

void fuse_times_answer(struct fuse_times *t, uint64_t unique)
{
	struct fuse_times_slot *slot = slot_of(t, unique);

	if (!unique || !t->waiting)
		return;
	t->waiting--;
	t->meter->waiting--;
	if (unique == t->handled) {
		t->meter->counters.kinds[t->handled_kind].at_once++;
		take_time(t, t->handled_kind, t->handled_since);
		t->handled = 0;
	} else if (slot->unique == unique) {
		take_time(t, slot->kind, slot->since);
		slot->unique = 0;
	}
}

void fuse_times_end(struct fuse_times *t)
{
	if (t->meter)
		t->meter->waiting -= t->waiting;
	t->waiting = 0;
}
