/* SPDX-License-Identifier: MIT */
/*
 * A merge over two sorted sets, one endpoint at a time: several sockets may listen at one (SO_REUSEPORT). Those that
 * stay are matched by inode first; of the rest, old and new ones pair up in order as replaced.
 */
#include "listener_diff.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_endpoints(const struct listener *a, const struct listener *b)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it does not see that a count of 0 goes with NULL */
	int d = compare_numbers(a->port, b->port);

	if (!d)
		d = compare_numbers(a->family, b->family);
	if (!d)
		d = compare_numbers(a->proto, b->proto);
	if (!d)
		d = memcmp(a->addr, b->addr, sizeof(a->addr));
	return d ? d : compare_numbers(a->scope, b->scope);
}

static int compare_entries(const void *a, const void *b)
{
	const struct listener_entry *x = a, *y = b;
	int d = compare_endpoints(&x->at, &y->at);

	return d ? d : compare_numbers(x->at.inode, y->at.inode);
}

void listener_sort(struct listener_entry *entries, size_t count)
{
	if (count)
		qsort(entries, count, sizeof(*entries), compare_entries);
}

/* How many of the entries, from the first, share an endpoint with `at`. */
static size_t run_length(const struct listener_entry *entries, size_t count, const struct listener *at)
{
	size_t n = 0;

	while (n < count && compare_endpoints(&entries[n].at, at) == 0)
		n++;
	return n;
}

static void entry_stays(struct listener_entry *now, const struct listener_entry *old)
{
	now->at.key = old->at.key;
	now->at.pid = old->at.pid;
	memcpy(now->at.process, old->at.process, sizeof(now->at.process));
	memcpy(now->at.user, old->at.user, sizeof(now->at.user));
	memcpy(now->at.unit, old->at.unit, sizeof(now->at.unit));
	now->announce = old->announce;
	now->searched = old->searched;
}

/* The sockets of one endpoint before and now, both by inode, so that a group of thousands is walked in one go. */
struct endpoint {
	const struct listener_entry *old;
	size_t old_count;
	struct listener_entry *now;
	size_t now_count;
	size_t next_old, next_now; /* where endpoint_next_gone() goes on */
};

/* The next of the old sockets that is not there any more, or NULL. */
static const struct listener_entry *endpoint_next_gone(struct endpoint *e)
{
	while (e->next_old < e->old_count) {
		const struct listener_entry *old = &e->old[e->next_old++];

		while (e->next_now < e->now_count && e->now[e->next_now].at.inode < old->at.inode)
			e->next_now++;
		if (e->next_now == e->now_count || e->now[e->next_now].at.inode != old->at.inode)
			return old;
	}
	return NULL;
}

static void endpoint_match(struct endpoint *e)
{
	size_t o = 0;

	for (size_t i = 0; i < e->now_count; i++) {
		while (o < e->old_count && e->old[o].at.inode < e->now[i].at.inode)
			o++;
		e->now[i].at.key = 0;
		if (o < e->old_count && e->old[o].at.inode == e->now[i].at.inode)
			entry_stays(&e->now[i], &e->old[o]);
	}
}

static void endpoint_diff(struct endpoint *e, uint64_t *next_key, listener_gone_cb *gone, void *ctx)
{
	const struct listener_entry *old;

	endpoint_match(e);
	for (size_t i = 0; i < e->now_count; i++) {
		if (e->now[i].at.key)
			continue;
		old = endpoint_next_gone(e);
		e->now[i].at.key = old ? old->at.key : (*next_key)++;
		e->now[i].announce = true;
	}
	while ((old = endpoint_next_gone(e)))
		gone(ctx, &old->at);
}

void listener_diff(const struct listener_entry *old, size_t old_count, struct listener_entry *now, size_t now_count,
		   uint64_t *next_key, listener_gone_cb *gone, void *ctx)
{
	struct endpoint e = {.old = old, .now = now};

	assert((old || !old_count) && (now || !now_count));
	while (old_count || now_count) {
		const struct listener *first = old_count ? &e.old->at : &e.now->at;

		if (old_count && now_count && compare_endpoints(&e.now->at, first) < 0)
			first = &e.now->at;
		e.old_count = run_length(e.old, old_count, first);
		e.now_count = run_length(e.now, now_count, first);
		e.next_old = e.next_now = 0;
		endpoint_diff(&e, next_key, gone, ctx);
		e.old += e.old_count;
		old_count -= e.old_count;
		e.now += e.now_count;
		now_count -= e.now_count;
	}
}
