/* SPDX-License-Identifier: MIT */
/* Hands calls on to the kind of chan. See chan.h. */
#include "chan.h"

#include <errno.h>

void chan_set_owner(struct chan *c, const struct chan_events *events, void *ctx)
{
	c->events = events;
	c->ctx = ctx;
	c->turn = 0;
	if (c->ops->owned)
		c->ops->owned(c);
}

void chan_set_turn(struct chan *c, size_t max)
{
	c->turn = max;
}

size_t chan_write(struct chan *c, const uint8_t *data, size_t len)
{
	return c->ops->write(c, data, len, false);
}

size_t chan_write_kept(struct chan *c, const uint8_t *data, size_t len)
{
	return c->ops->write(c, data, len, true);
}

void chan_free(struct chan *c)
{
	if (c)
		c->ops->free(c);
}

bool chan_is_flushed(const struct chan *c)
{
	return !c->ops->is_flushed || c->ops->is_flushed(c);
}

int chan_leave_loop(struct chan *c)
{
	return c->ops->set_loop ? c->ops->set_loop(c, NULL) : -ENOTSUP;
}

int chan_join_loop(struct chan *c, struct loop *loop)
{
	return c->ops->set_loop(c, loop);
}
