/* SPDX-License-Identifier: MIT */
/*
 * What listens here, kept and told. Runs on the loop's thread.
 *
 * A source gives full sets; listener_diff makes of two of them what changed. What is new is announced with the process
 * that listens, for which /proc is searched: only when something is new, a bounded number of descriptors at a time,
 * and never more than a twentieth of the time, so that a guest in which listeners come and go all the time costs
 * little. When a search takes longer, the listener is announced at once without a process and again when it is found.
 *
 *   source -> set -> diff -> REMOVE ...          -> message
 *                         -> search -> ADD ...   -> message
 */
#include "ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "listener_diff.h"
#include "listener_source.h"
#include "log.h"
#include "loop.h"
#include "own_sockets.h"
#include "sockowner.h"

#define SEARCH_BUDGET     2000u /* descriptors a step: 2 ms */
#define SEARCH_REST       20u   /* and then so many times as long nothing */
#define SNAPSHOT_RETRY_US 1000000u

/* Whether the host knows. */
enum ports_state {
	PORTS_QUIET,   /* nobody is there */
	PORTS_WANTED,  /* a snapshot is to be given, when what listens is known or the way is free again */
	PORTS_TELLING, /* changes are */
};

struct wanted {
	uint64_t inode;
	size_t entry;
};

struct ports {
	struct loop *loop;
	struct listener_source *source;
	const struct ports_events *events;
	void *ctx;
	struct listener_entry *entries;
	size_t count;
	uint64_t next_key, epoch;
	enum ports_state state;
	bool known;   /* the source has given a set since the start */
	bool blocked; /* the way to the host took no more, which was logged */
	struct loop_timer *snapshot_timer, *search_timer;
	struct sockowner *owner;
	struct wanted *wanted; /* the entries whose process is searched for, by inode */
	size_t wanted_count, wanted_left;
	bool searching;           /* a search is under way */
	uint64_t search_after_us; /* not before */
};

/* --- telling ---------------------------------------------------------------------------------------------------- */

static void ports_tell(struct ports *p, const struct control_msg *msg)
{
	if (p->state != PORTS_TELLING || p->events->message(p->ctx, msg) == 0)
		return;
	if (!p->blocked)
		log_warn("ports: the host does not read what listens here; it is told anew when it does");
	p->blocked = true;
	p->state = PORTS_WANTED;
	loop_timer_set(p->snapshot_timer, SNAPSHOT_RETRY_US);
}

static void on_gone(void *ctx, const struct listener *gone)
{
	struct control_msg msg = {.type = CONTROL_PORT_REMOVE, .port_key = gone->key};

	ports_tell(ctx, &msg);
}

static void ports_tell_entry(struct ports *p, struct listener_entry *e)
{
	struct control_msg msg = {.type = CONTROL_PORT_ADD, .port = e->at};

	e->announce = false;
	ports_tell(p, &msg);
}

static void ports_announce(struct ports *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->entries[i].announce)
			ports_tell_entry(p, &p->entries[i]);
}

static void ports_tell_epoch(struct ports *p, enum control_type type)
{
	struct control_msg msg = {.type = type, .ports_epoch = p->epoch};

	ports_tell(p, &msg);
}

static void on_snapshot(void *ctx)
{
	struct ports *p = ctx;

	if (p->state != PORTS_WANTED || !p->known)
		return;
	p->state = PORTS_TELLING;
	p->epoch++;
	ports_tell_epoch(p, CONTROL_PORTS_BEGIN);
	for (size_t i = 0; i < p->count; i++)
		ports_tell_entry(p, &p->entries[i]);
	ports_tell_epoch(p, CONTROL_PORTS_END);
	p->blocked &= p->state != PORTS_TELLING;
}

/* --- who listens ------------------------------------------------------------------------------------------------ */

