/* SPDX-License-Identifier: MIT */
/*
 * The listener source that asks sockdiag, when it is told to or again and again. Runs on the loop's thread.
 *
 * Where BPF tells (bpf_watch.h) it asks at once, and LOOK_FIRST_US later, as a hint comes a moment before the change
 * itself, and then after longer and longer pauses, up to LOOK_LAST_US: what no hint tells of (a UDP socket that is
 * connected after its bind, a listener that is shut down and stays open) is seen by then, for 50 us in 2 s. However
 * many hints there are, asking takes no more than a twentieth of a core (HINT_FACTOR), and they wake us once in
 * HINT_GAP_US: 8 % in all, under 230,000 binds a second.
 *
 * Elsewhere it polls. How often is a matter of what was seen: right after a change every POLL_FAST_US, because servers
 * start and stop in groups; each poll that finds nothing new is followed by a longer pause, up to POLL_BUSY_US for a
 * minute (1 % of a core), then up to POLL_SLOW_US, so that a quiet machine wakes up ten times a second. Each of these
 * looks whether any process was started (newest_pid.h), which makes it a minute like that as well. A machine with
 * thousands of listeners pays more a poll: the pause is never shorter than COST_FACTOR times what polls have cost of
 * late (BUSY_FACTOR in such a minute), up to POLL_WORST_US. So a change is seen within 135 ms, at under half a per cent
 * of a core for each protocol, and one per cent while things happen.
 *
 * TCP and UDP are asked in the same wake-ups: UDP, which takes two questions, in every other one, unless one of them
 * costs more. A machine with thousands of UDP sockets learns of its TCP listeners as fast as any other.
 *
 * A dump is compared with the last one as bytes; only what differs is passed on. One that came in several parts may
 * have missed a listener that stands, so it must come out the same twice in a row before it is believed; under a
 * storm of changes the third is taken as it is, and the next poll tells better.
 */
#include "listener_source.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf_watch.h"
#include "lent_watch.h"
#include "log.h"
#include "loop.h"
#include "newest_pid.h"
#include "sockdiag.h"

#define POLL_FAST_US  5000u
#define POLL_BUSY_US  12000u
#define POLL_SLOW_US  100000u
#define BUSY_FOR_US   60000000u
#define POLL_WORST_US 135000u
#define COST_FACTOR   250u
#define BUSY_FACTOR   100u
#define COST_SHARE    8u /* of one poll in what they cost: a single one says little, others' work is in it */
#define POLL_TRIES    3

#define LOOK_FIRST_US 500u
#define LOOK_GROWTH   4u
#define LOOK_LAST_US  2000000u
#define HINT_FACTOR   20u
#define HINT_GAP_US   1000u

/* The listeners of one protocol. */
struct watched {
	uint8_t proto;
	uint8_t nth;   /* when polled, asked in every nth wake-up */
	unsigned hint; /* the BPF_WATCH_ bit */
	bool hinted;   /* and not asked since */
	struct listener_set last, now;
	bool known;  /* `last` is what was passed on */
	bool failed; /* and the failure was passed on */
	bool absent; /* it is no shortage: the kernel cannot be asked, or does not let us */
	uint64_t asked_us;
	uint64_t cost_us; /* of asking, lately */
	uint64_t look_us; /* with a watch, the pause until it is asked without a hint */
};

struct listener_poll {
	struct listener_source base;
	struct loop *loop;
	struct loop_timer *timer;
	struct sockdiag *diag;
	struct watched watched[2];
	struct listener_set all; /* of both, as they are passed on */
	const struct listener_source_events *events;
	void *ctx;
	uint64_t pause_us; /* when polled */
	uint64_t busy_until_us;
	struct newest_pid newest;
	bool untold; /* something changed that was not passed on yet */
	bool told;   /* something was passed on */
	struct bpf_watch *watch;
	struct lent_watch *lent; /* another process's; NULL: it was not asked for */
	struct loop_fd *hints;
	uint64_t deaf_until_us; /* no hint is taken before; 0: they are */
	bool watching;          /* may watch; `how` says whether it does, and is logged when it changes */
	char how[160];
};

#define WATCHED_COUNT (sizeof(((struct listener_poll *)0)->watched) / sizeof(struct watched))

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

