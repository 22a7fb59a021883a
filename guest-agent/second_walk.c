/* SPDX-License-Identifier: MIT */
/* See second_walk.h. */
#include "second_walk.h"

#include "fuse_call.h"
#include "loop.h"

/* ESTALE and the path that the kernel walks once more for it lie closer together. */
#define SECOND_WALK_US 300000u

static int caller(const struct call *call)
{
	return call->req ? fuse_req_ctx(call->req)->pid : 0;
}

static struct second_walker *place(const struct call *call)
{
	return &call->mount->second_walk.told[(unsigned)caller(call) % SECOND_WALK_THREADS];
}

static bool is_recent(const struct call *call, uint64_t us)
{
	return loop_now_us(call->mount->loop) - us < SECOND_WALK_US;
}

/* The kernel looks the path up again, name by name: what was listed is of no use to that. */
static void doubt_path(struct mount *m, const struct node *n)
{
	for (; n && n->parent && n->name; n = n->parent)
		listing_memory_doubt(&m->listings, n->parent, n->name);
}

void second_walk_begin(struct call *call)
{
	struct second_walk *w = &call->mount->second_walk;

	doubt_path(call->mount, call->node);
	doubt_path(call->mount, call->other);
	w->us = loop_now_us(call->mount->loop);
	*place(call) = (struct second_walker){.tid = caller(call), .us = w->us};
}

bool second_walk_by_any(const struct call *call)
{
	return is_recent(call, call->mount->second_walk.us);
}

bool second_walk_by_caller(const struct call *call)
{
	const struct second_walker *told = place(call);

	return told->tid == caller(call) && is_recent(call, told->us);
}

bool second_walk_take_lookup(struct call *call)
{
	struct second_walker *told = place(call);

	if (!second_walk_by_caller(call) || told->looked_up)
		return false;
	told->looked_up = true;
	return true;
}

bool second_walk_take_end(struct call *call)
{
	if (!second_walk_by_caller(call))
		return false;
	place(call)->tid = 0;
	return true;
}
