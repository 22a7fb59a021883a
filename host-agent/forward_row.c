/* SPDX-License-Identifier: MIT */
/* See forward_row.h. What the guest sent is printable from here on. */
#include "forward_row.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"

struct forward_place forward_place_of(const struct listener *l)
{
	struct forward_place place;

	memset(&place, 0, sizeof(place));
	place.proto = l->proto;
	place.family = l->family;
	memcpy(place.addr, l->addr, sizeof(place.addr));
	place.port = l->port;
	place.scope = l->scope;
	return place;
}

struct forward_row *forward_row_new(const struct listener *l)
{
	struct forward_row *row = calloc(1, sizeof(*row));

	if (!row)
		return NULL;
	row->traffic = forward_traffic_new();
	if (!row->traffic) {
		free(row);
		return NULL;
	}
	row->place = forward_place_of(l);
	row->verdict.action = RULE_ACTIONS; /* none yet */
	forward_row_update(row, l);
	return row;
}

static struct listener listener_of(const struct rule_static *port)
{
	struct listener l = {.port = port->guest_port};

	l.proto = port->proto == RULE_PROTO_UDP ? LISTENER_UDP : LISTENER_TCP;
	l.family = port->guest.family == AF_INET ? 4 : 6;
	memcpy(l.addr, port->guest.bytes, l.family == 4 ? 4 : 16);
	return l;
}

struct forward_row *forward_row_new_static(const struct rule_static *port, const struct socket_world *world)
{
	struct listener l = listener_of(port);
	struct forward_row *row = forward_row_new(&l);

	if (!row)
		return NULL;
	row->is_static = true;
	row->verdict = port->host;
	if (!port->guest_socket)
		return row;
	row->socket = socket_path_expand(port->guest_socket, &world->guest);
	if (row->socket)
		return row;
	forward_row_free(row);
	return NULL;
}

bool forward_row_is_static(const struct forward_row *row, const struct rule_static *port,
			   const struct socket_world *world)
{
	struct listener l = listener_of(port);
	struct forward_place place = forward_place_of(&l);
	char *socket;
	bool same;

	if (!row->is_static || !row->socket != !port->guest_socket || memcmp(&row->place, &place, sizeof(place)) != 0 ||
	    !forward_verdict_equal(&row->verdict, &port->host))
		return false;
	if (!row->socket)
		return true;
	socket = socket_path_expand(port->guest_socket, &world->guest);
	same = socket && strcmp(socket, row->socket) == 0;
	free(socket);
	return same;
}

void forward_row_free(struct forward_row *row)
{
	if (!row)
		return;
	forward_row_release(row);
	free(row->socket);
	forward_traffic_unref(row->traffic);
	free(row);
}

void forward_row_update(struct forward_row *row, const struct listener *l)
{
	row->at = *l;
	text_printable(row->process, sizeof(row->process), l->process, strlen(l->process));
	text_printable(row->user, sizeof(row->user), l->user, strlen(l->user));
	text_printable(row->unit, sizeof(row->unit), l->unit, strlen(l->unit));
}

bool forward_verdict_equal(const struct rule_verdict *a, const struct rule_verdict *b)
{
	if (a->action != b->action || a->host_count != b->host_count || a->host_port != b->host_port ||
	    a->self_only != b->self_only || !a->host_socket != !b->host_socket ||
	    (a->host_socket && strcmp(a->host_socket, b->host_socket) != 0))
		return false;
	for (size_t i = 0; i < a->host_count; i++)
		if (a->host[i].family != b->host[i].family ||
		    memcmp(a->host[i].bytes, b->host[i].bytes, a->host[i].family == AF_INET ? 4 : 16) != 0)
			return false;
	return true;
}

static const char *known(const char *text)
{
	return *text ? text : NULL;
}

void forward_row_ask(const struct forward_row *row, const struct rules *rules, struct rule_verdict *verdict)
{
	struct listener_key key = {
		.proto = row->at.proto == LISTENER_UDP ? RULE_PROTO_UDP : RULE_PROTO_TCP,
		.family = row->at.family == 4 ? AF_INET : AF_INET6,
		.scope_id = row->at.scope,
		.port = row->at.port,
		.ephemeral = row->at.ephemeral,
		.process = known(row->at.process),
		.user = known(row->at.user),
		.unit = known(row->at.unit),
	};

	memcpy(key.address, row->at.addr, sizeof(key.address));
	rules_match(rules, &key, verdict);
}

bool forward_row_judge(struct forward_row *row, const struct rules *rules)
{
	struct rule_verdict verdict;
	bool differs;

	forward_row_ask(row, rules, &verdict);
	differs = !forward_verdict_equal(&verdict, &row->verdict);
	row->verdict = verdict;
	return differs;
}

bool forward_row_wants(const struct forward_row *row)
{
	return row->verdict.action == RULE_FORWARD;
}

/* Where the guest is asked to connect to: what listens on every address is reached on loopback. */
static struct tcp_target target_of(const struct listener *l)
{
	static const uint8_t any[16], loopback4[16] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
	struct tcp_target t = {.family = l->family, .scope = l->scope, .port = l->port};

	if (memcmp(l->addr, any, sizeof(any)) == 0) {
		memcpy(t.addr, l->family == 4 ? loopback4 : loopback6, sizeof(t.addr));
		t.scope = 0;
	} else {
		memcpy(t.addr, l->addr, sizeof(t.addr));
	}
	return t;
}