/* A believable set in w->now: 1 when it differs from w->last, 0 when not, or a negative errno. */
static int watched_dump(struct watched *w, struct sockdiag *diag)
{
	struct listener_set before = {0};
	int parts;

	for (int tries = 1;; tries++) {
		parts = sockdiag_dump(diag, w->proto, &w->now);
		if (parts < 0 && parts != -EAGAIN)
			break;
		if (parts >= 0 && (parts <= 1 || sets_equal(&w->now, &w->last)))
			break;
		if (tries == POLL_TRIES || (tries > 1 && parts > 0 && sets_equal(&w->now, &before)))
			break;
		sets_swap(&w->now, &before);
	}
	listener_set_free(&before);
	return parts < 0 ? parts : !w->known || !sets_equal(&w->now, &w->last);
}

static bool is_busy(const struct listener_poll *p)
{
	return loop_now_us(p->loop) < p->busy_until_us;
}

/* What it costs asks for so long a pause. */
static uint64_t watched_rest_us(const struct watched *w, const struct listener_poll *p)
{
	uint64_t rest = w->cost_us * (p->watch ? HINT_FACTOR : is_busy(p) ? BUSY_FACTOR : COST_FACTOR);

	return rest < POLL_WORST_US ? rest : POLL_WORST_US;
}

static uint64_t watched_due_us(const struct watched *w, const struct listener_poll *p)
{
	uint64_t pause = p->watch ? w->look_us : p->pause_us * w->nth, rest = watched_rest_us(w, p);

	if (w->hinted)
		pause = 0;
	return w->asked_us + (rest > pause ? rest : pause);
}

/* Not the time that passed: on a busy machine others have had most of that. */
static uint64_t cpu_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* Asks; returns whether there is something to pass on. */
static bool watched_poll(struct watched *w, struct listener_poll *p)
{
	uint64_t began = cpu_now_us(), cost;
	int rc = p->diag ? 0 : sockdiag_open(&p->diag);

	if (rc == 0)
		rc = watched_dump(w, p->diag);
	cost = cpu_now_us() - began;
	w->cost_us = w->cost_us ? (w->cost_us * (COST_SHARE - 1) + cost) / COST_SHARE : cost;
	if (rc < 0 && rc != -EAGAIN) {
		if (!w->failed)
			p->events->failed(p->ctx, w->proto, rc);
		w->failed = true;
	}
	if (rc >= 0)
		w->failed = false;
	w->absent = w->failed && !is_shortage(-rc);
	if (rc <= 0)
		return false;
	sets_swap(&w->last, &w->now);
	w->known = true;
	return true;
}

/* --- passing on ------------------------------------------------------------------------------------------------- */

/* The ports the kernel gives to clients; without the file there are none. */
static void ephemeral_range(unsigned *first, unsigned *last)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (!f || fscanf(f, "%u %u", first, last) != 2)
		*first = *last = 0;
	if (f)
		fclose(f);
}

static bool listener_poll_join(struct listener_poll *p)
{
	unsigned first, last;

	ephemeral_range(&first, &last);
	p->all.count = 0;
	for (size_t i = 0; i < WATCHED_COUNT; i++) {
		const struct listener_set *set = &p->watched[i].last;

		for (size_t k = 0; k < set->count; k++) {
			struct listener *l = listener_set_add(&p->all);

			if (!l)
				return false;
			*l = set->items[k];
			l->ephemeral = l->proto == LISTENER_UDP && l->port >= first && l->port <= last;
		}
	}
	return true;
}

/* A set that lacks what was not asked for yet would look as if those ports were gone. */
static bool listener_poll_is_whole(const struct listener_poll *p)
{
	bool whole = true;

	for (size_t i = 0; i < WATCHED_COUNT; i++)
		whole &= p->watched[i].known || p->watched[i].failed;
	return whole;
}

/* Who waits for the first set is told that there is none. */
static bool listener_poll_is_hopeless(const struct listener_poll *p)
{
	bool absent = true;

	for (size_t i = 0; i < WATCHED_COUNT; i++)
		absent &= p->watched[i].absent;
	return absent && !p->told;
}

static void listener_poll_arm(struct listener_poll *p)
{
	uint64_t now = loop_now_us(p->loop), due = UINT64_MAX;

	for (size_t i = 0; i < WATCHED_COUNT; i++)
		if (watched_due_us(&p->watched[i], p) < due)
			due = watched_due_us(&p->watched[i], p);
	if (p->deaf_until_us && p->deaf_until_us < due)
		due = p->deaf_until_us;
	loop_timer_set(p->timer, due > now ? due - now : 0);
}

