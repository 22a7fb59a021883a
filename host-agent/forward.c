/* SPDX-License-Identifier: MIT */
/*
 * The table of what the guest listens on, and what becomes of it. Runs on the loop's thread.
 *
 *   control message -> row -> rules -> claims -> endpoint -> stream_listener
 *                                                  accept -> forward_conn -> stream to the guest
 *                                    -> udp_port, datagram -> udp_flows --^
 *
 * Theory of operation. A row is named by the guest's key, which means something within one epoch. When a snapshot
 * begins every row is stale: it keeps its claims, so that nothing closes, and waits under its place (family, address,
 * port) to be named again; at the snapshot's end what was not named goes. So a new session, or a guest agent that was
 * restarted, changes only what really changed.
 *
 * The guest is hostile: it can fill the table up to a bound and no further, and what it sends too much is dropped.
 */
#include "forward.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bounds.h"
#include "endpoint.h"
#include "forward_conn.h"
#include "forward_row.h"
#include "log.h"
#include "loop.h"
#include "peer_owner.h"
#include "rules.h"
#include "udp_flows.h"
#include "wire.h"

#define KEPT_FACTOR 4  /* rows kept for each forward allowed: ignored ones are shown too */
#define LOG_BURST   20 /* lines a second about ports, which the guest can cause */

struct forward {
	struct loop *loop;
	const struct rules *rules;
	const struct socket_world *world;
	unsigned max_forwards;
	const struct forward_events *events;
	void *ctx;
	struct mux *mux;
	struct endpoints *endpoints;
	struct forward_conns *conns;
	struct udp_flows *flows;
	struct loop_hook *hook;
	TAILQ_HEAD(forward_rows, forward_row) rows;
	struct forward_row *by_key, *stale;
	size_t count;       /* rows of the guest's */
	unsigned holding;   /* rows that count as one of max_forwards */
	unsigned held_back; /* rows that would, were there room */
	uint64_t epoch;     /* of the snapshot under way */
	bool in_snapshot;
	bool dirty; /* `changed` is due */
	struct log_limit log_limit, full_limit;
};

static const char *const state_names[] = {
	[FORWARD_FORWARDED] = "forwarded",
	[FORWARD_IGNORED] = "ignored",
	[FORWARD_CONFLICT] = "conflict",
	[FORWARD_FAILED] = "failed",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == FORWARD_STATE_COUNT, "a name for each state");

const char *forward_state_name(enum forward_state state)
{
	return (unsigned)state < FORWARD_STATE_COUNT ? state_names[state] : "?";
}

/* --- what is said about a row ----------------------------------------------------------------------------------- */

static void row_log(const struct forward_row *row, const struct forward_info *info)
{
	const char *what = row->socket ? "socket" : row->at.proto == LISTENER_UDP ? "udp port" : "port";
	char who[sizeof(row->process) + 4] = "";

	if (row->process[0])
		snprintf(who, sizeof(who), " (%s)", row->process);
	if (info->state == FORWARD_FORWARDED)
		log_info("%s %s%s: forwarded, answers on %s%s%s", what, info->guest, who, info->host[0],
			 info->host_count > 1 ? " and " : "", info->host_count > 1 ? info->host[1] : "");
	else if (info->state == FORWARD_IGNORED)
		log_debug("%s %s%s: ignored: %s", what, info->guest, who, info->reason);
	else
		log_warn("%s %s%s: not forwarded: %s", what, info->guest, who, info->reason);
}

/* The row of the static rule is the one that counts: one that it covers is as if it were not there. */
static void row_tell(struct forward *f, struct forward_row *row, const struct forward_info *info, bool gone)
{
	gone |= row->verdict.action == RULE_STATIC;
	if (gone && !row->is_told)
		return;
	row->is_told = !gone;
	if (f->events && f->events->port)
		f->events->port(f->ctx, info, gone);
}

/* The row may stand differently now. */
static void row_changed(struct forward *f, struct forward_row *row)
{
	char guest[SOCK_ADDRESS_TEXT_MAX];
	struct forward_info info;

	f->dirty = true;
	forward_row_info(row, &info, guest);
	if (row->is_known && row->logged == info.state &&
	    (info.state != FORWARD_FORWARDED || row->logged_port == info.host_port))
		return;
	row->is_known = true;
	row->logged = info.state;
	row->logged_port = info.host_port;
	row_tell(f, row, &info, false);
	if (log_limit_pass(&f->log_limit, loop_now_us(f->loop), LOG_BURST))
		row_log(row, &info);
}

