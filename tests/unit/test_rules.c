/* SPDX-License-Identifier: MIT */
/* The port rules: what each means, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "rules.h"

#define RANGE(a, b)         \
	(struct rule_range) \
	{                   \
		a, b        \
	}

/* A list made of the rules given, ended by one without origin. */
static struct rules *list_of(uint16_t ssh_port, const struct rule_spec *specs)
{
	struct rules *rules = rules_new(ssh_port);
	char why[RULE_WHY_MAX] = "";

	assert_non_null(rules);
	for (; specs != NULL && specs->origin != NULL; specs++)
		if (rules_add(rules, specs, why) != 0)
			fail_msg("%s: %s", specs->origin, why);
	return rules;
}

static struct listener_key listener(const char *address, uint16_t port)
{
	struct listener_key key = {.proto = RULE_PROTO_TCP, .port = port, .family = AF_INET};

	if (strchr(address, ':') != NULL)
		key.family = AF_INET6;
	assert_int_equal(inet_pton(key.family, address, key.address), 1);
	return key;
}

/* The verdict in one string: "127.0.0.1 ::1 :8080", "socket PATH", or the action and its reason. */
static const char *verdict_text(const struct rules *rules, const struct listener_key *key)
{
	static char text[512];
	char address[INET6_ADDRSTRLEN];
	struct rule_verdict verdict;
	size_t n = 0;

	rules_match(rules, key, &verdict);
	if (verdict.action != RULE_FORWARD)
		snprintf(text, sizeof(text), "%s: %s", rule_action_name(verdict.action), verdict.reason);
	else if (verdict.host_socket != NULL)
		snprintf(text, sizeof(text), "socket %s", verdict.host_socket);
	else {
		for (size_t i = 0; i < verdict.host_count; i++) {
			inet_ntop(verdict.host[i].family, verdict.host[i].bytes, address, sizeof(address));
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s ", address);
		}
		snprintf(text + n, sizeof(text) - n, ":%u", verdict.host_port);
	}
	return text;
}

static void expect_proto(const struct rules *rules, enum rule_proto proto, const char *address, uint16_t port,
			 const char *expected)
{
	struct listener_key key = listener(address, port);

	key.proto = proto;
	assert_string_equal(verdict_text(rules, &key), expected);
}

static void expect(const struct rules *rules, const char *address, uint16_t port, const char *expected)
{
	expect_proto(rules, RULE_PROTO_TCP, address, port, expected);
}

#define NONE "none: no rule for this address"

static void the_fallback_answers_on_both_loopbacks_of_the_host(void **state)
{
	struct rules *rules = list_of(0, NULL);

	expect(rules, "127.0.0.1", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "::1", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "0.0.0.0", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "::", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "127.0.0.1", 1, "127.0.0.1 ::1 :1");
	expect(rules, "127.0.0.1", 65535, "127.0.0.1 ::1 :65535");
	rules_free(rules);
}

static void the_fallback_leaves_other_addresses_alone(void **state)
{
	struct rules *rules = list_of(0, NULL);

	expect(rules, "127.0.0.53", 53, NONE);
	expect(rules, "192.168.5.15", 304, NONE);
	expect(rules, "fe80::1", 304, NONE);
	rules_free(rules);
}

static void a_port_that_is_never_forwarded_is_denied_whatever_the_rules_say(void **state)
{
	const struct rule_spec specs[] = {{.origin = "all", .guest_ip = "0.0.0.0"}, {0}};
	struct rules *rules = list_of(22, specs);

	assert_int_equal(rules_never(rules, 60022, "never"), 0);
	expect(rules, "127.0.0.1", 60022, "ignore: never");
	expect(rules, "::", 60022, "ignore: never");
	expect(rules, "0.0.0.0", 60023, "127.0.0.1 :60023");
	expect(rules, "127.0.0.1", 22, "ignore: never forwarded: port 22 of the guest");
	rules_free(rules);
}

static void what_the_session_has_by_itself_covers_its_own_address_alone(void **state)
{
	static const struct rule_spec specs[] = {
		{.origin = "a",
		 .reverse = true,
		 .guest_ip = "127.0.0.153",
		 .guest_port = 53,
		 .service = RULE_SERVICE_RESOLVER},
		{0},
	};
	struct rules *rules = list_of(0, specs);
	struct rule_static s;
	size_t cursor = 0;

	assert_true(rules_reverse_next(rules, &cursor, &s));
	assert_int_equal(s.host.service, RULE_SERVICE_RESOLVER);
	expect(rules, "127.0.0.153", 53, "static: a reverse rule has this port");
	expect(rules, "127.0.0.1", 53, "127.0.0.1 ::1 :53");
	rules_free(rules);
}

