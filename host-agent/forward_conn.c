/* SPDX-License-Identifier: MIT */
/*
 * A connection is a relay between the client's socket and a stream that is opened without waiting for the guest: what
 * the client says first travels right behind OPEN. A refusal of the guest becomes a reset of the client, as a refused
 * connection is the nearest thing to what the client would have seen. Runs on the loop's thread.
 */
#include "forward_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "log.h"
#include "loop.h"
#include "mux.h"
#include "sock_address.h"
#include "wire.h"

struct forward_conn {
	TAILQ_ENTRY(forward_conn) next;
	struct forward_conns *all;
	struct relay_caller traffic;
	struct relay *relay;
};

struct forward_conns {
	struct loop *loop;
	const struct relay_carrier *carrier;
	TAILQ_HEAD(, forward_conn) list;
	struct wire_buf args;
	struct log_limit limit;
};

struct forward_traffic *forward_traffic_new(void)
{
	struct forward_traffic *t = calloc(1, sizeof(*t));

	if (t)
		t->refs = 1;
	return t;
}

void forward_traffic_unref(struct forward_traffic *t)
{
	if (t && --t->refs == 0)
		free(t);
}

static void on_traffic_done(void *ctx, int error)
{
	struct forward_traffic *t = ctx;

	t->connections--;
	forward_traffic_unref(t);
}

struct relay_caller forward_traffic_join(struct forward_traffic *t)
{
	t->refs++;
	t->connections++;
	return (struct relay_caller){.counters = &t->bytes, .done = on_traffic_done, .ctx = t};
}

static void forward_conn_free(struct forward_conns *all, struct forward_conn *c)
{
	TAILQ_REMOVE(&all->list, c, next);
	c->traffic.done(c->traffic.ctx, 0);
	free(c);
}

static void on_relay_done(void *ctx, int error)
{
	struct forward_conn *c = ctx;

	forward_conn_free(c->all, c);
}

/* With the arguments that are put down in all->args. NULL: there is no mux, no memory, or no stream to be had. */
static struct mux_stream *open_stream(struct forward_conns *all, struct mux *mux, enum mux_kind kind)
{
	if (!mux || all->args.failed)
		return NULL;
	return mux_open(mux, kind, all->args.data, all->args.len, NULL, NULL);
}

/* Joins the two, or ends both. False: there was no stream, or no memory. */
static bool conn_join(struct forward_conns *all, int fd, struct mux_stream *stream, struct forward_traffic *traffic)
{
	struct forward_conn *c = stream ? calloc(1, sizeof(*c)) : NULL;
	struct relay_caller caller;

	if (!c) {
		if (stream)
			mux_stream_reset(stream, MUX_REASON_RESOURCES);
		relay_reset_socket(fd);
		return false;
	}
	c->all = all;
	c->traffic = forward_traffic_join(traffic);
	TAILQ_INSERT_TAIL(&all->list, c, next);
	caller = (struct relay_caller){
		.counters = c->traffic.counters, .carrier = all->carrier, .done = on_relay_done, .ctx = c};
	c->relay = relay_new(all->loop, fd, stream, &caller);
	if (c->relay)
		relay_read_now(c->relay);
	else
		forward_conn_free(all, c);
	return true;
}

static void log_lack(struct forward_conns *all, const struct mux *mux, const char *what)
{
	if (mux && log_limit_pass(&all->limit, loop_now_us(all->loop), 1))
		log_warn("%s: a connection was reset: too many connections, or no memory", what);
}

void forward_conn_start(struct forward_conns *all, struct mux *mux, int fd, const struct tcp_target *target,
			struct forward_traffic *traffic)
{
	char port[16];

	wire_buf_reset(&all->args);
	tcp_target_put(&all->args, target);
	if (conn_join(all, fd, open_stream(all, mux, MUX_KIND_TCP), traffic))
		return;
	snprintf(port, sizeof(port), "port %u", target->port);
	log_lack(all, mux, port);
}

void forward_conn_start_unix(struct forward_conns *all, struct mux *mux, int fd, const char *path,
			     struct forward_traffic *traffic)
{
	char text[SOCK_ADDRESS_TEXT_MAX];
	struct unix_target target;

	snprintf(target.path, sizeof(target.path), "%s", path);
	wire_buf_reset(&all->args);
	unix_target_put(&all->args, &target);
	if (!conn_join(all, fd, open_stream(all, mux, MUX_KIND_UNIX), traffic))
		log_lack(all, mux, text_printable(text, sizeof(text), path, strlen(path)));
}

struct forward_conns *forward_conns_new(struct loop *loop)
{
	struct forward_conns *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->loop = loop;
	TAILQ_INIT(&all->list);
	return all;
}

void forward_conns_set_carrier(struct forward_conns *all, const struct relay_carrier *carrier)
{
	all->carrier = carrier;
}

void forward_conns_free(struct forward_conns *all)
{
	struct forward_conn *c, *next;

	if (!all)
		return;
	for (c = TAILQ_FIRST(&all->list); c; c = next) {
		next = TAILQ_NEXT(c, next);
		relay_abort(c->relay, MUX_REASON_CANCELLED);
		forward_conn_free(all, c);
	}
	wire_buf_free(&all->args);
	free(all);
}
