/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_RULE_H
#define HOMEPORT_RULE_H

#include <regex.h>

#include "rules.h"

/*
 * One rule with its defaults filled in: what rules.c keeps and walks. Nobody else needs this header.
 */

#define RULE_PORT_MAX 65535

struct rule {
	char *ignored_reason;
	char *forward_reason;
	enum rule_proto proto;
	struct rule_address guest;
	struct rule_range guest_ports;
	struct rule_address host[2];
	size_t host_count;
	struct rule_range host_ports;
	char *guest_socket;
	char *host_socket;
	char *user;
	char *unit;
	bool has_process;
	regex_t process;
	bool must_be_zero;
	bool any_address; /* our own rules: every address of the guest, no exception */
	bool fallback;
	bool self_only;
	bool ignore;
	bool is_static;
	bool by_hand;
	bool reverse;
	enum rule_service service;
};

extern const struct rule_address rule_loopback4; /* 127.0.0.1 */
extern const struct rule_address rule_loopback6; /* ::1 */

/*
 * Checks what was written and fills in the defaults. 0, and rule_clear frees what it holds; or -EINVAL with a sentence
 * in `why` (of RULE_WHY_MAX bytes), or -ENOMEM, and nothing is held.
 */
int rule_fill(struct rule *rule, const struct rule_spec *spec, char *why);

/* Frees what a rule holds and zeroes it. */
void rule_clear(struct rule *rule);

/* Whether `port` lies in the range. */
bool rule_range_has(const struct rule_range *range, unsigned port);

/* An address out of 4 or 16 bytes; IPv4 mapped into IPv6 becomes IPv4. */
struct rule_address rule_address_make(int family, const uint8_t bytes[16]);

bool rule_address_equal(const struct rule_address *a, const struct rule_address *b);

/* 0.0.0.0 or :: */
bool rule_address_is_unspecified(const struct rule_address *a);

/* 127.0.0.0/8 or ::1 */
bool rule_address_is_loopback(const struct rule_address *a);

#endif