static void port_22_and_our_own_port_are_denied_on_every_address_whatever_the_rules_say(void **state)
{
	static const char *const addresses[] = {"0.0.0.0", "::", "127.0.0.1", "::1", "192.168.5.15", "fe80::1"};
	const struct rule_spec specs[] = {
		{.origin = "portForwards[0]", .guest_ip = "::", .host_ip = "0.0.0.0"},
		{.origin = "portForwards[1]", .guest_port = 22, .host_port = 2222, .is_static = true},
		{.origin = "portForwards[2]", .guest_port_range = {2000, 2100}, .is_static = true},
		{0},
	};
	struct rules *rules = list_of(2022, specs);

	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		expect(rules, addresses[i], 22, "ignore: never forwarded: port 22 of the guest");
		expect(rules, addresses[i], 2022, "ignore: never forwarded: homeport's own connection uses it");
	}
	rules_free(rules);
}

static void a_listener_mapped_into_ipv6_is_an_ipv4_listener(void **state)
{
	struct rules *rules = list_of(0, NULL);

	expect(rules, "::ffff:127.0.0.1", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "::ffff:0.0.0.0", 8080, "127.0.0.1 ::1 :8080");
	expect(rules, "::ffff:10.0.0.1", 8080, NONE);
	rules_free(rules);
}

static void the_first_rule_that_matches_decides(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 80, .host_port = 1080},
		{.origin = "b", .guest_port_range = {1, 1000}, .host_port_range = {20001, 21000}},
		{.origin = "c", .guest_port = 80, .host_port = 3080},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.1", 81, "127.0.0.1 :20081");
	expect(rules, "127.0.0.1", 2000, "127.0.0.1 ::1 :2000");
	rules_free(rules);
}

static void a_range_keeps_the_offset_into_it(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port_range = {3000, 3099}, .host_port_range = {13000, 13099}},
		{.origin = "b", .guest_port_range = {65000, 65535}, .host_port_range = {1, 536}},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 2999, "127.0.0.1 ::1 :2999");
	expect(rules, "127.0.0.1", 3000, "127.0.0.1 :13000");
	expect(rules, "::1", 3042, "127.0.0.1 :13042");
	expect(rules, "0.0.0.0", 3099, "127.0.0.1 :13099");
	expect(rules, "127.0.0.1", 3100, "127.0.0.1 ::1 :3100");
	expect(rules, "127.0.0.1", 65535, "127.0.0.1 :536");
	rules_free(rules);
}

static void a_plain_range_rule_leaves_a_bridge_address_alone(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_port_range = {300, 309}}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "192.168.5.15", 304, NONE);
	expect(rules, "127.0.0.1", 304, "127.0.0.1 :304");
	rules_free(rules);
}

static void a_rule_for_127_0_0_1_takes_a_listener_on_every_address_and_on_ipv6_loopback(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_ip = "127.0.0.1", .guest_port = 80, .host_port = 1080},
					  {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	expect(rules, "::", 80, "127.0.0.1 :1080");
	expect(rules, "::1", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.2", 80, NONE);
	rules_free(rules);
}

static void a_rule_for_ipv6_loopback_does_not_take_ipv4_loopback(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_ip = "::1", .guest_port = 80, .host_port = 1080}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "::1", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.1", 80, "127.0.0.1 ::1 :80");
	rules_free(rules);
}

static void a_rule_for_one_address_takes_it_and_unspecified_listeners(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_ip = "127.0.0.2", .guest_port = 80, .host_port = 1080},
					  {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.2", 80, "127.0.0.1 :1080");
	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.1", 80, "127.0.0.1 ::1 :80");
	rules_free(rules);
}

static void guest_ip_of_ipv6_zero_takes_every_interface(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_ip = "::", .guest_port = 304, .host_port = 1304}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "192.168.5.15", 304, "127.0.0.1 :1304");
	expect(rules, "fe80::1", 304, "127.0.0.1 :1304");
	expect(rules, "127.0.0.1", 304, "127.0.0.1 :1304");
	expect(rules, "0.0.0.0", 304, "127.0.0.1 :1304");
	rules_free(rules);
}