static void row_say_gone(struct forward *f, struct forward_row *row)
{
	char guest[SOCK_ADDRESS_TEXT_MAX];
	struct forward_info info;

	forward_row_info(row, &info, guest);
	row_tell(f, row, &info, true);
	if (row->logged == FORWARD_FORWARDED && log_limit_pass(&f->log_limit, loop_now_us(f->loop), LOG_BURST))
		log_info("%s port %s: gone", listener_proto_name(row->at.proto),
			 address_text(guest, row->at.family, row->at.addr, row->at.scope, row->at.port));
}

/* --- claims ----------------------------------------------------------------------------------------------------- */

/* Before a byte passes. What has ended by now was nobody's. */
static bool client_is_self(struct forward *f, int fd, const struct forward_row *row)
{
	uid_t uid = 0;
	int rc = peer_owner_of(fd, &uid);

	if (rc == 0 && uid == geteuid())
		return true;
	if (rc != -ENOENT && log_limit_pass(&f->log_limit, loop_now_us(f->loop), LOG_BURST))
		log_warn("port %u: a connection of uid %u was reset: access is self", row->at.port, uid);
	return false;
}

static void on_accepted(void *ctx, struct endpoint_claim *claim, int fd)
{
	const struct forward_row *row = claim->owner;
	struct forward *f = ctx;

	/* A socket of the host's is its user's alone anyway. */
	if (row->verdict.self_only && !row->verdict.host_socket && !client_is_self(f, fd, row)) {
		relay_reset_socket(fd);
		return;
	}
	if (claim->socket)
		forward_conn_start_unix(f->conns, f->mux, fd, claim->socket, row->traffic);
	else
		forward_conn_start(f->conns, f->mux, fd, &claim->target, row->traffic);
}

static bool udp_client_is_self(const struct udp_port *port, const struct udp_client *client)
{
	const struct peer_end from = {client->family, client->addr, client->port};
	struct sock_address at;
	struct peer_end own;
	uid_t uid;

	udp_port_own_end(port, client, &at);
	own = (struct peer_end){client->family, client->family == 4 ? (const void *)&at.in.sin_addr : &at.in6.sin6_addr,
				ntohs(at.in.sin_port)};
	return peer_owner(IPPROTO_UDP, &from, &own, &uid) == 0 && uid == geteuid();
}

/* NULL: the client's datagram is dropped. */
static struct udp_flow *begin_flow(struct forward *f, const struct endpoint_claim *claim, struct udp_port *port,
				   const struct udp_client *from)
{
	const struct forward_row *row = claim->owner;
	struct udp_flow_target target = {.mux = f->mux, .kind = MUX_KIND_UDP};
	struct udp_flow *flow = NULL;
	struct wire_buf args = {0};

	if (!f->mux || (row->verdict.self_only && !udp_client_is_self(port, from)))
		return NULL;
	tcp_target_put(&args, &claim->target);
	target.args = args.data;
	target.args_len = args.len;
	target.caller = forward_traffic_join(row->traffic);
	if (!args.failed)
		flow = udp_flows_begin(f->flows, port, from, &target);
	if (!flow)
		target.caller.done(target.caller.ctx, -ENOMEM);
	wire_buf_free(&args);
	return flow;
}

static void on_datagram(void *ctx, struct endpoint_claim *claim, struct udp_port *port, const struct udp_client *from,
			struct datagram *d, size_t len)
{
	struct forward *f = ctx;
	struct udp_flow *flow = udp_flows_find(f->flows, port, from);

	if (!flow)
		flow = begin_flow(f, claim, port, from);
	if (flow)
		udp_flow_send(flow, d, len);
}

static void on_unreachable(void *ctx, struct udp_port *port, const struct udp_client *client)
{
	udp_flows_unreachable(((struct forward *)ctx)->flows, port, client);
}

static void on_closing(void *ctx, struct udp_port *port)
{
	udp_flows_end_port(((struct forward *)ctx)->flows, port);
}

static void on_claim_changed(void *ctx, struct endpoint_claim *claim)
{
	row_changed(ctx, claim->owner);
}

static const struct endpoint_events endpoint_events = {
	.accepted = on_accepted,
	.datagram = on_datagram,
	.unreachable = on_unreachable,
	.closing = on_closing,
	.changed = on_claim_changed,
};

static void row_hold(struct forward *f, struct forward_row *row)
{
	if (f->holding >= f->max_forwards) {
		f->held_back++;
		return;
	}
	row->holds = true;
	f->holding++;
	if (forward_row_claim(row, f->endpoints, f->world) < 0)
		log_error("port %u: not forwarded: out of memory", row->at.port);
}

