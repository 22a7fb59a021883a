/* SPDX-License-Identifier: MIT */
/* See busy_poll.h. */
#include "busy_poll.h"

/* What takes longer is no answer to anybody, and would hide those that are. */
#define PAUSE_MAX_US (10u * BUSY_POLL_US)

/* The runs of a trial, shuffled (Knuth's multiplicative hash): its highest bit. */
static bool is_polled(unsigned wait)
{
	return wait / BUSY_POLL_RUN * 2654435761u >> 31;
}

bool busy_poll_now(const struct busy_poll *b)
{
	return b->stage == BUSY_POLL_TRY ? is_polled(b->waits) : b->stage == BUSY_POLL_CHOSE;
}

/* By an eighth at least: less may be chance, and polling takes a processor. */
static bool polling_pays(const struct busy_poll *b)
{
	return b->polled_us * b->slept * 8 < b->slept_us * b->polled * 7;
}

static unsigned next_chosen(unsigned chosen)
{
	if (!chosen)
		return BUSY_POLL_TRIAL;
	return chosen < BUSY_POLL_CHOSEN ? chosen * 2 : chosen;
}

static void tried(struct busy_poll *b, bool polled, unsigned events, uint64_t us)
{
	if (us > PAUSE_MAX_US)
		us = PAUSE_MAX_US;
	if (polled) {
		b->polled += events;
		b->polled_us += us;
	} else {
		b->slept += events;
		b->slept_us += us;
	}
}

void busy_poll_waited(struct busy_poll *b, unsigned events, uint64_t us)
{
	bool trial = b->stage == BUSY_POLL_TRY;

	if (trial)
		tried(b, busy_poll_now(b), events, us);
	if (++b->waits < (trial ? BUSY_POLL_TRIAL : b->chosen))
		return;
	if (trial)
		*b = (struct busy_poll){.stage = polling_pays(b) ? BUSY_POLL_CHOSE : BUSY_POLL_CHOSE_SLEEP,
					.chosen = next_chosen(b->chosen)};
	else
		*b = (struct busy_poll){.stage = BUSY_POLL_TRY, .chosen = b->chosen};
}