static void guest_ip_of_ipv4_zero_takes_only_unspecified_listeners(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_ip = "0.0.0.0", .guest_port = 80, .host_port = 1080},
					  {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	expect(rules, "::", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.1", 80, "127.0.0.1 ::1 :80");
	expect(rules, "192.168.5.15", 80, NONE);
	rules_free(rules);
}

static void must_be_zero_does_not_take_a_listener_on_127_0_0_1(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_ip_must_be_zero = RULE_YES, .guest_port = 80, .host_port = 1080}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "127.0.0.1 ::1 :80");
	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	rules_free(rules);
}

static void zero_that_need_not_be_zero_takes_every_interface(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a",
					   .guest_ip = "0.0.0.0",
					   .guest_ip_must_be_zero = RULE_NO,
					   .guest_port = 80,
					   .host_port = 1080},
					  {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "127.0.0.1 :1080");
	expect(rules, "192.168.5.15", 80, "127.0.0.1 :1080");
	expect(rules, "::1", 80, "127.0.0.1 :1080");
	rules_free(rules);
}

static void ignoring_one_address_cannot_block_an_unspecified_listener(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_ip = "127.0.0.2", .guest_port = 80, .ignore = true},
		{.origin = "b", .guest_port = 80, .host_port = 1080},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.2", 80, "ignore: ignored by a");
	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	expect(rules, "::", 80, "127.0.0.1 :1080");
	rules_free(rules);
}

static void a_plain_ignore_rule_is_for_loopback_and_lets_unspecified_listeners_go_on(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_port = 80, .ignore = true}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "ignore: ignored by a");
	expect(rules, "::1", 80, "ignore: ignored by a");
	expect(rules, "0.0.0.0", 80, "127.0.0.1 ::1 :80");
	rules_free(rules);
}

static void ignoring_zero_that_need_not_be_zero_ends_the_list_for_everything(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 80, .host_port = 1080},
		{.origin = "b", .guest_ip = "0.0.0.0", .guest_ip_must_be_zero = RULE_NO, .ignore = true},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "0.0.0.0", 80, "127.0.0.1 :1080");
	expect(rules, "0.0.0.0", 81, "ignore: ignored by b");
	expect(rules, "::", 81, "ignore: ignored by b");
	expect(rules, "127.0.0.1", 81, "ignore: ignored by b");
	expect(rules, "192.168.5.15", 81, "ignore: ignored by b");
	rules_free(rules);
}

static void host_ip_is_kept_as_written_and_localhost_is_both_loopbacks(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 80, .host_ip = "0.0.0.0"},
		{.origin = "b", .guest_port = 81, .host_ip = "::1"},
		{.origin = "c", .guest_port = 82, .host_ip = "127.0.0.1"},
		{.origin = "d", .guest_port = 83, .host_ip = "localhost"},
		{.origin = "e", .guest_ip = "::1", .guest_port = 84},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "0.0.0.0 :80");
	expect(rules, "127.0.0.1", 81, "::1 :81");
	expect(rules, "::1", 82, "127.0.0.1 :82");
	expect(rules, "127.0.0.1", 83, "127.0.0.1 ::1 :83");
	expect(rules, "::1", 84, "127.0.0.1 :84"); /* never derived from guestIP */
	rules_free(rules);
}

static void a_rule_for_the_other_protocol_is_passed_over(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .proto = RULE_PROTO_UDP, .guest_port = 80, .host_port = 1080},
		{.origin = "b", .proto = RULE_PROTO_TCP, .guest_port = 81, .host_port = 1081},
		{.origin = "c", .guest_port = 82, .host_port = 1082},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "127.0.0.1 ::1 :80");
	expect_proto(rules, RULE_PROTO_UDP, "127.0.0.1", 80, "127.0.0.1 :1080");
	expect(rules, "127.0.0.1", 81, "127.0.0.1 :1081");
	expect_proto(rules, RULE_PROTO_UDP, "127.0.0.1", 81, "127.0.0.1 ::1 :81");
	expect_proto(rules, RULE_PROTO_UDP, "127.0.0.1", 82, "127.0.0.1 :1082");
	rules_free(rules);
}