static void row_drop(struct forward *f, struct forward_row *row)
{
	if (!forward_row_wants(row))
		return;
	forward_row_release(row);
	if (row->holds)
		f->holding--;
	else
		f->held_back--;
	row->holds = false;
}

/* Gives the room there is to those who wait for it, in the order they came. */
static void forward_admit(struct forward *f)
{
	struct forward_row *row;

	if (!f->held_back || f->holding >= f->max_forwards)
		return;
	TAILQ_FOREACH(row, &f->rows, next)
	{
		if (f->holding >= f->max_forwards)
			break;
		if (!forward_row_wants(row) || row->holds)
			continue;
		f->held_back--;
		row_hold(f, row);
		row_changed(f, row);
	}
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

/* Lets the rules decide (again), and does what they say. */
static void row_judge(struct forward *f, struct forward_row *row)
{
	struct rule_verdict before = row->verdict, after;
	struct endpoint_claim kept[2] = {0};

	if (forward_row_judge(row, f->rules)) {
		after = row->verdict;
		row->verdict = before;
		/* An address that it has before and after is never closed in between. */
		forward_row_claim_again(row, f->endpoints, kept);
		row_drop(f, row);
		row->verdict = after;
		if (forward_row_wants(row))
			row_hold(f, row);
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			endpoint_release(&kept[i]);
	}
	row_changed(f, row);
}

/* Of a row that is under no name any more. */
static void row_discard(struct forward *f, struct forward_row *row)
{
	TAILQ_REMOVE(&f->rows, row, next);
	f->count--;
	row_drop(f, row);
	forward_row_free(row);
	f->dirty = true;
}

static void row_remove(struct forward *f, struct forward_row *row)
{
	row_say_gone(f, row);
	assert(row->stale ? f->stale : f->by_key);
	if (row->stale)
		HASH_DELETE(hh_stale, f->stale, row);
	else
		HASH_DELETE(hh, f->by_key, row);
	/* Its server may be back in a moment. */
	forward_row_leave(row);
	row_discard(f, row);
}

/* What an earlier snapshot had gives way to what this one names. */
static bool forward_make_room(struct forward *f)
{
	if (f->count < (size_t)KEPT_FACTOR * f->max_forwards)
		return true;
	if (f->stale) {
		row_remove(f, f->stale);
		return true;
	}
	if (log_limit_pass(&f->full_limit, loop_now_us(f->loop), 1))
		log_warn("the guest listens on more than %u ports: the rest is neither forwarded nor shown",
			 KEPT_FACTOR * f->max_forwards);
	return false;
}

static bool row_add(struct forward *f, const struct listener *l)
{
	struct forward_row *row;

	if (!forward_make_room(f))
		return false;
	row = forward_row_new(l);
	if (!row)
		return false;
	HASH_ADD(hh, f->by_key, at.key, sizeof(row->at.key), row);
	if (!row->hh.tbl) {
		forward_row_free(row);
		return false;
	}
	TAILQ_INSERT_TAIL(&f->rows, row, next);
	f->count++;
	row_judge(f, row);
	return true;
}

/* --- what the guest reports ------------------------------------------------------------------------------------- */

static struct forward_row *row_by_key(const struct forward *f, uint64_t key)
{
	struct forward_row *row;

	HASH_FIND(hh, f->by_key, &key, sizeof(key), row);
	return row;
}

/* A row of an earlier snapshot at the place of this listener gets its new name. */
static struct forward_row *row_by_place(struct forward *f, const struct listener *l)
{
	struct forward_place place = forward_place_of(l);
	struct forward_row *row;

	HASH_FIND(hh_stale, f->stale, &place, sizeof(place), row);
	if (!row)
		return NULL;
	HASH_DELETE(hh_stale, f->stale, row);
	row->stale = false;
	row->at.key = l->key;
	HASH_ADD(hh, f->by_key, at.key, sizeof(row->at.key), row);
	if (row->hh.tbl)
		return row;
	row_discard(f, row);
	return NULL;
}

static void on_port_add(struct forward *f, const struct listener *l)
{
	struct forward_place place = forward_place_of(l);
	struct forward_row *row = row_by_key(f, l->key);

	if (row && memcmp(&row->place, &place, sizeof(place)) != 0) {
		row_remove(f, row);
		row = NULL;
	}
	if (!row)
		row = row_by_place(f, l);
	if (row) {
		forward_row_update(row, l);
		row_judge(f, row);
	} else {
		row_add(f, l);
	}
}

static void on_port_remove(struct forward *f, uint64_t key)
{
	struct forward_row *row = row_by_key(f, key);

	if (row)
		row_remove(f, row);
}

static void on_ports_begin(struct forward *f, uint64_t epoch)
{
	struct forward_row *row, *next;

	f->in_snapshot = true;
	f->epoch = epoch;
	/* Those that are stale already stay so: what a snapshot costs is bounded by what was named since the last one.
	 */
	HASH_ITER(hh, f->by_key, row, next)
	{
		HASH_DELETE(hh, f->by_key, row);
		row->stale = true;
		HASH_ADD(hh_stale, f->stale, place, sizeof(row->place), row);
		if (!row->hh_stale.tbl)
			row_discard(f, row);
	}
}

static void on_ports_end(struct forward *f, uint64_t epoch)
{
	struct forward_row *row, *next;

	if (!f->in_snapshot || epoch != f->epoch)
		return;
	f->in_snapshot = false;
	for (row = TAILQ_FIRST(&f->rows); row; row = next) {
		next = TAILQ_NEXT(row, next);
		if (row->stale)
			row_remove(f, row);
	}
	endpoints_refuse_others(f->endpoints);
}

void forward_message(struct forward *f, const struct control_msg *msg)
{
	switch (msg->type) {
	case CONTROL_PORTS_BEGIN:
		on_ports_begin(f, msg->ports_epoch);
		break;
	case CONTROL_PORT_ADD:
		on_port_add(f, &msg->port);
		break;
	case CONTROL_PORT_REMOVE:
		on_port_remove(f, msg->port_key);
		break;
	case CONTROL_PORTS_END:
		on_ports_end(f, msg->ports_epoch);
		break;
	default:
		break;
	}
	forward_admit(f);
}

/* --- what is shown ---------------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct forward_row *x = *(struct forward_row *const *)a, *y = *(struct forward_row *const *)b;

	if (x->at.port != y->at.port)
		return x->at.port < y->at.port ? -1 : 1;
	if (x->at.family != y->at.family)
		return x->at.family < y->at.family ? -1 : 1;
	if (x->socket && y->socket)
		return strcmp(x->socket, y->socket);
	return memcmp(x->at.addr, y->at.addr, sizeof(x->at.addr));
}

static void row_show(const struct forward_row *row, forward_list_cb *cb, void *ctx)
{
	char guest[SOCK_ADDRESS_TEXT_MAX];
	struct forward_info info;

	/* The row of the static rule is the one to show. */
	if (row->verdict.action == RULE_STATIC)
		return;
	forward_row_info(row, &info, guest);
	cb(ctx, &info);
}

