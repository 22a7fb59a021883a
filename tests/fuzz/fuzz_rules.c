/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the port rules. The input is lines of "field=value" that make rules up, a line "-" ends a rule, and the lines
 * after "?" are listeners: "t 127.0.0.1 80 process user". What must hold for each verdict is checked here.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rules.h"

#define OWN_PORT 2022

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

/* Sets one field from "field=value"; what is no field is passed over. */
static void spec_set(struct rule_spec *spec, const char *line)
{
	const struct {
		const char *key;
		const char **text;
		unsigned *number;
	} fields[] = {
		{"gip=", &spec->guest_ip, NULL},
		{"hip=", &spec->host_ip, NULL},
		{"gs=", &spec->guest_socket, NULL},
		{"hs=", &spec->host_socket, NULL},
		{"process=", &spec->process, NULL},
		{"user=", &spec->user, NULL},
		{"unit=", &spec->unit, NULL},
		{"gp=", NULL, &spec->guest_port},
		{"hp=", NULL, &spec->host_port},
		{"gf=", NULL, &spec->guest_port_range.first},
		{"gl=", NULL, &spec->guest_port_range.last},
		{"hf=", NULL, &spec->host_port_range.first},
		{"hl=", NULL, &spec->host_port_range.last},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (strncmp(line, fields[i].key, strlen(fields[i].key)) != 0)
			continue;
		line += strlen(fields[i].key);
		if (fields[i].text != NULL)
			*fields[i].text = line;
		else
			*fields[i].number = (unsigned)strtoul(line, NULL, 10);
		return;
	}
	spec->ignore |= strcmp(line, "ignore") == 0;
	spec->is_static |= strcmp(line, "static") == 0;
	spec->reverse |= strcmp(line, "reverse") == 0;
	spec->proto = strcmp(line, "udp") == 0   ? RULE_PROTO_UDP
		      : strcmp(line, "tcp") == 0 ? RULE_PROTO_TCP
						 : spec->proto;
	if (strncmp(line, "zero", 4) == 0)
		spec->guest_ip_must_be_zero = line[4] == 'n' ? RULE_NO : RULE_YES;
}

static void check_host(const struct rule_verdict *verdict)
{
	must(verdict->action == RULE_FORWARD);
	if (verdict->host_socket != NULL) {
		must(verdict->host_count == 0 && verdict->host_socket[0] != '\0');
		return;
	}
	must(verdict->host_count >= 1 && verdict->host_count <= 2 && verdict->host_port != 0);
	for (size_t i = 0; i < verdict->host_count; i++)
		must(verdict->host[i].family == AF_INET || verdict->host[i].family == AF_INET6);
}

static void check_listener(const struct rules *rules, const char *line)
{
	struct listener_key key = {.family = AF_INET};
	struct rule_verdict verdict;
	char address[64], process[64] = "", user[64] = "";
	unsigned port;
	char proto;

	if (sscanf(line, "%c %63s %u %63s %63s", &proto, address, &port, process, user) < 3)
		return;
	if (inet_pton(AF_INET, address, key.address) != 1) {
		key.family = AF_INET6;
		if (inet_pton(AF_INET6, address, key.address) != 1)
			return;
	}
	key.proto = proto == 'u' || proto == 'e' ? RULE_PROTO_UDP : RULE_PROTO_TCP;
	key.ephemeral = proto == 'e';
	key.port = (uint16_t)(port != 0 ? port : 1);
	key.process = process[0] != '\0' ? process : NULL;
	key.user = user[0] != '\0' ? user : NULL;
	rules_match(rules, &key, &verdict);
	must(verdict.reason != NULL && verdict.action < RULE_ACTIONS);
	if (verdict.action == RULE_FORWARD)
		check_host(&verdict);
	else
		must(verdict.host_count == 0 && verdict.host_socket == NULL);
	if (key.port == 22 || key.port == OWN_PORT)
		must(verdict.action == RULE_IGNORE);
}

static void check_static(const struct rules *rules)
{
	struct rule_static port;
	size_t cursor = 0, before = 0, n = 0;

	while (n++ < 70000 && rules_static_next(rules, &cursor, &port)) {
		must(cursor > before);
		before = cursor;
		check_host(&port.host);
		if (port.guest_socket != NULL)
			must(port.guest_port == 0 && port.guest_socket[0] != '\0');
		else
			must(port.guest_port != 0 && port.guest_port != 22 && port.guest_port != OWN_PORT);
		must(port.host.host_port == 0 || port.host.host_socket == NULL);
	}
}

static void check_reverse(const struct rules *rules)
{
	struct rule_static at;
	size_t cursor = 0, n = 0;

	while (rules_reverse_next(rules, &cursor, &at)) {
		check_host(&at.host);
		must((at.guest_socket != NULL) == (at.guest_port == 0));
		must(at.proto == RULE_PROTO_TCP || at.proto == RULE_PROTO_UDP);
		must(at.proto == RULE_PROTO_TCP || (at.guest_socket == NULL && at.host.host_socket == NULL));
		must(++n <= RULES_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rules *rules = rules_new(OWN_PORT);
	struct rule_spec spec = {.origin = "a rule"};
	char *text, *rest, *line, why[RULE_WHY_MAX];
	int asking = 0;

	text = malloc(size + 1);
	must(rules != NULL && text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (asking) {
			check_listener(rules, line);
		} else if (strcmp(line, "-") == 0 || strcmp(line, "?") == 0) {
			why[0] = '\0';
			must(rules_add(rules, &spec, why) == 0 || why[0] != '\0');
			spec = (struct rule_spec){.origin = "a rule"};
			asking = line[0] == '?';
		} else {
			spec_set(&spec, line);
		}
	}
	check_static(rules);
	check_reverse(rules);
	rules_free(rules);
	free(text);
	return 0;
}