#define GUESTS_OWN "none: a port of the guest's own network: only a rule forwards it"

static void udp_that_is_no_server_needs_a_rule_of_its_own(void **state)
{
	static const uint16_t reserved[] = {67, 68, 123, 323, 546, 547, 5353, 5355};
	const struct rule_spec explicit[] = {{.origin = "a", .proto = RULE_PROTO_UDP}, {0}};
	struct rules *fallback = list_of(0, NULL), *written = list_of(0, explicit);
	struct listener_key client = listener("0.0.0.0", 40000);

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		char expected[64];

		snprintf(expected, sizeof(expected), "127.0.0.1 :%u", reserved[i]);
		expect_proto(fallback, RULE_PROTO_UDP, "0.0.0.0", reserved[i], GUESTS_OWN);
		expect_proto(written, RULE_PROTO_UDP, "0.0.0.0", reserved[i], expected);
		snprintf(expected, sizeof(expected), "127.0.0.1 ::1 :%u", reserved[i]);
		expect(fallback, "0.0.0.0", reserved[i], expected); /* TCP is not meant */
	}
	expect_proto(fallback, RULE_PROTO_UDP, "127.0.0.1", 53, GUESTS_OWN);
	expect_proto(fallback, RULE_PROTO_UDP, "0.0.0.0", 53, "127.0.0.1 ::1 :53");
	client.proto = RULE_PROTO_UDP;
	client.ephemeral = true;
	assert_string_equal(verdict_text(fallback, &client),
			    "none: a client's port, most likely: only a rule forwards it");
	assert_string_equal(verdict_text(written, &client), "127.0.0.1 :40000");
	rules_free(fallback);
	rules_free(written);
}

static void a_static_rule_keeps_its_ports_from_the_listeners(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 80, .host_port = 1080},
		{.origin = "b", .guest_port_range = {80, 82}, .host_port_range = {2080, 2082}, .is_static = true},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 80, "static: a static rule has this port");
	expect(rules, "192.168.5.15", 82, "static: a static rule has this port");
	expect(rules, "127.0.0.1", 83, "127.0.0.1 ::1 :83");
	expect_proto(rules, RULE_PROTO_UDP, "127.0.0.1", 82, "127.0.0.1 ::1 :82"); /* static is TCP */
	rules_free(rules);
}

static void static_ports_are_walked_without_the_denied_ones(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port_range = {21, 23}, .host_port_range = {2021, 2023}, .is_static = true},
		{.origin = "b", .guest_port = 80},
		{.origin = "c", .guest_ip = "::", .guest_port = 65535, .host_ip = "localhost", .is_static = true},
		{.origin = "d", .guest_ip = "10.0.0.1", .guest_port = 1, .host_port = 9, .is_static = true},
		{.origin = "e", .guest_port = 22, .is_static = true},
		{.origin = "f", .guest_port = 7, .proto = RULE_PROTO_UDP, .is_static = true},
		{0},
	};
	static const char *const expected[] = {"127.0.0.1:21 -> 2021 x1", "127.0.0.1:23 -> 2023 x1",
					       "::1:65535 -> 65535 x2", "10.0.0.1:1 -> 9 x1", "127.0.0.1:7 -> 7 x1"};
	struct rules *rules = list_of(0, specs);
	struct rule_static port;
	size_t cursor = 0, n = 0;

	while (rules_static_next(rules, &cursor, &port)) {
		char address[INET6_ADDRSTRLEN], text[128];

		inet_ntop(port.guest.family, port.guest.bytes, address, sizeof(address));
		snprintf(text, sizeof(text), "%s:%u -> %u x%zu", address, port.guest_port, port.host.host_port,
			 port.host.host_count);
		assert_true(n < 5);
		assert_int_equal(port.proto, n == 4 ? RULE_PROTO_UDP : RULE_PROTO_TCP);
		assert_string_equal(text, expected[n++]);
	}
	assert_int_equal(n, 5);
	rules_free(rules);
}

static const char *static_text(const struct rule_static *s, char text[256])
{
	char guest[64], host[64];

	inet_ntop(s->guest.family, s->guest.bytes, guest, sizeof(guest));
	inet_ntop(s->host.host[0].family ? s->host.host[0].family : AF_INET, s->host.host[0].bytes, host, sizeof(host));
	snprintf(text, 256, "%s:%u -> %s:%u x%zu, %s", s->guest_socket ? s->guest_socket : guest, s->guest_port,
		 s->host.host_socket ? s->host.host_socket : host, s->host.host_port, s->host.host_count,
		 s->host.reason);
	return text;
}