/* After a change or a hint the next look is near. */
static void watched_look_after(struct watched *w, bool changed)
{
	uint64_t later = w->look_us * LOOK_GROWTH;

	w->look_us = changed || w->hinted ? LOOK_FIRST_US : later < LOOK_LAST_US ? later : LOOK_LAST_US;
	w->hinted = false;
}

/* The pause until the next poll: longer each time, but not by much while servers start and stop. What was there from
 * the first is no change.
 */
static void listener_poll_rest(struct listener_poll *p, uint64_t now, bool changed)
{
	uint64_t longest;

	/* Asked in every poll: what was started in a busy time is no news at its end. */
	if (newest_pid_changed(&p->newest) || (changed && p->told))
		p->busy_until_us = now + BUSY_FOR_US;
	longest = is_busy(p) ? POLL_BUSY_US : POLL_SLOW_US;
	p->pause_us = changed ? POLL_FAST_US : p->pause_us + p->pause_us / 4;
	if (p->pause_us > longest)
		p->pause_us = longest;
}

/* All that is due. Returns whether there is something to pass on. */
static bool listener_poll_ask(struct listener_poll *p, uint64_t now)
{
	bool any = false, changed;

	for (size_t i = 0; i < WATCHED_COUNT; i++) {
		struct watched *w = &p->watched[i];

		if (watched_due_us(w, p) > now)
			continue;
		/* One time for all: those that rest equally long are asked in one wake-up. */
		w->asked_us = now;
		changed = watched_poll(w, p);
		watched_look_after(w, changed);
		any |= changed;
	}
	return any;
}

static void on_poll(void *ctx)
{
	struct listener_poll *p = ctx;
	uint64_t now = loop_now_us(p->loop);
	bool changed = listener_poll_ask(p, now);

	if (p->deaf_until_us && p->deaf_until_us <= now) {
		p->deaf_until_us = 0;
		loop_fd_set(p->hints, LOOP_READ);
	}
	if (!p->watch)
		listener_poll_rest(p, now, changed);
	listener_poll_arm(p);
	p->untold |= changed || listener_poll_is_hopeless(p);
	if (!p->untold || !listener_poll_is_whole(p) || !listener_poll_join(p))
		return;
	p->untold = false;
	p->told = true;
	p->events->set(p->ctx, p->all.items, p->all.count);
}

/* --- watching --------------------------------------------------------------------------------------------------- */

/* The next hint waits in the ring, where it wakes nobody, for a moment. */
static void on_hint(void *ctx, int fd, unsigned what)
{
	struct listener_poll *p = ctx;
	unsigned hints = bpf_watch_take(p->watch);

	(void)fd;
	(void)what;
	for (size_t i = 0; i < WATCHED_COUNT; i++)
		p->watched[i].hinted |= (hints & p->watched[i].hint) != 0;
	p->deaf_until_us = loop_now_us(p->loop) + HINT_GAP_US;
	loop_fd_set(p->hints, 0);
	listener_poll_arm(p);
}

static void listener_poll_say(struct listener_poll *p, const char *how)
{
	if (strcmp(p->how, how) == 0)
		return;
	snprintf(p->how, sizeof(p->how), "%s", how);
	log_info("ports: %s", how);
}

/* What cannot be watched is polled. */
static void listener_poll_say_polled(struct listener_poll *p, const char *why)
{
	char how[sizeof(p->how)];

	snprintf(how, sizeof(how), "what listens is polled, not watched by BPF: %s", why);
	listener_poll_say(p, how);
}

/* False: there is no memory to listen to the watch, and it is gone. */
static bool listener_poll_heed(struct listener_poll *p)
{
	p->hints = loop_fd_new(p->loop, bpf_watch_fd(p->watch), LOOP_READ, on_hint, p);
	if (p->hints)
		return true;
	bpf_watch_close(p->watch);
	p->watch = NULL;
	return false;
}

