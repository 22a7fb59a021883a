/* SPDX-License-Identifier: MIT */
/*
 * The table of reverse forwards, one row a rule. Runs on the loop's thread.
 *
 *   rules -> row -> LISTEN -> the guest listens -> LISTEN_STATE -> what is shown
 *            row <- stream of kind reverse, with the row's number -> dialer -> the host's service
 *
 * Rows are numbered from 1 on, as they are made; their numbers are the same in every session, and none comes twice. A
 * row whose path cannot be a socket's has no number for the guest: it is shown, and neither told nor opened.
 */
#include "reverse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_msg.h"
#include "dialer.h"
#include "forward_conn.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "open_args.h"
#include "rules.h"
#include "sock_address.h"
#include "socket_path.h"

_Static_assert(LISTENS_MAX >= RULES_MAX, "the guest takes one a rule");

#define LOG_BURST 20 /* lines a second, which the guest can cause */

struct reverse_row {
	struct control_listen listen; /* what the guest is told; id 0: nothing */
	struct sock_address host[DIALER_ADDRESSES_MAX];
	size_t host_count;
	char guest_text[SOCK_ADDRESS_TEXT_MAX];
	char host_text[DIALER_ADDRESSES_MAX][SOCK_ADDRESS_TEXT_MAX];
	struct forward_traffic *traffic;
	enum rule_service service;
	enum forward_state state;
	char reason[SOCK_ADDRESS_TEXT_MAX + 128]; /* "" when forwarded */
	bool asked, answered;                     /* in this session */
};

struct reverse {
	struct loop *loop;
	const struct reverse_events *events;
	void *ctx;
	const struct relay_carrier *carrier;
	struct dialer *dialer;
	struct reverse_row *rows;
	size_t count;
	uint32_t last_id;
	bool in_session;
	uint32_t *withdrawn; /* numbers of this session's the guest was told to forget */
	size_t withdrawn_count;
	struct log_limit limit;
};

/* --- how a row stands ------------------------------------------------------------------------------------------- */

static void row_set(struct reverse *r, struct reverse_row *row, enum forward_state state, const char *why)
{
	bool differs = row->state != state || strcmp(row->reason, why) != 0;

	row->state = state;
	snprintf(row->reason, sizeof(row->reason), "%s", why);
	r->events->changed(r->ctx);
	if (!differs || !row->answered || !log_limit_pass(&r->limit, loop_now_us(r->loop), LOG_BURST))
		return;
	if (state == FORWARD_FORWARDED)
		log_info("reverse %s: answers in the guest, from %s", row->guest_text, row->host_text[0]);
	else
		log_warn("reverse %s: does not answer in the guest: %s", row->guest_text, why);
}

static void row_describe(const struct reverse_row *row, uint32_t error, char *why, size_t size)
{
	if (error == EADDRINUSE)
		snprintf(why, size, "%s is in use in the guest", row->guest_text);
	else if (error == EEXIST)
		snprintf(why, size, "%s is there in the guest, and is no socket", row->guest_text);
	else if (error == EACCES && row->listen.family != 0)
		snprintf(why, size, "%s: only root may listen on this port in the guest", row->guest_text);
	else
		snprintf(why, size, "%s in the guest: %s", row->guest_text,
			 error <= INT32_MAX ? strerror((int)error) : "failed");
}

static struct reverse_row *row_find(const struct reverse *r, uint32_t id)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->rows[i].listen.id == id && r->rows[i].asked)
			return &r->rows[i];
	return NULL;
}

static bool was_withdrawn(const struct reverse *r, uint32_t id)
{
	for (size_t i = 0; i < r->withdrawn_count; i++)
		if (r->withdrawn[i] == id)
			return true;
	return false;
}

int reverse_state(struct reverse *r, const struct control_listen_state *state)
{
	struct reverse_row *row = row_find(r, state->id);
	char why[sizeof(row->reason)];

	/* It may have been on its way. */
	if (!row)
		return was_withdrawn(r, state->id) ? 0 : -EPROTO;
	row->answered = true;
	if (state->error == 0) {
		row_set(r, row, FORWARD_FORWARDED, "");
		return 0;
	}
	row_describe(row, state->error, why, sizeof(why));
	row_set(r, row, state->error == EADDRINUSE || state->error == EEXIST ? FORWARD_CONFLICT : FORWARD_FAILED, why);
	return 0;
}

bool reverse_is_settled(const struct reverse *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->rows[i].asked && !r->rows[i].answered)
			return false;
	return true;
}

/* --- connections ------------------------------------------------------------------------------------------------ */