static void sockets_of_the_guest_are_there_from_start_to_end(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_socket = "/run/docker.sock", .host_socket = "docker.sock"},
		{.origin = "b", .guest_port_range = {80, 81}, .host_port_range = {80, 81}, .is_static = true},
		{.origin = "c", .guest_socket = "{{.Home}}/x.sock", .host_port = 2375, .host_ip = "localhost"},
		{.origin = "d", .guest_socket = "/not", .ignore = true},
		{.origin = "e", .guest_socket = "/listens/here", .host_port = 1, .reverse = true},
		{.origin = "f", .guest_port = 5432, .host_socket = "pg.sock", .is_static = true},
		{0},
	};
	static const char *const expected[] = {
		"/run/docker.sock:0 -> docker.sock:0 x0, a", "127.0.0.1:80 -> 127.0.0.1:80 x1, b",
		"127.0.0.1:81 -> 127.0.0.1:81 x1, b",        "{{.Home}}/x.sock:0 -> 127.0.0.1:2375 x2, c",
		"127.0.0.1:5432 -> pg.sock:0 x0, f",
	};
	struct rules *rules = list_of(0, specs);
	struct rule_static s;
	size_t cursor = 0;
	char text[256];

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_true(rules_static_next(rules, &cursor, &s));
		assert_string_equal(static_text(&s, text), expected[i]);
	}
	assert_false(rules_static_next(rules, &cursor, &s));
	rules_free(rules);
}

static void a_reverse_rule_listens_in_the_guest_and_keeps_its_port_from_being_forwarded(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 5432, .reverse = true},
		{.origin = "b", .host_port = 6379, .host_ip = "localhost", .reverse = true},
		{.origin = "c", .guest_port = 80, .host_port = 8080, .guest_ip = "0.0.0.0", .reverse = true},
		{.origin = "d", .guest_port = 81, .host_socket = "a.sock", .reverse = true},
		{.origin = "e", .guest_socket = "/run/a.sock", .host_socket = "/b", .reverse = true},
		{.origin = "f", .guest_socket = "/run/b.sock", .host_port = 22, .reverse = true},
		{.origin = "g", .guest_port = 53, .reverse = true, .proto = RULE_PROTO_UDP},
		{.origin = "h", .guest_port = 90},
		{0},
	};
	static const char *const expected[] = {
		"127.0.0.1:5432 -> 127.0.0.1:5432 x1, a",
		"127.0.0.1:6379 -> 127.0.0.1:6379 x2, b",
		"0.0.0.0:80 -> 127.0.0.1:8080 x1, c",
		"127.0.0.1:81 -> a.sock:0 x0, d",
		"/run/a.sock:0 -> /b:0 x0, e",
		"/run/b.sock:0 -> 127.0.0.1:22 x1, f",
		"127.0.0.1:53 -> 127.0.0.1:53 x1, g",
	};
	struct rules *rules = list_of(0, specs);
	struct listener_key key = listener("127.0.0.1", 53);
	struct rule_static s;
	size_t cursor = 0;
	char text[256];

	key.proto = RULE_PROTO_UDP;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_true(rules_reverse_next(rules, &cursor, &s));
		assert_string_equal(static_text(&s, text), expected[i]);
		assert_int_equal(s.proto, s.guest_port == 53 ? RULE_PROTO_UDP : RULE_PROTO_TCP);
	}
	assert_false(rules_reverse_next(rules, &cursor, &s));
	expect(rules, "127.0.0.1", 5432, "static: a reverse rule has this port");
	expect(rules, "127.0.0.1", 81, "static: a reverse rule has this port");
	expect(rules, "127.0.0.1", 90, "127.0.0.1 :90");
	expect(rules, "127.0.0.1", 53, "127.0.0.1 ::1 :53");
	key.port = 53;
	assert_string_equal(verdict_text(rules, &key), "static: a reverse rule has this port");
	key.port = 5432;
	assert_string_equal(verdict_text(rules, &key), "127.0.0.1 ::1 :5432");
	expect(rules, "127.0.0.1", 22, "ignore: never forwarded: port 22 of the guest");
	rules_free(rules);
}

