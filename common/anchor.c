/* SPDX-License-Identifier: MIT */
/* See anchor.h. */
#include "anchor.h"

#include <stdlib.h>

#include "bounds.h"
#include "chan.h"
#include "loop.h"

struct anchor {
	struct chan *chan;
	struct loop_timer *sign; /* of life; the host's */
	anchor_ended_cb *ended;
	void *ctx;
};

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)data;
	(void)len;
}

static void on_writable(void *ctx)
{
	(void)ctx;
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct anchor *anchor = ctx;

	(void)error;
	anchor->ended(anchor->ctx, why);
}

static const struct chan_events anchor_chan = {.data = on_data, .writable = on_writable, .closed = on_closed};

/* One that is not taken is no matter: then others are still on their way. */
static void on_sign(void *ctx)
{
	struct anchor *anchor = ctx;

	chan_write(anchor->chan, (const uint8_t *)"", 1);
	loop_timer_set(anchor->sign, ANCHOR_SIGN_US);
}

struct anchor *anchor_new(struct loop *loop, struct chan *chan, enum anchor_side side, anchor_ended_cb *ended,
			  void *ctx)
{
	struct anchor *anchor = malloc(sizeof(*anchor));

	if (!anchor) {
		chan_free(chan);
		return NULL;
	}
	*anchor = (struct anchor){.chan = chan, .ended = ended, .ctx = ctx};
	chan_set_owner(chan, &anchor_chan, anchor);
	if (side == ANCHOR_GUEST)
		return anchor;
	anchor->sign = loop_timer_new(loop, on_sign, anchor);
	if (!anchor->sign) {
		anchor_free(anchor);
		return NULL;
	}
	loop_timer_set(anchor->sign, ANCHOR_SIGN_US);
	return anchor;
}

void anchor_free(struct anchor *anchor)
{
	if (!anchor)
		return;
	loop_timer_free(anchor->sign);
	chan_free(anchor->chan);
	free(anchor);
}