static int by_inode(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

/* Only those of our own user can be found, unless we are root. Without memory nothing is searched. */
static void ports_want(struct ports *p)
{
	struct wanted *wanted = reallocarray(p->wanted, p->count ? p->count : 1, sizeof(*wanted));
	uid_t me = geteuid();

	p->wanted_count = p->wanted_left = 0;
	if (!wanted)
		return;
	p->wanted = wanted;
	for (size_t i = 0; i < p->count; i++)
		if (!p->entries[i].searched && (me == 0 || p->entries[i].at.uid == me))
			wanted[p->wanted_count++] = (struct wanted){p->entries[i].at.inode, i};
	if (p->wanted_count)
		qsort(wanted, p->wanted_count, sizeof(*wanted), by_inode);
	p->wanted_left = p->wanted_count;
	/* What came since a search began may be held by a process it has passed. */
	p->searching = false;
}

static bool on_owner(void *ctx, uint64_t inode, uint32_t pid)
{
	struct ports *p = ctx;
	const struct wanted key = {.inode = inode};
	const struct wanted *found =
		p->wanted_count ? bsearch(&key, p->wanted, p->wanted_count, sizeof(key), by_inode) : NULL;
	struct listener_entry *e = found ? &p->entries[found->entry] : NULL;

	if (!e || e->searched)
		return true;
	e->searched = true;
	e->announce = true;
	e->at.pid = pid;
	sockowner_name(pid, e->at.process, sizeof(e->at.process));
	sockowner_unit(pid, e->at.unit, sizeof(e->at.unit));
	sockowner_found(p->owner, pid);
	return --p->wanted_left > 0;
}

static void ports_search_step(struct ports *p)
{
	uint64_t began = loop_now_us(p->loop), ended;

	if (!p->searching && sockowner_begin(p->owner) < 0)
		p->wanted_left = 0;
	p->searching = p->wanted_left && sockowner_step(p->owner, SEARCH_BUDGET, on_owner, p);
	ended = loop_now_us(p->loop);
	p->search_after_us = ended + SEARCH_REST * (ended - began);
	if (p->searching)
		loop_timer_set(p->search_timer, p->search_after_us - ended);
	else
		p->wanted_left = 0;
	/* What a whole search has not found is somebody else's. */
	for (size_t i = 0; i < p->count && !p->searching; i++)
		p->entries[i].searched = true;
}

static void on_search(void *ctx)
{
	struct ports *p = ctx;
	uint64_t now = loop_now_us(p->loop);

	if (p->wanted_left && now < p->search_after_us)
		loop_timer_set(p->search_timer, p->search_after_us - now);
	else if (p->wanted_left)
		ports_search_step(p);
	ports_announce(p);
}

/* New ones have no name of a user yet. Listeners of one user mostly come together. */
static void ports_name_users(struct ports *p)
{
	const struct listener *last = NULL;

	for (size_t i = 0; i < p->count; i++) {
		struct listener *l = &p->entries[i].at;

		if (!p->entries[i].announce)
			continue;
		if (last && last->uid == l->uid)
			memcpy(l->user, last->user, sizeof(l->user));
		else
			sockowner_user(l->uid, l->user, sizeof(l->user));
		last = l;
	}
}

/* --- the set ---------------------------------------------------------------------------------------------------- */

/* *count is how many come, and becomes how many there are. */
static struct listener_entry *entries_of(const struct listener *all, size_t *count)
{
	struct listener_entry *entries = calloc(*count ? *count : 1, sizeof(*entries));
	size_t n = 0;

	if (!entries)
		return NULL;
	for (size_t i = 0; i < *count; i++)
		if (!own_sockets_has(all[i].inode))
			entries[n++].at = all[i];
	listener_sort(entries, n);
	*count = n;
	return entries;
}

static void on_set(void *ctx, const struct listener *all, size_t count)
{
	struct ports *p = ctx;
	struct listener_entry *now = entries_of(all, &count);

	if (!now) {
		log_error("ports: out of memory: what listens here is not told");
		return;
	}
	listener_diff(p->entries, p->count, now, count, &p->next_key, on_gone, p);
	free(p->entries);
	p->entries = now;
	p->count = count;
	p->known = true;
	ports_name_users(p);
	ports_want(p);
	on_search(p);
	on_snapshot(p);
}

static void on_failed(void *ctx, uint8_t proto, int error)
{
	const struct ports *p = ctx;

	log_error("ports: which %s ports listen here cannot be known, and they are not forwarded: %s",
		  proto == LISTENER_UDP ? "UDP" : "TCP", strerror(-error));
	if (p->events->failed && proto == LISTENER_TCP)
		p->events->failed(p->ctx, error);
}

bool ports_is_listening(const struct ports *p, uint8_t proto, const struct tcp_target *target)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct listener *l = &p->entries[i].at;

		if (l->port == target->port && l->proto == proto && l->family == target->family &&
		    l->scope == target->scope && memcmp(l->addr, target->addr, sizeof(l->addr)) == 0)
			return true;
	}
	return false;
}

const char *ports_how(const struct ports *p)
{
	return p->source->ops->how(p->source);
}

void ports_list(const struct ports *p, void (*cb)(void *ctx, const struct listener *l), void *ctx)
{
	for (size_t i = 0; i < p->count; i++)
		cb(ctx, &p->entries[i].at);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static const struct listener_source_events source_events = {
	.set = on_set,
	.failed = on_failed,
};

/* Epochs must differ between two runs of the agent, too: the host may have seen the one before. */
static uint64_t first_epoch(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec << 20;
}

struct ports *ports_new(struct loop *loop, struct listener_source *source, const struct ports_events *events, void *ctx)
{
	struct ports *p = calloc(1, sizeof(*p));

	if (!p) {
		source->ops->free(source);
		return NULL;
	}
	p->loop = loop;
	p->source = source;
	p->events = events;
	p->ctx = ctx;
	p->next_key = 1;
	p->epoch = first_epoch();
	p->owner = sockowner_new();
	p->snapshot_timer = loop_timer_new(loop, on_snapshot, p);
	p->search_timer = loop_timer_new(loop, on_search, p);
	if (!p->owner || !p->snapshot_timer || !p->search_timer) {
		ports_free(p);
		return NULL;
	}
	return p;
}

void ports_free(struct ports *p)
{
	if (!p)
		return;
	p->source->ops->stop(p->source);
	p->source->ops->free(p->source);
	loop_timer_free(p->snapshot_timer);
	loop_timer_free(p->search_timer);
	sockowner_free(p->owner);
	free(p->wanted);
	free(p->entries);
	free(p);
}

void ports_start(struct ports *p)
{
	p->state = PORTS_WANTED;
	p->known = false;
	p->source->ops->start(p->source, &source_events, p);
}

void ports_stop(struct ports *p)
{
	p->state = PORTS_QUIET;
	p->source->ops->stop(p->source);
	loop_timer_stop(p->snapshot_timer);
	loop_timer_stop(p->search_timer);
}