static void a_rule_with_a_guest_socket_takes_no_port(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_socket = "/run/docker.sock", .host_socket = "docker.sock"},
		{.origin = "b", .guest_socket = "{{.Home}}/x.sock", .host_port = 2375},
		{0},
	};
	struct rules *rules = list_of(0, specs);

	expect(rules, "127.0.0.1", 2375, "127.0.0.1 ::1 :2375");
	rules_free(rules);
}

static void a_host_socket_answers_for_one_guest_port(void **state)
{
	const struct rule_spec specs[] = {{.origin = "a", .guest_port = 5432, .host_socket = "{{.Dir}}/pg.sock"}, {0}};
	struct rules *rules = list_of(0, specs);

	expect(rules, "0.0.0.0", 5432, "socket {{.Dir}}/pg.sock");
	expect_proto(rules, RULE_PROTO_UDP, "127.0.0.1", 5432, "127.0.0.1 ::1 :5432"); /* no datagrams into a stream */
	rules_free(rules);
}

static void a_rule_may_say_who_listens_and_what_is_not_known_never_matches(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .process = "^python3?$", .host_ip = "0.0.0.0"},
		{.origin = "b", .user = "postgres", .ignore = true},
		{.origin = "c", .unit = "nginx.service", .ignore = true},
		{.origin = "d", .unit = "redis", .ignore = true},
		{0},
	};
	struct rules *rules = list_of(0, specs);
	struct listener_key key = listener("127.0.0.1", 80);

	assert_string_equal(verdict_text(rules, &key), "127.0.0.1 ::1 :80");
	key.process = "python";
	assert_string_equal(verdict_text(rules, &key), "0.0.0.0 :80");
	key.process = "python33";
	assert_string_equal(verdict_text(rules, &key), "127.0.0.1 ::1 :80");
	key.user = "postgres";
	assert_string_equal(verdict_text(rules, &key), "ignore: ignored by b");
	key.user = "Postgres";
	key.unit = "nginx.service";
	assert_string_equal(verdict_text(rules, &key), "ignore: ignored by c");
	key.unit = "redis.service"; /* as systemctl takes it */
	assert_string_equal(verdict_text(rules, &key), "ignore: ignored by d");
	key.unit = "redis.socket";
	assert_string_equal(verdict_text(rules, &key), "127.0.0.1 ::1 :80");
	rules_free(rules);
}

