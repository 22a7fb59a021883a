/* SPDX-License-Identifier: MIT */
/*
 * fuse_times: the kernel's requests of one mount, from the moment they are read to their answer, counted in the meter.
 *
 * A request that is answered before the next one is looked at was answered at once: from what the guest knows, or (a
 * write) taken, while the host is told later. All others are remembered by the kernel's number for them until their
 * answer passes. The place to remember is small and bounded: a request that another one took it from is counted, but
 * not timed. On the loop's thread.
 */
#ifndef HOMEPORT_FUSE_TIMES_H
#define HOMEPORT_FUSE_TIMES_H

#include <stdint.h>

#include "op_counters.h"

struct op_meter;

#define FUSE_TIMES_SLOTS 512u /* some hundred programs wait at once before one is not timed */

struct fuse_times {
	struct op_meter *meter; /* NULL: nothing is counted */
	uint32_t waiting;
	uint64_t handled; /* the request that is being handled; 0: none */
	enum op_kind handled_kind;
	uint64_t handled_since;
	struct fuse_times_slot {
		uint64_t unique, since;
		enum op_kind kind;
	} slots[FUSE_TIMES_SLOTS];
};

/* A request was read, and is to be handled; it was handled, answered or not. */
void fuse_times_begin(struct fuse_times *t, uint64_t unique, uint32_t opcode);
void fuse_times_handled(struct fuse_times *t);

/* Its answer goes to the kernel. A number of no request (0: a notice) is fine. */
void fuse_times_answer(struct fuse_times *t, uint64_t unique);

/* The mount is over: what waits waits no more. */
void fuse_times_end(struct fuse_times *t);

#endif
