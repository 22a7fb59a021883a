/* SPDX-License-Identifier: MIT */
/* See anchor.h. */
#include "anchor.h"

#include <stdlib.h>

#include "chan.h"

struct anchor {
	struct chan *chan;
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

struct anchor *anchor_new(struct chan *chan, anchor_ended_cb *ended, void *ctx)
{
	struct anchor *anchor = malloc(sizeof(*anchor));

	if (!anchor) {
		chan_free(chan);
		return NULL;
	}
	*anchor = (struct anchor){.chan = chan, .ended = ended, .ctx = ctx};
	chan_set_owner(chan, &anchor_chan, anchor);
	return anchor;
}

void anchor_free(struct anchor *anchor)
{
	if (!anchor)
		return;
	chan_free(anchor->chan);
	free(anchor);
}
