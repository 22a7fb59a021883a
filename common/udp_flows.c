/* SPDX-License-Identifier: MIT */
/*
 * See udp_flows.h. Runs on the loop's thread.
 *
 * A flow is in a hash by port and client, and in a list by when its client, or the server, was last heard of: the
 * oldest is the first, so that one timer and one look at it are all that idle flows cost.
 */
#include "udp_flows.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "bounds.h"
#include "log.h"
#include "loop.h"
#include "mux.h"

struct flow_key {
	struct udp_port *port;
	struct udp_client client;
};

struct udp_flow {
	UT_hash_handle hh;
	TAILQ_ENTRY(udp_flow) next;
	struct udp_flows *all;
	struct flow_key key;
	struct mux_stream *stream; /* NULL: over */
	struct datagram_reader reader;
	struct relay_caller caller;
	uint64_t used_us;
};

struct udp_flows {
	struct loop *loop;
	struct udp_flow *by_key;
	TAILQ_HEAD(flow_list, udp_flow) by_age;
	struct loop_timer *idle;
	struct log_limit limit;
	unsigned count;
};

/* --- ends ------------------------------------------------------------------------------------------------------- */

static void flow_release(void *ctx)
{
	struct udp_flow *f = ctx;

	datagram_reader_clear(&f->reader);
	free(f);
}

/* Callers up the stack may still look at the flow. */
static void flow_forget(struct udp_flow *f)
{
	struct udp_flows *all = f->all;

	HASH_DELETE(hh, all->by_key, f);
	TAILQ_REMOVE(&all->by_age, f, next);
	all->count--;
	f->stream = NULL;
	loop_defer(all->loop, flow_release, f);
	if (f->caller.done)
		f->caller.done(f->caller.ctx, 0);
	f->caller.counters = NULL;
}

static void flow_end(struct udp_flow *f, enum mux_reason reason)
{
	mux_stream_reset(f->stream, reason);
	flow_forget(f);
}

static void on_idle(void *ctx)
{
	struct udp_flows *all = ctx;
	uint64_t now = loop_now_us(all->loop);
	struct udp_flow *f;

	while ((f = TAILQ_FIRST(&all->by_age)) && f->used_us + UDP_IDLE_US <= now)
		flow_end(f, MUX_REASON_CANCELLED);
	if (f)
		loop_timer_set(all->idle, f->used_us + UDP_IDLE_US - now);
}

static void flow_use(struct udp_flow *f)
{
	struct udp_flows *all = f->all;

	f->used_us = loop_now_us(all->loop);
	TAILQ_REMOVE(&all->by_age, f, next);
	TAILQ_INSERT_TAIL(&all->by_age, f, next);
}

/* --- from the server ------------------------------------------------------------------------------------------- */

static int on_datagram(void *ctx, const uint8_t *data, size_t len)
{
	struct udp_flow *f = ctx;

	udp_port_send(f->key.port, &f->key.client, data, len);
	if (f->caller.counters)
		f->caller.counters->bytes_out += len;
	return 0;
}

static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
	struct udp_flow *f = ctx;
	int rc = datagram_read(&f->reader, data, len, on_datagram, f);

	if (rc < 0) {
		flow_end(f, MUX_REASON_INTERNAL);
		return;
	}
	flow_use(f);
	mux_stream_consumed(f->stream, len);
}

/* There is no FIN in such a stream. */
static void on_stream_fin(void *ctx)
{
	flow_end(ctx, MUX_REASON_INTERNAL);
}

static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	(void)reason;
	flow_forget(ctx);
}

static const struct mux_stream_events stream_events = {
	.data = on_stream_data,
	.fin = on_stream_fin,
	.closed = on_stream_closed,
};

/* --- from clients ----------------------------------------------------------------------------------------------- */

static struct flow_key key_of(struct udp_port *port, const struct udp_client *client)
{
	struct flow_key key;

	/* Compared as bytes. */
	memset(&key, 0, sizeof(key));
	key.port = port;
	memcpy(&key.client, client, sizeof(key.client));
	return key;
}

struct udp_flow *udp_flows_find(const struct udp_flows *all, struct udp_port *port, const struct udp_client *client)
{
	struct flow_key key = key_of(port, client);
	struct udp_flow *f;

	HASH_FIND(hh, all->by_key, &key, sizeof(key), f);
	return f;
}

static bool flow_insert(struct udp_flows *all, struct udp_flow *f)
{
	HASH_ADD(hh, all->by_key, key, sizeof(f->key), f);
	if (!f->hh.tbl)
		return false;
	TAILQ_INSERT_TAIL(&all->by_age, f, next);
	all->count++;
	return true;
}

static void flows_make_room(struct udp_flows *all)
{
	if (all->count < UDP_FLOWS_MAX)
		return;
	if (log_limit_pass(&all->limit, loop_now_us(all->loop), 1))
		log_warn("more than %u clients of UDP ports: those silent for longest are forgotten", UDP_FLOWS_MAX);
	flow_end(TAILQ_FIRST(&all->by_age), MUX_REASON_CANCELLED);
}

struct udp_flow *udp_flows_begin(struct udp_flows *all, struct udp_port *port, const struct udp_client *client,
				 const struct udp_flow_target *target)
{
	struct udp_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	flows_make_room(all);
	f->all = all;
	f->key = key_of(port, client);
	f->stream = mux_open(target->mux, target->kind, target->args, target->args_len, &stream_events, f);
	if (!f->stream || !flow_insert(all, f)) {
		if (f->stream)
			mux_stream_reset(f->stream, MUX_REASON_RESOURCES);
		free(f);
		return NULL;
	}
	f->caller = target->caller;
	f->used_us = loop_now_us(all->loop);
	if (!loop_timer_is_set(all->idle))
		loop_timer_set(all->idle, UDP_IDLE_US);
	return f;
}

void udp_flow_send(struct udp_flow *f, struct datagram *d, size_t len)
{
	flow_use(f);
	if (datagram_write(f->stream, d, len) && f->caller.counters)
		f->caller.counters->bytes_in += len;
}

void udp_flows_unreachable(struct udp_flows *all, struct udp_port *port, const struct udp_client *client)
{
	struct udp_flow *f = udp_flows_find(all, port, client);

	if (f)
		flow_end(f, MUX_REASON_CANCELLED);
}

void udp_flows_end_port(struct udp_flows *all, struct udp_port *port)
{
	struct udp_flow *f, *next;

	for (f = TAILQ_FIRST(&all->by_age); f; f = next) {
		next = TAILQ_NEXT(f, next);
		if (f->key.port == port)
			flow_end(f, MUX_REASON_CANCELLED);
	}
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct udp_flows *udp_flows_new(struct loop *loop)
{
	struct udp_flows *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->loop = loop;
	TAILQ_INIT(&all->by_age);
	all->idle = loop_timer_new(loop, on_idle, all);
	if (!all->idle) {
		free(all);
		return NULL;
	}
	return all;
}

void udp_flows_free(struct udp_flows *all)
{
	struct udp_flow *f;

	if (!all)
		return;
	while ((f = TAILQ_FIRST(&all->by_age)))
		flow_end(f, MUX_REASON_CANCELLED);
	loop_timer_free(all->idle);
	free(all);
}
