/* SPDX-License-Identifier: MIT */
/*
 * op_meter: what the mounts of one host count of their kernel's requests, all together. Counting costs nothing worth
 * speaking of and is always done; time is taken only while the host has lately asked for it: a VM whose clock is a
 * device pays a microsecond for each look at it. On the loop's thread.
 */
#ifndef HOMEPORT_OP_METER_H
#define HOMEPORT_OP_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "op_counters.h"

struct loop;
struct loop_timer;

struct op_meter {
	struct op_counters counters;
	uint32_t waiting; /* requests that have no answer yet */
	bool timed;
	struct loop_timer *stop;
};

/* Counts from zero. NULL: out of memory. It must outlive the mounts that count in it. */
struct op_meter *op_meter_new(struct loop *loop);
void op_meter_free(struct op_meter *meter); /* NULL is fine */

/* Time is taken for so many seconds from now, an hour or two at most. */
void op_meter_time(struct op_meter *meter, uint32_t seconds);

#endif
