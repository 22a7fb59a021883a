/* SPDX-License-Identifier: MIT */
/*
 * histogram: durations counted in buckets, four for each doubling, so that a percentile is true to an eighth from a
 * nanosecond to two minutes, in a kilobyte, whatever is counted. The buckets are the caller's: plain integers here,
 * atomic ones where processes share them. Pure.
 */
#ifndef HOMEPORT_HISTOGRAM_H
#define HOMEPORT_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 144u /* the last one takes what is longer than 2^36 ns, too */

/* Where a duration is counted. */
unsigned histogram_bucket(uint64_t ns);

/*
 * What so many in a thousand (500: the median; 1 to 999) of the durations stay within, in ns, spread evenly over their
 * bucket; 0 where none was counted. Counts are taken as they are, however large.
 */
uint64_t histogram_percentile(const uint64_t buckets[HISTOGRAM_BUCKETS], unsigned per_mille);

#endif
