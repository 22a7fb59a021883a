/* SPDX-License-Identifier: MIT */
/* Pauses between attempts, and a machine's sleep. See backoff.h. */
#include "backoff.h"

/* The two clocks are read one after the other, maybe with a preemption between: less than this is no sleep. */
#define SLEEP_NOISE_US 500000u

uint64_t backoff_failed(struct backoff *b, bool permanent)
{
	uint64_t pause = b->next_us ? b->next_us : BACKOFF_FIRST_US;

	b->connected_us = 0;
	b->next_us = pause * 2 < BACKOFF_MAX_US ? pause * 2 : BACKOFF_MAX_US;
	return permanent ? BACKOFF_PERMANENT_US : pause;
}

void backoff_connected(struct backoff *b, uint64_t now_us)
{
	b->connected_us = now_us;
}

uint64_t backoff_lost(struct backoff *b, uint64_t now_us)
{
	if (b->connected_us && now_us - b->connected_us >= BACKOFF_GOOD_US)
		b->next_us = 0;
	return backoff_failed(b, false);
}

void backoff_reset(struct backoff *b)
{
	b->next_us = 0;
}

bool sleep_watch_slept(struct sleep_watch *w, uint64_t boottime_us, uint64_t monotonic_us)
{
	uint64_t ahead = boottime_us - monotonic_us;
	bool slept = w->started && ahead > w->ahead_us + SLEEP_NOISE_US;

	/* Only forward: the noise of one reading must not hide a part of the next sleep. */
	if (!w->started || ahead > w->ahead_us)
		w->ahead_us = ahead;
	w->started = true;
	return slept;
}
