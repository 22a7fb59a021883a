/* SPDX-License-Identifier: MIT */
/*
 * What listens for the host, each by the host's number. Runs on the loop's thread.
 *
 *   LISTEN -> place -> stream_listener -> accept -> relay = stream of kind reverse -> the host
 *                   -> udp_port -> datagram -> udp_flows --^
 *
 * A place that cannot be listened at waits for the timer, which tries all that wait every REVERSE_RETRY_US; the host
 * hears of it when the answer is another one than before.
 */
#include "reverse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "bounds.h"
#include "control_msg.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "open_args.h"
#include "relay.h"
#include "sock_address.h"
#include "stream_listener.h"
#include "udp_flows.h"
#include "udp_port.h"
#include "wire.h"

#define REVERSE_RETRY_US 250000u

struct place {
	TAILQ_ENTRY(place) next;
	struct reverse *reverse;
	uint32_t id;
	uint8_t proto;
	struct sock_address at;
	struct stream_listener *listener; /* of TCP or a path; NULL: it waits */
	struct udp_port *udp;             /* of UDP; NULL: it waits */
	int error;                        /* what the host was told last; -1: nothing */
};

struct reverse {
	struct loop *loop;
	struct mux *mux;
	const struct reverse_events *events;
	void *ctx;
	struct relay_caller caller; /* of each connection */
	TAILQ_HEAD(, place) places;
	unsigned count;
	struct loop_timer *retry;
	struct udp_flows *flows;
	struct log_limit limit;
};

/* --- connections ------------------------------------------------------------------------------------------------ */

static void on_accepted(void *ctx, int fd)
{
	struct place *p = ctx;
	struct reverse *r = p->reverse;
	struct wire_buf args = {0};
	struct mux_stream *stream = NULL;

	reverse_target_put(&args, p->id);
	if (!args.failed)
		stream = mux_open(r->mux, MUX_KIND_REVERSE, args.data, args.len, NULL, NULL);
	wire_buf_free(&args);
	if (stream) {
		struct relay *relay = relay_new(r->loop, fd, stream, &r->caller);

		if (relay)
			relay_read_now(relay);
		return;
	}
	close(fd);
	if (log_limit_pass(&r->limit, loop_now_us(r->loop), 1))
		log_warn("a connection to the host was closed: too many connections, or no memory");
}

/* NULL: no stream or no memory, and the client's datagram is dropped. */
static struct udp_flow *begin_flow(struct place *p, const struct udp_client *from)
{
	struct udp_flow_target target = {.mux = p->reverse->mux, .kind = MUX_KIND_REVERSE};
	struct wire_buf args = {0};
	struct udp_flow *flow = NULL;

	reverse_target_put(&args, p->id);
	target.args = args.data;
	target.args_len = args.len;
	if (!args.failed)
		flow = udp_flows_begin(p->reverse->flows, p->udp, from, &target);
	wire_buf_free(&args);
	return flow;
}

static void on_datagram(void *ctx, const struct udp_client *from, struct datagram *d, size_t len)
{
	struct place *p = ctx;
	struct udp_flow *flow = udp_flows_find(p->reverse->flows, p->udp, from);

	if (!flow)
		flow = begin_flow(p, from);
	if (flow)
		udp_flow_send(flow, d, len);
}

static void on_unreachable(void *ctx, const struct udp_client *client)
{
	struct place *p = ctx;

	udp_flows_unreachable(p->reverse->flows, p->udp, client);
}

static const struct udp_port_events udp_events = {.datagram = on_datagram, .unreachable = on_unreachable};

/* --- places ----------------------------------------------------------------------------------------------------- */

static void place_tell(struct place *p, int error)
{
	struct control_msg msg = {.type = CONTROL_LISTEN_STATE,
				  .listen_state = {.id = p->id, .error = (uint32_t)error}};

	if (error == p->error)
		return;
	p->error = error;
	p->reverse->events->message(p->reverse->ctx, &msg);
}

static void place_try(struct place *p)
{
	struct loop *loop = p->reverse->loop;
	int rc = p->proto == LISTENER_UDP ? udp_port_open(loop, &p->at, &udp_events, p, &p->udp)
					  : stream_listener_open(loop, &p->at, on_accepted, p, &p->listener);

	place_tell(p, -rc);
	if (rc < 0 && !loop_timer_is_set(p->reverse->retry))
		loop_timer_set(p->reverse->retry, REVERSE_RETRY_US);
}

static void on_retry(void *ctx)
{
	struct reverse *r = ctx;
	struct place *p;

	TAILQ_FOREACH(p, &r->places, next)
	if (!p->listener && !p->udp)
		place_try(p);
}

static struct place *place_find(const struct reverse *r, uint32_t id)
{
	struct place *p;

	TAILQ_FOREACH(p, &r->places, next)
	if (p->id == id)
		return p;
	return NULL;
}

static void place_free(struct reverse *r, struct place *p)
{
	TAILQ_REMOVE(&r->places, p, next);
	r->count--;
	stream_listener_close(p->listener);
	udp_flows_end_port(r->flows, p->udp);
	udp_port_close(p->udp);
	free(p);
}

int reverse_listen(struct reverse *r, const struct control_listen *listen)
{
	struct place *p;

	if (r->count >= LISTENS_MAX || place_find(r, listen->id))
		return -EPROTO;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->reverse = r;
	p->id = listen->id;
	p->proto = listen->proto;
	p->error = -1;
	if (listen->family == 0)
		sock_address_unix(&p->at, listen->path);
	else
		sock_address_ip(&p->at, listen->family, listen->addr, 0, listen->port);
	TAILQ_INSERT_TAIL(&r->places, p, next);
	r->count++;
	place_try(p);
	return 0;
}

int reverse_unlisten(struct reverse *r, uint32_t id)
{
	struct place *p = place_find(r, id);

	if (!p)
		return -EPROTO;
	place_free(r, p);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct reverse *reverse_new(struct loop *loop, struct mux *mux, const struct reverse_events *events, void *ctx)
{
	struct reverse *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->mux = mux;
	r->events = events;
	r->ctx = ctx;
	TAILQ_INIT(&r->places);
	r->retry = loop_timer_new(loop, on_retry, r);
	r->flows = udp_flows_new(loop);
	if (r->retry && r->flows)
		return r;
	reverse_free(r);
	return NULL;
}

void reverse_free(struct reverse *r)
{
	struct place *p;

	if (!r)
		return;
	while ((p = TAILQ_FIRST(&r->places)))
		place_free(r, p);
	udp_flows_free(r->flows);
	loop_timer_free(r->retry);
	free(r);
}

void reverse_set_carrier(struct reverse *r, const struct relay_carrier *carrier)
{
	r->caller.carrier = carrier;
}
