/* SPDX-License-Identifier: MIT */
/*
 * The port rules of homeport: a list walked from the top, the first match decides.
 *
 * What flows in: rules as their author wrote them (struct rule_spec), then listeners of the guest. What flows out: a
 * verdict. A rule is checked and its defaults are filled in once, when it is added; matching is then a few comparisons
 * and allocates nothing.
 *
 * The meaning is Lima's, and three of its corners are easy to get wrong:
 *  - a listener on 0.0.0.0 or :: is accepted by every rule, whatever the rule's guestIP;
 *  - yet an `ignore` rule for one concrete address cannot block such a listener (it answers on all the other addresses
 *    too), so the walk goes on to the next rule;
 *  - `guestIP: 0.0.0.0` alone means "listens on 0.0.0.0", and `guestIP: "::"` means "on any address", because only the
 *    former sets guestIPMustBeZero.
 * Ours differs where it says so: the fallback gives both loopbacks of the host, and our own two rules hold for every
 * address of the guest, or a guest could take over the host's ssh port.
 */
#include "rules.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rule.h"

struct rules {
	struct rule *list; /* our own, then those added, then the fallback: always the last */
	size_t count;
	size_t added; /* of count: not our own */
	size_t capacity;
};

static const char *const action_names[] = {
	[RULE_NONE] = "none",
	[RULE_IGNORE] = "ignore",
	[RULE_STATIC] = "static",
	[RULE_FORWARD] = "forward",
};
static_assert(sizeof(action_names) / sizeof(action_names[0]) == RULE_ACTIONS, "every action has a name");

const char *rule_action_name(enum rule_action action)
{
	return action_names[action];
}

static const char *const service_names[] = {
	[RULE_SERVICE_NONE] = NULL,
	[RULE_SERVICE_PROXY] = "proxy",
	[RULE_SERVICE_RESOLVER] = "resolver",
	[RULE_SERVICE_SSH_AGENT] = "ssh-agent",
};
static_assert(sizeof(service_names) / sizeof(service_names[0]) == RULE_SERVICES, "every service has a name");

const char *rule_service_name(enum rule_service service)
{
	return service_names[service];
}

/* ---- the list ---- */

static int list_insert(struct rules *rules, size_t at, const struct rule *rule)
{
	if (rules->count == rules->capacity) {
		size_t capacity = rules->capacity != 0 ? rules->capacity * 2 : 8;
		struct rule *list = reallocarray(rules->list, capacity, sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		rules->list = list;
		rules->capacity = capacity;
	}
	memmove(&rules->list[at + 1], &rules->list[at], (rules->count - at) * sizeof(rules->list[0]));
	rules->list[at] = *rule;
	rules->count++;
	return 0;
}

static int add_builtin(struct rules *rules, size_t at, const struct rule *pattern, const char *ignored)
{
	struct rule rule = *pattern;
	int r = -ENOMEM;

	rule.ignored_reason = strdup(ignored);
	rule.forward_reason = strdup("the default rule");
	if (rule.ignored_reason != NULL && rule.forward_reason != NULL)
		r = list_insert(rules, at, &rule);
	if (r < 0)
		rule_clear(&rule);
	return r;
}

struct rules *rules_new(uint16_t ssh_guest_port)
{
	const struct rule port22 = {.any_address = true, .ignore = true, .guest_ports = {22, 22}};
	const struct rule own = {.any_address = true, .ignore = true, .guest_ports = {ssh_guest_port, ssh_guest_port}};
	const struct rule fallback = {
		.fallback = true,
		.guest = rule_loopback4,
		.guest_ports = {1, RULE_PORT_MAX},
		.host_ports = {1, RULE_PORT_MAX},
		.host = {rule_loopback4, rule_loopback6},
		.host_count = 2,
	};
	struct rules *rules = calloc(1, sizeof(*rules));

	if (rules == NULL || add_builtin(rules, 0, &port22, "never forwarded: port 22 of the guest") < 0 ||
	    (ssh_guest_port != 0 && ssh_guest_port != 22 &&
	     add_builtin(rules, 1, &own, "never forwarded: homeport's own connection uses it") < 0) ||
	    add_builtin(rules, rules->count, &fallback, "") < 0) {
		rules_free(rules);
		return NULL;
	}
	return rules;
}

int rules_never(struct rules *rules, uint16_t guest_port, const char *reason)
{
	const struct rule rule = {.any_address = true, .ignore = true, .guest_ports = {guest_port, guest_port}};
	size_t own = 0;

	while (rules->list[own].any_address)
		own++;
	return add_builtin(rules, own, &rule, reason);
}

void rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	for (size_t i = 0; i < rules->count; i++)
		rule_clear(&rules->list[i]);
	free(rules->list);
	free(rules);
}