void reverse_open(struct reverse *r, struct mux_stream *stream, const uint8_t *args, size_t len)
{
	struct reverse_row *row;
	struct relay_caller caller;
	uint32_t id;

	row = reverse_target_get(args, len, &id) == 0 ? row_find(r, id) : NULL;
	if (!row) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	caller = forward_traffic_join(row->traffic);
	caller.carrier = r->carrier;
	if (row->service == RULE_SERVICE_RESOLVER)
		r->events->resolve(r->ctx, stream, row->listen.proto, &caller);
	else if (row->listen.proto == LISTENER_UDP)
		dialer_connect_udp(r->dialer, stream, &row->host[0], &caller);
	else
		dialer_connect(r->dialer, stream, row->host, row->host_count, &caller);
}

/* --- sessions --------------------------------------------------------------------------------------------------- */

/* Tells the guest of what it has not been told in this session. */
static void reverse_ask(struct reverse *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct control_msg msg = {.type = CONTROL_LISTEN, .listen = r->rows[i].listen};

		if (msg.listen.id == 0 || r->rows[i].asked)
			continue;
		r->rows[i].asked = true;
		r->events->send(r->ctx, &msg);
	}
}

void reverse_begin(struct reverse *r)
{
	r->in_session = true;
	reverse_ask(r);
}

void reverse_end(struct reverse *r)
{
	r->in_session = false;
	r->withdrawn_count = 0;
	for (size_t i = 0; i < r->count; i++) {
		struct reverse_row *row = &r->rows[i];

		if (!row->asked)
			continue;
		row->asked = row->answered = false;
		row_set(r, row, FORWARD_FAILED, "the guest is not there");
	}
}

void reverse_list(const struct reverse *r, forward_list_cb *cb, void *ctx)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct reverse_row *row = &r->rows[i];
		struct forward_info info = {
			.proto = row->listen.family == 0 ? "unix" : listener_proto_name(row->listen.proto),
			.guest = row->guest_text,
			.host_count = row->host_count,
			.state = row->state,
			.reason = row->reason[0] ? row->reason : NULL,
			.process = rule_service_name(row->service),
			.connections = row->traffic->connections,
			.bytes_in = row->traffic->bytes.bytes_in,
			.bytes_out = row->traffic->bytes.bytes_out,
			.reverse = true,
		};

		for (size_t k = 0; k < row->host_count; k++)
			info.host[k] = row->host_text[k];
		cb(ctx, &info);
	}
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

static uint8_t family_of(const struct rule_address *address)
{
	return address->family == AF_INET ? 4 : 6;
}

/* An address of a path; else *fault says why there is none, and the text is the path all the same. */
static int path_address(const char *written, const struct socket_names *names, struct sock_address *at,
			char text[SOCK_ADDRESS_TEXT_MAX], const char **fault)
{
	char *path = socket_path_expand(written, names);

	if (!path)
		return -ENOMEM;
	if (sock_address_unix(at, path) < 0)
		*fault = socket_path_fault(path);
	text_printable(text, SOCK_ADDRESS_TEXT_MAX, path, strlen(path));
	free(path);
	return 0;
}

static int row_fill_guest(struct reverse_row *row, const struct rule_static *rule, const struct socket_world *world,
			  const char **fault)
{
	struct control_listen *l = &row->listen;
	struct sock_address at = {0};

	l->proto = rule->proto == RULE_PROTO_UDP ? LISTENER_UDP : LISTENER_TCP;
	if (rule->guest_socket) {
		int rc = path_address(rule->guest_socket, &world->guest, &at, row->guest_text, fault);

		memcpy(l->path, at.un.sun_path, sizeof(l->path));
		return rc;
	}
	l->family = family_of(&rule->guest);
	l->port = rule->guest_port;
	memcpy(l->addr, rule->guest.bytes, l->family == 4 ? 4 : 16);
	sock_address_ip(&at, l->family, l->addr, 0, l->port);
	sock_address_text(row->guest_text, &at);
	return 0;
}

static int row_fill_host(struct reverse_row *row, const struct rule_verdict *host, const struct socket_world *world,
			 const char **fault)
{
	if (host->host_socket) {
		row->host_count = 1;
		return path_address(host->host_socket, &world->host, &row->host[0], row->host_text[0], fault);
	}
	if (host->service == RULE_SERVICE_RESOLVER) {
		snprintf(row->host_text[0], sizeof(row->host_text[0]), "the name servers");
		return 0;
	}
	row->host_count = host->host_count;
	/* Nothing tells which of two addresses a UDP server has. */
	if (row->listen.proto == LISTENER_UDP)
		row->host_count = 1;
	for (size_t i = 0; i < row->host_count; i++) {
		sock_address_ip(&row->host[i], family_of(&host->host[i]), host->host[i].bytes, 0, host->host_port);
		sock_address_text(row->host_text[i], &row->host[i]);
	}
	return 0;
}

