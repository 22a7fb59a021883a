/* SPDX-License-Identifier: MIT */
/*
 * See udp_flows.h. Runs on the loop's thread.
 *
 * A flow is in a hash by port and client, and in a list by when its client, or the server, was last heard of: the
 * oldest is the first, so that one timer and one look at it are all that idle flows cost.
 */
#include "udp_flows.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "bounds.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "wire.h"

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
	struct forward_traffic *traffic;
	uint64_t used_us;
};

struct udp_flows {
	struct loop *loop;
	struct udp_flow *by_key;
	TAILQ_HEAD(flow_list, udp_flow) by_age;
	struct loop_timer *idle;
	struct wire_buf args;
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
	f->traffic->connections--;
	forward_traffic_unref(f->traffic);
	f->stream = NULL;
	loop_defer(all->loop, flow_release, f);
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

/* --- from the guest --------------------------------------------------------------------------------------------- */

static int on_datagram(void *ctx, const uint8_t *data, size_t len)
{
	struct udp_flow *f = ctx;

	udp_port_send(f->key.port, &f->key.client, data, len);
	f->traffic->bytes.bytes_out += len;
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

static struct udp_flow *flow_find(const struct udp_flows *all, const struct flow_key *key)
{
	struct udp_flow *f;

	HASH_FIND(hh, all->by_key, key, sizeof(*key), f);
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

static struct udp_flow *flow_new(struct udp_flows *all, struct mux *mux, const struct flow_key *key,
				 const struct tcp_target *target, struct forward_traffic *traffic)
{
	struct udp_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->all = all;
	f->key = *key;
	wire_buf_reset(&all->args);
	tcp_target_put(&all->args, target);
	if (!all->args.failed)
		f->stream = mux_open(mux, MUX_KIND_UDP, all->args.data, all->args.len, &stream_events, f);
	if (!f->stream || !flow_insert(all, f)) {
		if (f->stream)
			mux_stream_reset(f->stream, MUX_REASON_RESOURCES);
		free(f);
		return NULL;
	}
	f->traffic = traffic;
	traffic->refs++;
	traffic->connections++;
	f->used_us = loop_now_us(all->loop);
	if (!loop_timer_is_set(all->idle))
		loop_timer_set(all->idle, UDP_IDLE_US);
	return f;
}

static bool client_is_self(const struct udp_port *port, const struct udp_client *client)
{
	uid_t uid;

	return udp_port_client_owner(port, client, &uid) == 0 && uid == geteuid();
}

void udp_flows_datagram(struct udp_flows *all, struct mux *mux, struct udp_port *port, const struct udp_client *from,
			struct datagram *d, size_t len, const struct tcp_target *target,
			struct forward_traffic *traffic, bool self_only)
{
	struct flow_key key = key_of(port, from);
	struct udp_flow *f = flow_find(all, &key);

	if (!mux || (!f && self_only && !client_is_self(port, from)))
		return;
	if (!f && all->count >= UDP_FLOWS_MAX) {
		if (log_limit_pass(&all->limit, loop_now_us(all->loop), 1))
			log_warn("more than %u clients of UDP ports: those silent for longest are forgotten",
				 UDP_FLOWS_MAX);
		flow_end(TAILQ_FIRST(&all->by_age), MUX_REASON_CANCELLED);
	}
	if (!f)
		f = flow_new(all, mux, &key, target, traffic);
	if (!f)
		return;
	flow_use(f);
	if (datagram_write(f->stream, d, len))
		f->traffic->bytes.bytes_in += len;
}

void udp_flows_unreachable(struct udp_flows *all, struct udp_port *port, const struct udp_client *client)
{
	struct flow_key key = key_of(port, client);
	struct udp_flow *f = flow_find(all, &key);

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
	wire_buf_free(&all->args);
	free(all);
}