int rules_check(const struct rule_spec *spec, char *why)
{
	struct rule rule;
	int r = rule_fill(&rule, spec, why);

	if (r == 0)
		rule_clear(&rule);
	return r;
}

int rules_add(struct rules *rules, const struct rule_spec *spec, char *why)
{
	struct rule rule;
	int r;

	if (rules->added >= RULES_MAX) {
		snprintf(why, RULE_WHY_MAX, "there are more than %d rules", RULES_MAX);
		return -ENOSPC;
	}
	r = rule_fill(&rule, spec, why);
	if (r < 0)
		return r;
	r = list_insert(rules, rules->count - 1, &rule);
	if (r < 0)
		rule_clear(&rule);
	else
		rules->added++;
	return r;
}

/* ---- matching ---- */

/* PORT-RULES's four ways to accept an address; the first of them is why `guestIP: 127.0.0.2` takes 0.0.0.0. */
static bool rule_takes_address(const struct rule *rule, const struct rule_address *address)
{
	return rule->any_address || rule_address_is_unspecified(address) || rule_address_equal(address, &rule->guest) ||
	       (rule_address_equal(address, &rule_loopback6) && rule_address_equal(&rule->guest, &rule_loopback4)) ||
	       (rule_address_is_unspecified(&rule->guest) && !rule->must_be_zero);
}

static bool known_and_equal(const char *wanted, const char *known)
{
	return wanted == NULL || (known != NULL && strcmp(wanted, known) == 0);
}

static bool rule_takes_owner(const struct rule *rule, const struct listener_key *listener)
{
	if (rule->has_process &&
	    (listener->process == NULL || regexec(&rule->process, listener->process, 0, NULL, 0) != 0))
		return false;
	return known_and_equal(rule->user, listener->user) && known_and_equal(rule->unit, listener->unit);
}

/* UDP sockets that are no servers, or serve the guest's own network: only a rule of the user's forwards them. */
static bool fallback_refuses(const struct listener_key *listener, const struct rule_address *address)
{
	static const uint16_t reserved[] = {67, 68, 123, 323, 546, 547, 5353, 5355};

	if (listener->proto != RULE_PROTO_UDP)
		return false;
	if (listener->ephemeral || (listener->port == 53 && rule_address_is_loopback(address)))
		return true;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (listener->port == reserved[i])
			return true;
	return false;
}

static bool rule_matches(const struct rule *rule, const struct listener_key *listener,
			 const struct rule_address *address)
{
	if (rule->guest_socket != NULL || rule->is_static || rule->reverse)
		return false;
	if (rule->proto != RULE_PROTO_ANY && rule->proto != listener->proto)
		return false;
	if (!rule_range_has(&rule->guest_ports, listener->port) || !rule_takes_address(rule, address))
		return false;
	if (rule->fallback && fallback_refuses(listener, address))
		return false;
	return rule_takes_owner(rule, listener);
}

/* Of a static or reverse rule: TCP, unless it says UDP. */
static enum rule_proto static_proto(const struct rule *rule)
{
	return rule->proto == RULE_PROTO_UDP ? RULE_PROTO_UDP : RULE_PROTO_TCP;
}

/*
 * The rule that has the port whether or not anything listens, or NULL. What listens where a reverse rule does is we
 * ourselves: to forward it would lead the host's service back to the host, in the worst case to itself. What the
 * session has by itself takes its own address alone: nobody asked for the port.
 */
static const struct rule *static_cover(const struct rules *rules, const struct listener_key *listener,
				       const struct rule_address *address)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->list[i];

		if (rule->service != RULE_SERVICE_NONE && !rule_address_equal(&rule->guest, address))
			continue;
		if (listener->proto == static_proto(rule) &&
		    (rule->is_static || (rule->reverse && rule->guest_socket == NULL)) &&
		    rule_range_has(&rule->guest_ports, listener->port))
			return rule;
	}
	return NULL;
}

