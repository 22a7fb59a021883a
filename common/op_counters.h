/* SPDX-License-Identifier: MIT */
/*
 * op_counters: requests of programs to a mount, counted and timed by kind. The guest counts those of its kernel, each
 * share's server those the guest asked of it; `homeport top` shows what happened between two looks at both. Pure.
 */
#ifndef HOMEPORT_OP_COUNTERS_H
#define HOMEPORT_OP_COUNTERS_H

#include <stdint.h>

#include "histogram.h"

/* As a person tells them apart, in the order in which they are shown. */
enum op_kind {
	OP_LOOKUP, /* a name */
	OP_STAT,
	OP_LIST, /* a directory */
	OP_OPEN,
	OP_READ, /* a link's target too */
	OP_WRITE,
	OP_SYNC,
	OP_CLOSE,
	OP_CREATE, /* whatever a name is made for */
	OP_REMOVE,
	OP_RENAME,
	OP_CHANGE, /* attributes */
	OP_XATTR,
	OP_LOCK,
	OP_OTHER,
	OP_KINDS,
};

const char *op_kind_name(enum op_kind kind);

struct op_counter {
	uint64_t count;
	uint64_t at_once;                  /* of these, answered by the guest, which waited for nobody */
	uint64_t times[HISTOGRAM_BUCKETS]; /* of those that were timed: how long whoever asked waited */
};

struct op_counters {
	struct op_counter kinds[OP_KINDS];
};

/* What was counted between two looks. What is less than it was began anew: nothing. */
void op_counters_since(const struct op_counters *now, const struct op_counters *before, struct op_counters *out);

#endif