/* All is asked at once: from here on nothing falls between. */
static void on_lent(void *ctx, int ring)
{
	struct listener_poll *p = ctx;

	if (bpf_watch_adopt(ring, &p->watch) < 0 || !listener_poll_heed(p)) {
		listener_poll_say_polled(p, "what the helper watches cannot be read");
		lent_watch_free(p->lent);
		p->lent = NULL;
		return;
	}
	listener_poll_say(p, "what listens is watched by BPF, with root's help");
	for (size_t i = 0; i < WATCHED_COUNT; i++)
		p->watched[i].hinted = true;
	listener_poll_arm(p);
}

static void listener_poll_unwatch(struct listener_poll *p)
{
	loop_fd_free(p->hints);
	p->hints = NULL;
	bpf_watch_close(p->watch);
	p->watch = NULL;
	lent_watch_free(p->lent);
	p->lent = NULL;
	p->deaf_until_us = 0;
}

static void on_lent_ended(void *ctx, const char *why)
{
	struct listener_poll *p = ctx;
	bool watched = p->watch != NULL;

	listener_poll_say_polled(p, watched ? "the helper has ended" : why ? why : "it takes root");
	listener_poll_unwatch(p);
	p->pause_us = POLL_FAST_US;
	listener_poll_arm(p);
}

static const struct lent_watch_events lent_events = {.lent = on_lent, .ended = on_lent_ended};

static void listener_poll_watch(struct listener_poll *p)
{
	char why[BPF_WATCH_WHY_MAX];
	int rc;

	if (p->watch || p->lent || !p->watching)
		return;
	rc = bpf_watch_open(-1, &p->watch, why);
	if (rc == 0 && listener_poll_heed(p)) {
		listener_poll_say(p, "what listens is watched by BPF");
		return;
	}
	if (rc == -EPERM)
		p->lent = lent_watch_new(p->loop, &lent_events, p);
	/* Who was asked has the word. */
	if (!p->lent)
		listener_poll_say_polled(p, rc < 0 ? why : "out of memory");
}

static void listener_poll_start(struct listener_source *s, const struct listener_source_events *events, void *ctx)
{
	struct listener_poll *p = (struct listener_poll *)s;

	p->events = events;
	p->ctx = ctx;
	p->told = false;
	for (size_t i = 0; i < WATCHED_COUNT; i++) {
		p->watched[i].known = p->watched[i].failed = p->watched[i].absent = false;
		p->watched[i].asked_us = 0;
		p->watched[i].look_us = LOOK_FIRST_US;
		p->watched[i].hinted = false;
	}
	/* Before the first look, so that nothing falls between. */
	listener_poll_watch(p);
	p->pause_us = POLL_FAST_US;
	loop_timer_set(p->timer, 0);
}

static void listener_poll_stop(struct listener_source *s)
{
	struct listener_poll *p = (struct listener_poll *)s;

	loop_timer_stop(p->timer);
	listener_poll_unwatch(p);
}

static const char *listener_poll_how(const struct listener_source *s)
{
	return ((const struct listener_poll *)s)->how;
}

static void listener_poll_free(struct listener_source *s)
{
	struct listener_poll *p = (struct listener_poll *)s;

	listener_poll_unwatch(p);
	loop_timer_free(p->timer);
	newest_pid_close(&p->newest);
	sockdiag_close(p->diag);
	listener_set_free(&p->all);
	for (size_t i = 0; i < WATCHED_COUNT; i++) {
		listener_set_free(&p->watched[i].last);
		listener_set_free(&p->watched[i].now);
	}
	free(p);
}

static const struct listener_source_ops listener_poll_ops = {
	.start = listener_poll_start,
	.stop = listener_poll_stop,
	.how = listener_poll_how,
	.free = listener_poll_free,
};

struct listener_source *listener_poll_new(struct loop *loop, unsigned how)
{
	struct listener_poll *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base.ops = &listener_poll_ops;
	p->loop = loop;
	p->watching = how & LISTENER_POLL_BPF;
	p->newest.fd = -1;
	p->watched[0] = (struct watched){.proto = LISTENER_TCP, .nth = 1, .hint = BPF_WATCH_TCP};
	p->watched[1] = (struct watched){.proto = LISTENER_UDP, .nth = 2, .hint = BPF_WATCH_UDP};
	p->timer = loop_timer_new(loop, on_poll, p);
	if (!p->timer) {
		free(p);
		return NULL;
	}
	/* Where /proc does not say, only changes tell. */
	if (how & LISTENER_POLL_BIRTHS)
		newest_pid_open(&p->newest);
	return &p->base;
}
