/* SPDX-License-Identifier: MIT */
/*
 * The listener source that asks again and again. Runs on the loop's thread.
 *
 * How often is a matter of what was seen: right after a change every POLL_FAST_US, because servers start and stop in
 * groups; each poll that finds nothing new is followed by a longer pause, up to POLL_SLOW_US, so that a quiet machine
 * wakes up ten times a second. A machine with thousands of listeners pays more a poll: the pause is never shorter than
 * COST_FACTOR times what the last poll cost, up to POLL_WORST_US. So a change is seen within 135 ms, at under half a
 * per cent of a core.
 *
 * A dump is compared with the last one as bytes; only what differs is passed on. One that came in several parts may
 * have missed a listener that stands, so it must come out the same twice in a row before it is believed; under a
 * storm of changes the third is taken as it is, and the next poll tells better.
 */
#include "listener_source.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "sockdiag.h"

#define POLL_FAST_US  5000u
#define POLL_SLOW_US  100000u
#define POLL_WORST_US 135000u
#define COST_FACTOR   250u
#define POLL_TRIES    3

struct listener_poll {
	struct listener_source base;
	struct loop *loop;
	struct loop_timer *timer;
	struct sockdiag *diag;
	struct listener_set last, now;
	const struct listener_source_events *events;
	void *ctx;
	uint64_t pause_us;
	bool told;   /* a set was passed on since the start */
	bool failed; /* and the failure was passed on */
};

static bool sets_equal(const struct listener_set *a, const struct listener_set *b)
{
	return a->count == b->count && (!a->count || memcmp(a->items, b->items, a->count * sizeof(*a->items)) == 0);
}

static void sets_swap(struct listener_set *a, struct listener_set *b)
{
	struct listener_set t = *a;

	*a = *b;
	*b = t;
}

/* A believable set in p->now: 1 when it differs from p->last, 0 when not, or a negative errno. */
static int poll_dump(struct listener_poll *p)
{
	struct listener_set before = {0};
	int parts;

	for (int tries = 1;; tries++) {
		parts = sockdiag_dump(p->diag, &p->now);
		if (parts < 0 && parts != -EAGAIN)
			break;
		if (parts >= 0 && (parts <= 1 || sets_equal(&p->now, &p->last)))
			break;
		if (tries == POLL_TRIES || (tries > 1 && parts > 0 && sets_equal(&p->now, &before)))
			break;
		sets_swap(&p->now, &before);
	}
	listener_set_free(&before);
	return parts < 0 ? parts : !p->told || !sets_equal(&p->now, &p->last);
}

static void poll_pause(struct listener_poll *p, bool changed, uint64_t cost_us)
{
	uint64_t least = cost_us * COST_FACTOR < POLL_WORST_US ? cost_us * COST_FACTOR : POLL_WORST_US;

	p->pause_us = changed ? POLL_FAST_US : p->pause_us + p->pause_us / 4;
	if (p->pause_us > POLL_SLOW_US)
		p->pause_us = POLL_SLOW_US;
	loop_timer_set(p->timer, p->pause_us > least ? p->pause_us : least);
}

static void poll_failed(struct listener_poll *p, int error)
{
	if (!p->failed)
		p->events->failed(p->ctx, error);
	p->failed = true;
}

static void on_poll(void *ctx)
{
	struct listener_poll *p = ctx;
	uint64_t began = loop_now_us(p->loop);
	int rc = p->diag ? 0 : sockdiag_open(&p->diag);

	if (rc == 0)
		rc = poll_dump(p);
	poll_pause(p, rc > 0, loop_now_us(p->loop) - began);
	if (rc < 0 && rc != -EAGAIN)
		poll_failed(p, rc);
	if (rc >= 0)
		p->failed = false;
	if (rc <= 0)
		return;
	sets_swap(&p->last, &p->now);
	p->told = true;
	p->events->set(p->ctx, p->last.items, p->last.count);
}

static void listener_poll_start(struct listener_source *s, const struct listener_source_events *events, void *ctx)
{
	struct listener_poll *p = (struct listener_poll *)s;

	p->events = events;
	p->ctx = ctx;
	p->told = false;
	p->failed = false;
	p->pause_us = POLL_FAST_US;
	loop_timer_set(p->timer, 0);
}

static void listener_poll_stop(struct listener_source *s)
{
	loop_timer_stop(((struct listener_poll *)s)->timer);
}

static void listener_poll_free(struct listener_source *s)
{
	struct listener_poll *p = (struct listener_poll *)s;

	loop_timer_free(p->timer);
	sockdiag_close(p->diag);
	listener_set_free(&p->last);
	listener_set_free(&p->now);
	free(p);
}

static const struct listener_source_ops listener_poll_ops = {
	.start = listener_poll_start,
	.stop = listener_poll_stop,
	.free = listener_poll_free,
};

struct listener_source *listener_poll_new(struct loop *loop)
{
	struct listener_poll *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base.ops = &listener_poll_ops;
	p->loop = loop;
	p->timer = loop_timer_new(loop, on_poll, p);
	if (!p->timer) {
		free(p);
		return NULL;
	}
	return &p->base;
}