static void verdict_forward(const struct rule *rule, unsigned guest_port, struct rule_verdict *out)
{
	*out = (struct rule_verdict){.action = RULE_FORWARD,
				     .reason = rule->forward_reason,
				     .self_only = rule->self_only,
				     .by_hand = rule->by_hand,
				     .service = rule->service};
	if (rule->host_socket != NULL) {
		out->host_socket = rule->host_socket;
		return;
	}
	memcpy(out->host, rule->host, sizeof(out->host));
	out->host_count = rule->host_count;
	out->host_port = (uint16_t)(guest_port - rule->guest_ports.first + rule->host_ports.first);
}

void rules_match(const struct rules *rules, const struct listener_key *listener, struct rule_verdict *out)
{
	struct rule_address address = rule_address_make(listener->family, listener->address);
	const struct rule *cover = static_cover(rules, listener, &address);

	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->list[i];

		if (cover != NULL && !rule->any_address) {
			*out = (struct rule_verdict){.action = RULE_STATIC,
						     .reason = cover->reverse ? "a reverse rule has this port"
									      : "a static rule has this port"};
			return;
		}
		if (!rule_matches(rule, listener, &address))
			continue;
		if (rule->ignore) {
			if (!rule->any_address && rule_address_is_unspecified(&address) &&
			    !rule_address_is_unspecified(&rule->guest))
				continue;
			*out = (struct rule_verdict){
				.action = RULE_IGNORE, .reason = rule->ignored_reason, .by_hand = rule->by_hand};
			return;
		}
		verdict_forward(rule, listener->port, out);
		return;
	}
	*out = (struct rule_verdict){.action = RULE_NONE, .reason = "no rule for this address"};
	if (fallback_refuses(listener, &address))
		out->reason = listener->ephemeral ? "a client's port, most likely: only a rule forwards it"
						  : "a port of the guest's own network: only a rule forwards it";
}

static bool never_forwarded(const struct rules *rules, unsigned port)
{
	for (size_t i = 0; i < rules->count && rules->list[i].any_address; i++)
		if (rule_range_has(&rules->list[i].guest_ports, port))
			return true;
	return false;
}

/* Where a rule has its port or socket in the guest, and what it leads to. */
static void static_fill(const struct rule *rule, unsigned port, struct rule_static *out)
{
	*out = (struct rule_static){
		.proto = static_proto(rule), .guest_socket = rule->guest_socket, .guest = rule->guest};
	if (rule->guest_socket == NULL)
		out->guest_port = (uint16_t)port;
	verdict_forward(rule, port, &out->host);
}

/* Of the rule, the first port from `port` on that it has; RULE_PORT_MAX + 1 when there is none. */
static unsigned static_port(const struct rules *rules, const struct rule *rule, unsigned port)
{
	if (port < rule->guest_ports.first)
		port = rule->guest_ports.first;
	while (port <= rule->guest_ports.last && never_forwarded(rules, port))
		port++;
	return port <= rule->guest_ports.last ? port : RULE_PORT_MAX + 1;
}

bool rules_static_next(const struct rules *rules, size_t *cursor, struct rule_static *out)
{
	/* The cursor is the place to go on at: rule * 65536 + port. */
	for (size_t i = *cursor >> 16, port = *cursor & 0xffff; i < rules->count; i++, port = 0) {
		const struct rule *rule = &rules->list[i];

		if (rule->guest_socket != NULL && !rule->reverse && !rule->ignore) {
			static_fill(rule, rule->guest_ports.first, out);
			*cursor = (i + 1) << 16;
			return true;
		}
		if (!rule->is_static)
			continue;
		port = static_port(rules, rule, (unsigned)port);
		if (port > RULE_PORT_MAX)
			continue;
		static_fill(rule, (unsigned)port, out);
		if (rule_address_is_unspecified(&rule->guest))
			out->guest = rule->guest.family == AF_INET ? rule_loopback4 : rule_loopback6;
		*cursor = (i << 16) + port + 1;
		return true;
	}
	return false;
}

bool rules_reverse_next(const struct rules *rules, size_t *cursor, struct rule_static *out)
{
	for (size_t i = *cursor; i < rules->count; i++) {
		if (!rules->list[i].reverse)
			continue;
		static_fill(&rules->list[i], rules->list[i].guest_ports.first, out);
		*cursor = i + 1;
		return true;
	}
	return false;
}
