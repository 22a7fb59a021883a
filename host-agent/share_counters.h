/* SPDX-License-Identifier: MIT */
/* What a share's server counts, in a memfd the agent maps as well (--counters-fd). Each value is read on its own. */
#ifndef HOMEPORT_SHARE_COUNTERS_H
#define HOMEPORT_SHARE_COUNTERS_H

#include <stdint.h>

struct share_counters {
	_Atomic uint64_t requests;
	_Atomic uint64_t bytes_read;    /* of files, sent */
	_Atomic uint64_t bytes_written; /* to files */
};

#endif