void forward_list(struct forward *f, forward_list_cb *cb, void *ctx)
{
	struct forward_row **sorted, *row;
	size_t count = 0, n = 0;

	TAILQ_FOREACH(row, &f->rows, next)
	count++;
	sorted = calloc(count ? count : 1, sizeof(struct forward_row *));
	if (!sorted)
		return;
	TAILQ_FOREACH(row, &f->rows, next)
	sorted[n++] = row;
	qsort(sorted, count, sizeof(struct forward_row *), by_place);
	for (size_t i = 0; i < count; i++)
		row_show(sorted[i], cb, ctx);
	free(sorted);
}

void forward_each_address(const struct forward *f, void (*cb)(void *ctx, const char *address), void *ctx)
{
	endpoints_each_open(f->endpoints, cb, ctx);
}

static void on_turn_end(void *ctx)
{
	struct forward *f = ctx;

	if (!f->dirty)
		return;
	f->dirty = false;
	if (f->events && f->events->changed)
		f->events->changed(f->ctx);
}

void forward_try_rules(const struct forward *f, const struct rules *rules, uint16_t host_port,
		       void (*found)(void *ctx, uint16_t guest_port), void *ctx)
{
	const struct forward_row *row;

	TAILQ_FOREACH(row, &f->rows, next)
	{
		struct rule_verdict verdict;

		if (row->is_static)
			continue;
		forward_row_ask(row, rules, &verdict);
		if (verdict.action == RULE_FORWARD && verdict.host_count > 0 && verdict.host_port == host_port)
			found(ctx, row->at.port);
	}
}

/* --- static ports ------------------------------------------------------------------------------------------------ */

static int forward_add_static(struct forward *f, const struct rule_static *port)
{
	struct forward_row *row = forward_row_new_static(port, f->world);

	if (!row)
		return -ENOMEM;
	row->is_wanted = true;
	TAILQ_INSERT_TAIL(&f->rows, row, next);
	row_hold(f, row);
	row_changed(f, row);
	return 0;
}

