/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_RULES_H
#define HOMEPORT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The port rules: which listener of the guest answers where on the host, or why it does not.
 *
 * The list is what a Lima user's portForwards means: first two rules of our own (the guest's port 22 and the port our
 * ssh connection uses are never forwarded, on any address), then the rules added in order, then a fallback with all
 * defaults. The first rule that matches decides. Pure: no descriptor, no clock.
 */

#define RULES_MAX        1024 /* rules of one file; a list is walked once for each new listener, never for a byte */
#define RULE_WHY_MAX     256  /* the longest sentence rules_add writes */
#define RULE_PATTERN_MAX 256  /* bytes of `process`; the pattern is compiled by regcomp, whose cost grows with it */
#define RULE_PATH_MAX    107  /* sun_path without its NUL: the longest name a unix socket can have */

enum rule_proto {
	RULE_PROTO_ANY,
	RULE_PROTO_TCP,
	RULE_PROTO_UDP,
};

/* A boolean that may not have been written, and whose default depends on other fields. */
enum rule_choice {
	RULE_UNSET,
	RULE_NO,
	RULE_YES,
};

/* What the session itself has in the guest, by reverse rules of its own. */
enum rule_service {
	RULE_SERVICE_NONE,
	RULE_SERVICE_PROXY,    /* a proxy of the host's: guest_env.h */
	RULE_SERVICE_RESOLVER, /* its name servers: resolver.h. The rule's host is not looked at */
	RULE_SERVICE_SSH_AGENT,
	RULE_SERVICES,
};

/* Two port numbers, both included; 0 and 0 means not written. */
struct rule_range {
	unsigned first;
	unsigned last;
};

/*
 * A rule as its author wrote it: NULL, 0 and RULE_UNSET are fields not written. The strings belong to whoever filled
 * the struct in; rules_add copies what it keeps.
 */
struct rule_spec {
	const char *origin; /* how messages name the rule: "portForwards[2]", "--port-forward 8080:80" */
	enum rule_proto proto;
	enum rule_choice guest_ip_must_be_zero;
	const char *guest_ip;
	const char *host_ip; /* an address, or "localhost" for both 127.0.0.1 and ::1 */
	unsigned guest_port;
	struct rule_range guest_port_range;
	unsigned host_port;
	struct rule_range host_port_range;
	const char *guest_socket;
	const char *host_socket;
	const char *process; /* POSIX extended regular expression, found anywhere in the name */
	const char *user;
	const char *unit;
	bool self_only; /* who connects on the host is to be the agent's user */
	bool reverse;   /* a service of the host's answers in the guest */
	bool ignore;
	bool is_static;
	bool by_hand;              /* of a command, not of the configuration */
	enum rule_service service; /* NONE: a person's */
};

/* An IP address: 4 or 16 bytes in network order. An IPv4 address mapped into IPv6 is never stored, it is IPv4. */
struct rule_address {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
};

/*
 * What listens in the guest. process, user and unit are NULL where they are not known, and what is not known never
 * matches a rule that asks for it. The scope id says where to dial; like Lima's, no rule looks at it.
 */
struct listener_key {
	enum rule_proto proto; /* RULE_PROTO_TCP or RULE_PROTO_UDP */
	int family;            /* AF_INET or AF_INET6 */
	uint8_t address[16];
	uint32_t scope_id;
	uint16_t port;
	bool ephemeral; /* UDP: bound inside the guest's ephemeral range, so most likely a client's socket */
	const char *process;
	const char *user;
	const char *unit;
};

enum rule_action {
	RULE_NONE,    /* no rule matches: not forwarded */
	RULE_IGNORE,  /* a rule says so: not forwarded */
	RULE_STATIC,  /* a static or reverse rule has the port, whether or not anything listens */
	RULE_FORWARD, /* to host[0..host_count) at host_port, or to host_socket */
	RULE_ACTIONS
};

/* The strings belong to the rules and live as long as they do. */
struct rule_verdict {
	enum rule_action action;
	const char *reason; /* never NULL: a phrase for status, such as "ignored by portForwards[0]" */
	struct rule_address host[2];
	size_t host_count; /* 1 or 2; 0 with host_socket and where nothing is forwarded */
	uint16_t host_port;
	bool self_only;          /* connections of other users of the host are reset */
	const char *host_socket; /* NULL, or the path as written, its {{…}} unexpanded */
	bool by_hand;            /* the rule is */
	enum rule_service service;
};

/* What a rule has from start to end: a port of a static rule, a socket of the guest's, or one end each in reverse. */
struct rule_static {
	const char *guest_socket;  /* NULL, or the path as written, its {{…}} unexpanded; then there is no port */
	enum rule_proto proto;     /* RULE_PROTO_TCP or RULE_PROTO_UDP; of a socket TCP */
	struct rule_address guest; /* where to dial in the guest: never unspecified; in reverse where to listen */
	uint16_t guest_port;
	struct rule_verdict host; /* action RULE_FORWARD; in reverse where to connect to */
};

struct rules;

/*
 * A list with the two rules of our own and the fallback. ssh_guest_port is the guest's port our ssh connection uses, 0
 * where that is not known. NULL when there is no memory.
 */
struct rules *rules_new(uint16_t ssh_guest_port);

/* One more rule of our own: never forwards this port of the guest, on any address. -ENOMEM. */
int rules_never(struct rules *rules, uint16_t guest_port, const char *reason);

/* Frees the list and everything verdicts point to. NULL is fine. */
void rules_free(struct rules *rules);

/*
 * Checks a rule without adding it. 0, or -EINVAL with a sentence in `why` (of RULE_WHY_MAX bytes) that names the field,
 * or -ENOMEM.
 */
int rules_check(const struct rule_spec *spec, char *why);

/*
 * Adds a rule before the fallback and after those already added. Errors as rules_check, and -ENOSPC (with a sentence)
 * beyond RULES_MAX; the list is then as before.
 */
int rules_add(struct rules *rules, const struct rule_spec *spec, char *why);

/* Decides one listener. Always fills `out`. */
void rules_match(const struct rules *rules, const struct listener_key *listener, struct rule_verdict *out);

/*
 * Walks the ports of the static rules and the sockets of the guest's: start with *cursor 0, and call until it returns
 * false. Ports that are never forwarded are left out.
 */
bool rules_static_next(const struct rules *rules, size_t *cursor, struct rule_static *out);

/* Walks the reverse rules, in the same way. */
bool rules_reverse_next(const struct rules *rules, size_t *cursor, struct rule_static *out);

/*
 * Reads an IPv4 or IPv6 address (no scope, no brackets; ::ffff:1.2.3.4 becomes 1.2.3.4). False, with `out` untouched,
 * if it is not one.
 */
bool rule_address_parse(const char *text, struct rule_address *out);

/* What status calls it: "proxy"; NULL for none. */
const char *rule_service_name(enum rule_service service);

/* The action's name, for logs: "none", "ignore", "static", "forward". */
const char *rule_action_name(enum rule_action action);

#endif