static int row_fill(struct reverse_row *row, uint32_t id, const struct rule_static *rule,
		    const struct socket_world *world)
{
	const char *fault = NULL;
	int rc = row_fill_guest(row, rule, world, &fault);

	if (rc == 0)
		rc = row_fill_host(row, &rule->host, world, &fault);
	row->traffic = forward_traffic_new();
	if (rc < 0 || !row->traffic)
		return -ENOMEM;
	row->listen.id = fault ? 0 : id;
	row->service = rule->host.service;
	row->state = FORWARD_FAILED;
	snprintf(row->reason, sizeof(row->reason), "%s", fault ? fault : "the guest is not there");
	return 0;
}

static void rows_free(struct reverse_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		forward_traffic_unref(rows[i].traffic);
	free(rows);
}

static int make_rows(struct reverse *r, const struct rules *rules, const struct socket_world *world,
		     struct reverse_row **rows, size_t *made)
{
	struct rule_static rule;
	size_t cursor = 0, count = 0;

	while (rules_reverse_next(rules, &cursor, &rule))
		count++;
	*made = 0;
	*rows = calloc(count + 1, sizeof(**rows));
	if (!*rows)
		return -ENOMEM;
	for (cursor = 0; rules_reverse_next(rules, &cursor, &rule);) {
		int rc = row_fill(&(*rows)[(*made)++], ++r->last_id, &rule, world);

		if (rc < 0) {
			rows_free(*rows, *made);
			return rc;
		}
	}
	return 0;
}

static bool rows_alike(const struct reverse_row *a, const struct reverse_row *b)
{
	bool alike = a->listen.proto == b->listen.proto && a->service == b->service &&
		     strcmp(a->guest_text, b->guest_text) == 0 && a->host_count == b->host_count;

	for (size_t i = 0; i < a->host_count && alike; i++)
		alike = strcmp(a->host_text[i], b->host_text[i]) == 0 && sock_address_equal(&a->host[i], &b->host[i]);
	/* The texts of two paths may be the same where the paths are not. */
	return alike && strcmp(a->listen.path, b->listen.path) == 0;
}

/* What a new row stands for that an old one does goes on as the old one. */
static void rows_keep(struct reverse *r, struct reverse_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < r->count; k++) {
			struct reverse_row fresh = rows[i];

			if (!r->rows[k].traffic || !rows_alike(&rows[i], &r->rows[k]))
				continue;
			rows[i] = r->rows[k];
			forward_traffic_unref(fresh.traffic);
			r->rows[k].traffic = NULL; /* it has moved */
			break;
		}
	}
}

static void rows_log_faults(const struct reverse *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->rows[i].listen.id == 0)
			log_warn("reverse %s: does not answer in the guest: %s", r->rows[i].guest_text,
				 r->rows[i].reason);
}

/* Of those that were not moved. There is room for all of them. */
static void rows_withdraw(struct reverse *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct control_msg msg = {.type = CONTROL_UNLISTEN, .unlisten_id = r->rows[i].listen.id};

		if (!r->rows[i].traffic || !r->rows[i].asked)
			continue;
		r->withdrawn[r->withdrawn_count++] = msg.unlisten_id;
		r->events->send(r->ctx, &msg);
	}
}

int reverse_set_rules(struct reverse *r, const struct rules *rules, const struct socket_world *world)
{
	uint32_t *withdrawn = reallocarray(r->withdrawn, r->withdrawn_count + r->count + 1, sizeof(*withdrawn));
	struct reverse_row *rows;
	size_t count;
	int rc;

	if (!withdrawn)
		return -ENOMEM;
	r->withdrawn = withdrawn;
	rc = make_rows(r, rules, world, &rows, &count);
	if (rc < 0)
		return rc;
	rows_keep(r, rows, count);
	rows_withdraw(r);
	rows_free(r->rows, r->count);
	r->rows = rows;
	r->count = count;
	rows_log_faults(r);
	if (r->in_session)
		reverse_ask(r);
	r->events->changed(r->ctx);
	return 0;
}

struct reverse *reverse_new(struct loop *loop, const struct rules *rules, const struct socket_world *world,
			    const struct reverse_events *events, void *ctx)
{
	struct reverse *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->events = events;
	r->ctx = ctx;
	r->dialer = dialer_new(loop);
	if (!r->dialer || make_rows(r, rules, world, &r->rows, &r->count) < 0) {
		dialer_free(r->dialer);
		free(r);
		return NULL;
	}
	rows_log_faults(r);
	return r;
}

void reverse_set_carrier(struct reverse *r, const struct relay_carrier *carrier)
{
	r->carrier = carrier;
}

void reverse_free(struct reverse *r)
{
	if (!r)
		return;
	dialer_free(r->dialer);
	rows_free(r->rows, r->count);
	free(r->withdrawn);
	free(r);
}