static void every_mistake_in_a_rule_is_one_sentence_that_names_the_field(void **state)
{
	static char long_path[] = "/1234567890123456789012345678901234567890123456789012345678901234567890"
				  "123456789012345678901234567890123456";
	const struct {
		struct rule_spec spec;
		const char *why;
	} rows[] = {
		{{.guest_ip = "localhost"}, "guestIP: \"localhost\" is not an IP address"},
		{{.guest_ip = "fe80::1%eth0"}, "guestIP: \"fe80::1%eth0\" is not an IP address"},
		{{.guest_ip = ""}, "guestIP: \"\" is not an IP address"},
		{{.host_ip = "myhost"}, "hostIP: \"myhost\" is neither an IP address nor localhost"},
		{{.guest_ip = "127.0.0.1", .guest_ip_must_be_zero = RULE_YES},
		 "guestIPMustBeZero: true goes only with guestIP 0.0.0.0, not with 127.0.0.1"},
		{{.guest_ip = "::", .guest_ip_must_be_zero = RULE_YES},
		 "guestIPMustBeZero: true goes only with guestIP 0.0.0.0, not with ::"},
		{{.guest_port = 65536}, "guestPort: 65536 is not a port; write 1 to 65535"},
		{{.host_port = 70000, .guest_port = 1}, "hostPort: 70000 is not a port; write 1 to 65535"},
		{{.guest_port_range = RANGE(0, 10)}, "guestPortRange: [0, 10] has a port outside 1 to 65535"},
		{{.guest_port_range = RANGE(9, 65536)}, "guestPortRange: [9, 65536] has a port outside 1 to 65535"},
		{{.guest_port_range = RANGE(10, 9)}, "guestPortRange: [10, 9] ends before it starts; swap the two"},
		{{.guest_port = 8, .guest_port_range = RANGE(9, 10)},
		 "guestPort: 8 is not the start of guestPortRange; remove one of the two"},
		{{.guest_port_range = RANGE(1, 10), .host_port_range = RANGE(1, 9)},
		 "hostPortRange: 9 ports cannot stand for the guest's 10; make both as long"},
		{{.host_port = 80}, "hostPortRange: 1 ports cannot stand for the guest's 65535; make both as long"},
		{{.host_socket = "a"}, "hostSocket: needs one guestPort or a guestSocket, not a range of ports"},
		{{.host_socket = "a", .guest_port = 1, .host_port = 2},
		 "hostSocket: is one end and hostPort another; remove one of the two"},
		{{.guest_socket = "/a"}, "guestSocket: needs one hostPort or a hostSocket, not a range of ports"},
		{{.guest_socket = "/a", .host_port_range = RANGE(1, 2)},
		 "guestSocket: needs one hostPort or a hostSocket, not a range of ports"},
		{{.guest_socket = "/a", .guest_port = 1, .host_socket = "b"},
		 "guestSocket: is one end and guestPort another; remove one of the two"},
		{{.guest_socket = "a", .host_socket = "b"}, "guestSocket: \"a\" is not an absolute path"},
		{{.guest_socket = "{{.User}}/a", .host_socket = "b"},
		 "guestSocket: \"{{.User}}/a\" is not an absolute path"},
		{{.guest_socket = "/a", .host_socket = "b", .proto = RULE_PROTO_UDP},
		 "guestSocket: carries no datagrams; remove it or proto: udp"},
		{{.guest_port = 53, .host_socket = "b", .proto = RULE_PROTO_UDP},
		 "hostSocket: carries no datagrams; remove it or proto: udp"},
		{{.guest_socket = "/a", .host_socket = "b", .process = "x"},
		 "guestSocket: is there before anything listens, so it cannot ask who listens"},
		{{.guest_port = 1, .reverse = true, .ignore = true},
		 "reverse: goes not with ignore; remove one of the two"},
		{{.guest_port = 1, .reverse = true, .is_static = true},
		 "reverse: goes not with static; remove one of the two"},
		{{.guest_port = 1, .reverse = true, .user = "x"},
		 "reverse: listens itself, so it cannot ask who listens in the guest"},
		{{.guest_port = 1, .reverse = true, .guest_ip_must_be_zero = RULE_YES},
		 "reverse: listens at guestIP; remove guestIPMustBeZero"},
		{{.reverse = true}, "reverse: needs a guestPort or a guestSocket to listen at"},
		{{.reverse = true, .host_socket = "a"}, "reverse: needs a guestPort or a guestSocket to listen at"},
		{{.reverse = true, .guest_port_range = RANGE(1, 2)},
		 "reverse: needs one port or socket at each end, not a range of ports"},
		{{.reverse = true, .guest_port = 1, .host_port_range = RANGE(1, 2)},
		 "reverse: needs one port or socket at each end, not a range of ports"},
		{{.guest_socket = "", .host_socket = "b"}, "guestSocket: is empty; write the path of a socket"},
		{{.guest_socket = "/{{.Nme}}", .host_socket = "b"},
		 "guestSocket: unknown template at \"{{.Nme}}\"; there are {{.Home}}, {{.User}}, {{.UID}}, {{.Name}} "
		 "and {{.Dir}}"},
		{{.guest_socket = "/{{.Dir", .host_socket = "b"},
		 "guestSocket: unknown template at \"{{.Dir\"; there are {{.Home}}, {{.User}}, {{.UID}}, {{.Name}} "
		 "and {{.Dir}}"},
		{{.guest_socket = long_path, .host_socket = "b"},
		 "guestSocket: the path is longer than 107 bytes, which no socket's can be"},
		{{.is_static = true}, "static: needs a guestPort or a guestPortRange"},
		{{.is_static = true, .guest_port = 1, .ignore = true},
		 "static: goes not with ignore; remove one of the two"},
		{{.is_static = true, .guest_port = 1, .process = "x"},
		 "static: is there before anything listens, so it cannot ask who listens"},
		{{.process = "("}, "process: \"(\" is not a regular expression: Unmatched ( or \\("},
		{{.process = "a{9}"}, "process: counts in braces are not supported; repeat the part instead"},
		{{.process = "(a)\\1"}, "process: back-references such as \\1 are not supported"},
	};

	assert_int_equal(strlen(long_path), 107);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char why[RULE_WHY_MAX] = "", longer[200];
		struct rule_spec spec = rows[i].spec;

		if (spec.guest_socket == long_path) {
			assert_int_equal(rules_check(&spec, why), 0);
			snprintf(longer, sizeof(longer), "%sx", long_path);
			spec.guest_socket = longer;
		}
		assert_int_equal(rules_check(&spec, why), -EINVAL);
		assert_string_equal(why, rows[i].why);
	}
}