static void claim_prepare(struct forward_row *row, struct endpoint_claim *claim)
{
	claim->owner = row;
	claim->proto = row->at.proto;
	claim->socket = row->socket;
	if (row->socket)
		memset(&claim->target, 0, sizeof(claim->target));
	else
		claim->target = target_of(&row->at);
}

static int claim_host_socket(struct forward_row *row, struct endpoints *endpoints, const struct socket_world *world)
{
	char *path = socket_path_expand(row->verdict.host_socket, &world->host);
	int rc = path ? 0 : -ENOMEM;

	if (rc == 0 && !(row->fault = socket_path_fault(path))) {
		claim_prepare(row, &row->claims[0]);
		rc = endpoint_claim_path(endpoints, path, &row->claims[0]);
	}
	free(path);
	return rc;
}

int forward_row_claim(struct forward_row *row, struct endpoints *endpoints, const struct socket_world *world)
{
	int rc = 0;

	row->fault = row->socket ? socket_path_fault(row->socket) : NULL;
	if (row->fault)
		return 0;
	if (row->verdict.host_socket)
		return claim_host_socket(row, endpoints, world);
	for (size_t i = 0; i < row->verdict.host_count && rc == 0; i++) {
		claim_prepare(row, &row->claims[i]);
		rc = endpoint_claim(endpoints, &row->verdict.host[i], row->verdict.host_port, &row->claims[i]);
	}
	if (rc < 0)
		forward_row_release(row);
	return rc;
}

void forward_row_claim_again(struct forward_row *row, struct endpoints *endpoints, struct endpoint_claim claims[2])
{
	for (size_t i = 0; i < row->verdict.host_count && row->claims[i].endpoint; i++) {
		claims[i] = (struct endpoint_claim){
			.owner = row, .proto = row->at.proto, .target = row->claims[i].target, .socket = row->socket};
		if (endpoint_claim(endpoints, &row->verdict.host[i], row->verdict.host_port, &claims[i]) < 0)
			claims[i].endpoint = NULL;
	}
}

void forward_row_release(struct forward_row *row)
{
	for (size_t i = 0; i < sizeof(row->claims) / sizeof(row->claims[0]); i++)
		endpoint_release(&row->claims[i]);
}

void forward_row_leave(struct forward_row *row)
{
	for (size_t i = 0; i < sizeof(row->claims) / sizeof(row->claims[0]); i++)
		endpoint_leave(&row->claims[i]);
}

/* --- how it stands ---------------------------------------------------------------------------------------------- */

static enum forward_state state_of_claim(enum endpoint_state state)
{
	switch (state) {
	case ENDPOINT_OPEN:
		return FORWARD_FORWARDED;
	case ENDPOINT_CONFLICT:
		return FORWARD_CONFLICT;
	default:
		return FORWARD_FAILED;
	}
}

/*
 * The worst of the claims says how the row stands; but an address the host does not have (::1 where IPv6 is off)
 * only counts when there is no other.
 */
static void info_of_claims(const struct forward_row *row, struct forward_info *info)
{
	const char *absent = NULL;

	info->state = FORWARD_FORWARDED;
	for (size_t i = 0; i < sizeof(row->claims) / sizeof(row->claims[0]) && row->claims[i].endpoint; i++) {
		const char *why = NULL;
		enum endpoint_state state = endpoint_claim_state(&row->claims[i], &why);

		if (state == ENDPOINT_ABSENT) {
			absent = why;
			continue;
		}
		info->host[info->host_count++] = endpoint_claim_address(&row->claims[i]);
		if (state_of_claim(state) > info->state) {
			info->state = state_of_claim(state);
			info->reason = why;
		}
	}
	if (info->host_count == 0) {
		info->state = FORWARD_FAILED;
		info->reason = absent;
	}
}

static void info_of_verdict(const struct forward_row *row, struct forward_info *info)
{
	if (forward_row_wants(row) && row->claims[0].endpoint) {
		info_of_claims(row, info);
		return;
	}
	info->state = FORWARD_FAILED;
	if (row->verdict.action != RULE_FORWARD) {
		info->state = FORWARD_IGNORED;
		info->reason = row->verdict.reason;
	} else if (row->fault) {
		info->reason = row->fault;
	} else if (row->holds) {
		info->reason = "out of memory";
	} else {
		info->reason = "maxForwards is reached";
	}
}

static const char *guest_text(const struct forward_row *row, char guest[SOCK_ADDRESS_TEXT_MAX])
{
	if (row->socket)
		return text_printable(guest, SOCK_ADDRESS_TEXT_MAX, row->socket, strlen(row->socket));
	return address_text(guest, row->at.family, row->at.addr, row->at.scope, row->at.port);
}

void forward_row_info(const struct forward_row *row, struct forward_info *info, char guest[SOCK_ADDRESS_TEXT_MAX])
{
	*info = (struct forward_info){
		.proto = row->socket ? "unix" : listener_proto_name(row->at.proto),
		.guest = guest_text(row, guest),
		.guest_port = row->at.port,
		.host_port = row->verdict.host_port,
		.rule = row->verdict.reason,
		.by_hand = row->verdict.by_hand,
		.process = known(row->process),
		.user = known(row->user),
		.unit = known(row->unit),
		.pid = row->at.pid,
		.connections = row->traffic->connections,
		.bytes_in = row->traffic->bytes.bytes_in,
		.bytes_out = row->traffic->bytes.bytes_out,
	};
	info_of_verdict(row, info);
}