static int forward_open_static(struct forward *f)
{
	struct rule_static port;
	size_t cursor = 0;
	int rc = 0;

	while (rc == 0 && rules_static_next(f->rules, &cursor, &port))
		rc = forward_add_static(f, &port);
	return rc;
}

/* --- other rules ------------------------------------------------------------------------------------------------- */

static struct forward_row *row_of_static(const struct forward *f, const struct rule_static *port)
{
	struct forward_row *row;

	TAILQ_FOREACH(row, &f->rows, next)
	if (!row->is_wanted && forward_row_is_static(row, port, f->world))
		return row;
	return NULL;
}

/* Marks the static rows that the rules have still. */
static void forward_keep_static(struct forward *f)
{
	struct forward_row *row;
	struct rule_static port;
	size_t cursor = 0;

	TAILQ_FOREACH(row, &f->rows, next)
	row->is_wanted = false;
	while (rules_static_next(f->rules, &cursor, &port)) {
		row = row_of_static(f, &port);
		if (!row)
			continue;
		row->is_wanted = true;
		row->verdict = port.host;
	}
}

/* Those it has no more go, before anything new may want their place. */
static void forward_drop_static(struct forward *f)
{
	struct forward_row *row, *next;

	for (row = TAILQ_FIRST(&f->rows); row; row = next) {
		next = TAILQ_NEXT(row, next);
		if (!row->is_static || row->is_wanted)
			continue;
		row_say_gone(f, row);
		TAILQ_REMOVE(&f->rows, row, next);
		row_drop(f, row);
		forward_row_free(row);
		f->dirty = true;
	}
}

static bool has_static(const struct forward *f, const struct rule_static *port)
{
	const struct forward_row *row;

	TAILQ_FOREACH(row, &f->rows, next)
	if (forward_row_is_static(row, port, f->world))
		return true;
	return false;
}

static void forward_add_missing_static(struct forward *f)
{
	struct rule_static port;
	size_t cursor = 0;

	while (rules_static_next(f->rules, &cursor, &port))
		if (!has_static(f, &port) && forward_add_static(f, &port) < 0)
			log_error("port %u: not forwarded: out of memory", port.guest_port);
}

/* More hold a place than may: the last that came give it up. */
static void forward_hold_back(struct forward *f)
{
	struct forward_row *row;

	TAILQ_FOREACH_REVERSE(row, &f->rows, forward_rows, next)
	{
		if (f->holding <= f->max_forwards)
			break;
		if (!row->holds)
			continue;
		forward_row_release(row);
		row->holds = false;
		f->holding--;
		f->held_back++;
		row_changed(f, row);
	}
}

void forward_set_rules(struct forward *f, const struct rules *rules, const struct forward_limits *limits)
{
	struct forward_row *row;

	f->rules = rules;
	f->max_forwards = limits->max_forwards;
	forward_keep_static(f);
	forward_drop_static(f);
	TAILQ_FOREACH(row, &f->rows, next)
	if (!row->is_static)
		row_judge(f, row);
	forward_add_missing_static(f);
	forward_hold_back(f);
	forward_admit(f);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct forward *forward_new(struct loop *loop, const struct rules *rules, const struct socket_world *world,
			    const struct forward_limits *limits, const struct forward_events *events, void *ctx)
{
	struct forward *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->loop = loop;
	f->rules = rules;
	f->world = world;
	f->max_forwards = limits->max_forwards;
	f->events = events;
	f->ctx = ctx;
	TAILQ_INIT(&f->rows);
	f->endpoints = endpoints_new(loop, &endpoint_events, f);
	f->conns = forward_conns_new(loop);
	f->flows = udp_flows_new(loop);
	f->hook = loop_hook_new(loop, on_turn_end, f);
	if (!f->endpoints || !f->conns || !f->flows || !f->hook || forward_open_static(f) < 0) {
		forward_free(f);
		return NULL;
	}
	return f;
}

void forward_free(struct forward *f)
{
	struct forward_row *row, *next;

	if (!f)
		return;
	forward_conns_free(f->conns);
	HASH_CLEAR(hh, f->by_key);
	HASH_CLEAR(hh_stale, f->stale);
	for (row = TAILQ_FIRST(&f->rows); row; row = next) {
		next = TAILQ_NEXT(row, next);
		forward_row_free(row);
	}
	endpoints_free(f->endpoints);
	udp_flows_free(f->flows);
	loop_hook_free(f->hook);
	free(f);
}

void forward_set_carrier(struct forward *f, const struct relay_carrier *carrier)
{
	forward_conns_set_carrier(f->conns, carrier);
}

void forward_set_mux(struct forward *f, struct mux *mux)
{
	f->mux = mux;
}