static void an_escaped_backslash_before_a_digit_is_no_back_reference(void **state)
{
	const struct rule_spec spec = {.process = "a\\\\1"};
	char why[RULE_WHY_MAX];

	assert_int_equal(rules_check(&spec, why), 0);
}

static void the_number_of_rules_is_bounded(void **state)
{
	const struct rule_spec spec = {.origin = "a", .guest_port = 80};
	struct rules *rules = rules_new(0);
	char why[RULE_WHY_MAX] = "";
	size_t added = 0;
	int r;

	while ((r = rules_add(rules, &spec, why)) == 0)
		added++;
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(added, RULES_MAX);
	assert_string_equal(why, "there are more than 1024 rules");
	rules_free(rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_fallback_answers_on_both_loopbacks_of_the_host),
		cmocka_unit_test(the_fallback_leaves_other_addresses_alone),
		cmocka_unit_test(port_22_and_our_own_port_are_denied_on_every_address_whatever_the_rules_say),
		cmocka_unit_test(a_listener_mapped_into_ipv6_is_an_ipv4_listener),
		cmocka_unit_test(the_first_rule_that_matches_decides),
		cmocka_unit_test(a_range_keeps_the_offset_into_it),
		cmocka_unit_test(a_plain_range_rule_leaves_a_bridge_address_alone),
		cmocka_unit_test(a_rule_for_127_0_0_1_takes_a_listener_on_every_address_and_on_ipv6_loopback),
		cmocka_unit_test(a_rule_for_ipv6_loopback_does_not_take_ipv4_loopback),
		cmocka_unit_test(a_rule_for_one_address_takes_it_and_unspecified_listeners),
		cmocka_unit_test(guest_ip_of_ipv6_zero_takes_every_interface),
		cmocka_unit_test(guest_ip_of_ipv4_zero_takes_only_unspecified_listeners),
		cmocka_unit_test(must_be_zero_does_not_take_a_listener_on_127_0_0_1),
		cmocka_unit_test(zero_that_need_not_be_zero_takes_every_interface),
		cmocka_unit_test(ignoring_one_address_cannot_block_an_unspecified_listener),
		cmocka_unit_test(a_plain_ignore_rule_is_for_loopback_and_lets_unspecified_listeners_go_on),
		cmocka_unit_test(ignoring_zero_that_need_not_be_zero_ends_the_list_for_everything),
		cmocka_unit_test(host_ip_is_kept_as_written_and_localhost_is_both_loopbacks),
		cmocka_unit_test(a_rule_for_the_other_protocol_is_passed_over),
		cmocka_unit_test(udp_that_is_no_server_needs_a_rule_of_its_own),
		cmocka_unit_test(a_static_rule_keeps_its_ports_from_the_listeners),
		cmocka_unit_test(static_ports_are_walked_without_the_denied_ones),
		cmocka_unit_test(sockets_of_the_guest_are_there_from_start_to_end),
		cmocka_unit_test(a_reverse_rule_listens_in_the_guest_and_keeps_its_port_from_being_forwarded),
		cmocka_unit_test(what_the_session_has_by_itself_covers_its_own_address_alone),
		cmocka_unit_test(a_rule_with_a_guest_socket_takes_no_port),
		cmocka_unit_test(a_host_socket_answers_for_one_guest_port),
		cmocka_unit_test(a_rule_may_say_who_listens_and_what_is_not_known_never_matches),
		cmocka_unit_test(every_mistake_in_a_rule_is_one_sentence_that_names_the_field),
		cmocka_unit_test(an_escaped_backslash_before_a_digit_is_no_back_reference),
		cmocka_unit_test(a_port_that_is_never_forwarded_is_denied_whatever_the_rules_say),
		cmocka_unit_test(the_number_of_rules_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
