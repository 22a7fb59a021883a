/* SPDX-License-Identifier: MIT */
/* What a clock of clock_gettime(2) shows, as one number. CLOCK_MONOTONIC stands while the machine sleeps.
 */
#ifndef HOMEPORT_CLOCK_H
#define HOMEPORT_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_us(clockid_t id)
{
	return clock_ns(id) / 1000u;
}

/* Signed: what is left until some time may be less than nothing. */
static inline int64_t clock_ms(clockid_t id)
{
	return (int64_t)(clock_ns(id) / 1000000u);
}

#endif
