/* SPDX-License-Identifier: MIT */
/* Durations in buckets of a quarter of a doubling. See histogram.h. */
#include "histogram.h"

/* Below 4 ns a bucket is a nanosecond; then the two bits behind the highest one choose among four. */
unsigned histogram_bucket(uint64_t ns)
{
	unsigned high, bucket;

	if (ns < 4)
		return (unsigned)ns;
	high = 63 - (unsigned)__builtin_clzll(ns);
	bucket = (high - 1) * 4 + (unsigned)(ns >> (high - 2) & 3);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_floor(unsigned bucket)
{
	if (bucket < 4)
		return bucket;
	return (uint64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

/* In floating point: a peer's counts may add up to more than an integer holds. */
uint64_t histogram_percentile(const uint64_t buckets[HISTOGRAM_BUCKETS], unsigned per_mille)
{
	double total = 0, rank;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += (double)buckets[i];
	rank = total * per_mille / 1000;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t floor = bucket_floor(i), width = bucket_floor(i + 1) - floor;

		if (buckets[i] && rank <= (double)buckets[i])
			return floor + (uint64_t)((double)width * rank / (double)buckets[i]);
		rank -= (double)buckets[i];
	}
	return total > 0 ? bucket_floor(HISTOGRAM_BUCKETS) : 0;
}
