/* SPDX-License-Identifier: MIT */
/* Waits for one HELLO on one chan. See greeter.h. */
#include "greeter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bounds.h"
#include "chan.h"
#include "loop.h"
#include "wire.h"

#define GREETER_PATIENCE_US 10000000u
/* A HELLO, and what a host may send behind it before it has heard from us. */
#define GREETER_BYTES_MAX (SESSION_HELLO_MAX + (256u << 10))

struct greeter {
	struct loop *loop;
	struct chan *chan;
	struct wire_buf in;
	struct loop_timer *patience;
	greeter_done_cb *done;
	void *ctx;
};

void greeter_free(struct greeter *g)
{
	if (!g)
		return;
	chan_free(g->chan);
	loop_timer_free(g->patience);
	wire_buf_free(&g->in);
	free(g);
}

void greeter_refuse(struct chan *chan, enum session_reason reason, const char *text)
{
	struct wire_buf out = {0};

	session_put_refusal(&out, reason, text);
	/* A few hundred bytes on a channel that has carried none: they fit, or nobody reads. */
	if (!out.failed)
		chan_write(chan, out.data, out.len);
	wire_buf_free(&out);
	chan_free(chan);
}

static void fail(struct greeter *g, const char *why)
{
	chan_free(g->chan);
	g->chan = NULL;
	g->done(g->ctx, NULL, NULL, NULL, 0, why);
	greeter_free(g);
}

static void pass_on(struct greeter *g, const struct session_hello *hello, size_t used)
{
	struct chan *chan = g->chan;

	g->chan = NULL;
	chan_set_owner(chan, NULL, NULL);
	g->done(g->ctx, chan, hello, g->in.data + used, g->in.len - used, NULL);
	greeter_free(g);
}

static void refuse_version(struct greeter *g, uint32_t version)
{
	char text[SESSION_TEXT_MAX];

	snprintf(text, sizeof(text), "homeport-guest %s speaks version %d of the protocol, the host %u",
		 HOMEPORT_VERSION, SESSION_VERSION, version);
	greeter_refuse(g->chan, SESSION_REASON_VERSION, text);
	g->chan = NULL;
	fail(g, text);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct greeter *g = ctx;
	struct session_hello hello;
	int used;

	wire_put_bytes(&g->in, data, len);
	if (g->in.failed || g->in.len > GREETER_BYTES_MAX) {
		fail(g, "the host sent too much before its HELLO was read");
		return;
	}
	used = session_parse_hello(g->in.data, g->in.len, &hello);
	if (used > 0) {
		pass_on(g, &hello, (size_t)used);
	} else if (used == -EPROTONOSUPPORT) {
		refuse_version(g, hello.version);
	} else if (used < 0) {
		fail(g, "what connects is not homeport's host agent");
	}
}

static void on_writable(void *ctx)
{
	(void)ctx;
}

static void on_closed(void *ctx, int error, const char *why)
{
	(void)error;
	fail(ctx, why);
}

static void on_patience(void *ctx)
{
	fail(ctx, "no HELLO within 10 seconds");
}

static const struct chan_events greeter_chan = {.data = on_data, .writable = on_writable, .closed = on_closed};

struct greeter *greeter_new(struct loop *loop, struct chan *chan, greeter_done_cb *done, void *ctx)
{
	struct greeter *g = calloc(1, sizeof(*g));

	if (!g) {
		chan_free(chan);
		return NULL;
	}
	*g = (struct greeter){.loop = loop, .chan = chan, .done = done, .ctx = ctx};
	g->patience = loop_timer_new(loop, on_patience, g);
	if (!g->patience) {
		greeter_free(g);
		return NULL;
	}
	loop_timer_set(g->patience, GREETER_PATIENCE_US);
	chan_set_owner(chan, &greeter_chan, g);
	return g;
}
