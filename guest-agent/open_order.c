/* SPDX-License-Identifier: MIT */
/* See open_order.h. */
#include "open_order.h"

#include <errno.h>

#include "fuse_file.h"
#include "loop.h"

#define OPEN_ORDER_US 10000u /* who has not read by then may have been told what is right, and is not waited for */

/* From the top where the server was lost meanwhile. */
static void go_on(struct call *call)
{
	call->state = CALL_NEW;
	if (share_attached(call->share) && call->opened->generation == call->share->generation)
		open_reply(call);
	else
		call_start(call);
}

static void on_timer(void *ctx)
{
	struct mount *m = ctx;
	struct call *call, *last = TAILQ_LAST(&m->opens.waits, call_list);
	bool more = last;

	while (more) {
		call = TAILQ_FIRST(&m->opens.waits);
		more = call != last;
		TAILQ_REMOVE(&m->opens.waits, call, waiting);
		go_on(call); /* may wait again, behind the last */
	}
	mount_flush(m);
}

int open_order_init(struct mount *m)
{
	TAILQ_INIT(&m->opens.waits);
	m->opens.timer = loop_timer_new(m->loop, on_timer, m);
	return m->opens.timer ? 0 : -ENOMEM;
}

void open_order_free(struct mount *m)
{
	loop_timer_free(m->opens.timer);
}

bool open_order_wait(struct call *call)
{
	const struct node_more *more = call->node->more;
	struct mount *m = call->mount;
	uint64_t now = loop_now_us(m->loop);

	if (!more || !more->unread || now - more->unread_us >= OPEN_ORDER_US ||
	    !node_open_tells(call->node, &call->open.attr))
		return false;
	if (!call->open.since_us)
		call->open.since_us = now;
	else if (now - call->open.since_us >= OPEN_ORDER_US)
		return false;
	TAILQ_INSERT_TAIL(&m->opens.waits, call, waiting);
	call->waits_in = &m->opens.waits;
	call->state = CALL_QUEUED;
	if (!loop_timer_is_set(m->opens.timer))
		loop_timer_set(m->opens.timer, OPEN_ORDER_US);
	return true;
}

void open_order_begin(struct file *f)
{
	f->unread = true;
	f->node->more->unread++;
	f->node->more->unread_us = loop_now_us(f->share->mount->loop);
}

void open_order_done(struct file *f)
{
	struct mount *m = f->share->mount;

	if (!f->unread)
		return;
	f->unread = false;
	if (!--f->node->more->unread && !TAILQ_EMPTY(&m->opens.waits))
		loop_timer_set(m->opens.timer, 0);
}
