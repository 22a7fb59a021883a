/* SPDX-License-Identifier: MIT */
/* What a share's server counts, in a memfd the agent maps as well (--counters-fd). Each value is read on its own. */
#ifndef HOMEPORT_SHARE_COUNTERS_H
#define HOMEPORT_SHARE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "op_counters.h"

struct share_counters {
	_Atomic uint64_t requests;
	_Atomic uint64_t bytes_read;    /* of files, sent */
	_Atomic uint64_t bytes_written; /* to files */
	_Atomic bool timed;             /* set by the agent: how long requests take is counted, too */
	struct {
		_Atomic uint64_t count;
		_Atomic uint64_t times[HISTOGRAM_BUCKETS];
	} kinds[OP_KINDS];
};

/* A request of this type (SSH_FXP_… or NATIVE_…) is about to be carried out: when, or 0 where time is not taken. */
uint64_t share_counters_begin(struct share_counters *c, uint8_t type);

/* It was, since `begun`. */
void share_counters_done(struct share_counters *c, uint8_t type, uint64_t begun);

/* Adds what was counted to `sum`. */
void share_counters_add(const struct share_counters *c, struct op_counters *sum);

#endif
