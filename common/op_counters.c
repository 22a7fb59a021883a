/* SPDX-License-Identifier: MIT */
/* Requests by kind. See op_counters.h. */
#include "op_counters.h"

static const char *const names[] = {
	[OP_LOOKUP] = "lookup", [OP_STAT] = "stat",     [OP_LIST] = "list",     [OP_OPEN] = "open",
	[OP_READ] = "read",     [OP_WRITE] = "write",   [OP_SYNC] = "sync",     [OP_CLOSE] = "close",
	[OP_CREATE] = "create", [OP_REMOVE] = "remove", [OP_RENAME] = "rename", [OP_CHANGE] = "change",
	[OP_XATTR] = "xattr",   [OP_LOCK] = "lock",     [OP_OTHER] = "other",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == OP_KINDS, "each kind has a name");

const char *op_kind_name(enum op_kind kind)
{
	return names[kind];
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

void op_counters_since(const struct op_counters *now, const struct op_counters *before, struct op_counters *out)
{
	for (unsigned i = 0; i < OP_KINDS; i++) {
		const struct op_counter *n = &now->kinds[i], *b = &before->kinds[i];

		out->kinds[i].count = since(n->count, b->count);
		out->kinds[i].at_once = since(n->at_once, b->at_once);
		for (unsigned j = 0; j < HISTOGRAM_BUCKETS; j++)
			out->kinds[i].times[j] = since(n->times[j], b->times[j]);
	}
}
