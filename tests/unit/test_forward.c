/* SPDX-License-Identifier: MIT */
/* The table of forwards: what the guest reports, what of it answers on the host, and what is shown of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "forward_world.h"
#include "log.h"

static void on_row(void *ctx, const struct forward_info *info)
{
	char *text = ctx;

	sprintf(text + strlen(text), "%s %s", info->guest, forward_state_name(info->state));
	for (size_t i = 0; i < info->host_count; i++)
		sprintf(text + strlen(text), " %s", info->host[i]);
	strcat(text, "\n");
}

/* Rows as lines: "guest state host host". */
static const char *rows(struct world *w)
{
	static char text[1 << 16];

	text[0] = '\0';
	forward_list(w->forward, on_row, text);
	return text;
}

static void a_reported_listener_answers_on_both_loopbacks_until_it_is_gone(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t port = free_port();
	char want[128];

	report(w, 1, GUEST, port);
	snprintf(want, sizeof(want), GUEST ":%u forwarded 127.0.0.1:%u [::1]:%u\n", port, port, port);
	assert_string_equal(rows(w), want);
	assert_true(answers(port, false));
	assert_true(answers(port, true));
	unreport(w, 1);
	assert_string_equal(rows(w), "");
	assert_false(answers(port, false));
	assert_false(answers(port, true));
	unreport(w, 1);
	world_run_ms(w, 10);
	assert_true(w->changes >= 1);
	world_free(w);
}

static void what_maps_to_one_address_is_counted(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t port = free_port();

	report(w, 1, "0.0.0.0", port);
	report(w, 2, "::", port);
	report(w, 3, "0.0.0.0", port); /* a group of SO_REUSEPORT */
	unreport(w, 1);
	assert_true(answers(port, false));
	unreport(w, 2);
	assert_true(answers(port, false));
	assert_true(answers(port, true));
	unreport(w, 3);
	assert_false(answers(port, false));
	world_free(w);
}

/* Its number in the kernel's table of sockets; 0: nothing listens. */
static unsigned long listening_inode(uint16_t port)
{
	char line[512], want[64];
	unsigned long inode = 0;
	FILE *f = fopen("/proc/net/tcp", "r");

	assert_non_null(f);
	snprintf(want, sizeof(want), ": 0100007F:%04X 00000000:0000 0A", port);
	while (!inode && fgets(line, sizeof(line), f))
		if (strstr(line, want))
			sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %lu", &inode);
	fclose(f);
	return inode;
}

/* 0 or a negative errno. Without SO_REUSEADDR, which two programs may share a port by that nobody listens on. */
static int bind_at(const char *ip, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	assert_int_equal(inet_pton(AF_INET, ip, &in.sin_addr), 1);
	error = bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ? -errno : 0;
	close(fd);
	return error;
}

/* As a server does that is started anew: its clients are refused meanwhile, and no other program gets the port. */
static void a_listener_that_is_back_at_once_never_loses_its_host_port(void **state)
{
	struct world *w = world_new(NULL, 1);
	uint16_t port = free_port();
	unsigned long inode;

	(void)state;
	report(w, 1, GUEST, port);
	inode = listening_inode(port);
	assert_true(inode > 0);
	for (unsigned i = 1; i < 10; i++) {
		unreport(w, i);
		assert_string_equal(rows(w), "");
		assert_false(answers(port, false));
		assert_false(answers(port, true));
		assert_int_equal(bind_at("127.0.0.1", port), -EADDRINUSE);
		report(w, i + 1, GUEST, port);
		assert_int_equal(row(w, NULL).info.state, FORWARD_FORWARDED);
		if (i == 5)
			world_run_left(w);
		assert_true(answers(port, false));
		assert_true(answers(port, true));
		assert_int_equal(listening_inode(port), inode);
	}
	unreport(w, 10);
	world_run_left(w);
	assert_int_equal(bind_at("127.0.0.1", port), 0);
	world_free(w);
}

/* However many come and go, what is kept of those that went is bounded. */
static void listeners_that_flap_hold_a_bounded_number_of_ports(void **state)
{
	struct world *w = world_new(NULL, 10);
	unsigned before = open_fds();

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		report(w, i, "0.0.0.0", (uint16_t)(30000 + i));
		unreport(w, i);
		assert_true(open_fds() <= before + ENDPOINT_LEAVES_MAX + 2);
	}
	world_run_left(w);
	assert_int_equal(open_fds(), before);
	world_free(w);
}

static void two_ports_of_the_guest_do_not_share_one_of_the_host(void **state)
{
	uint16_t host = free_port(), a = free_port(), b = free_port();
	struct rule_spec to_host = {.origin = "a", .guest_ip = GUEST, .guest_port = a, .host_port = host};
	struct world *w = world_new(&to_host, 10);
	struct one one;
	char guest[64];

	forward_free(w->forward);
	world_add_rule(w,
		       &(struct rule_spec){.origin = "c", .guest_ip = "127.0.0.3", .guest_port = b, .host_port = host});
	w->forward = forward_new(w->loop, w->rules, &world_names, &(struct forward_limits){10}, &world_events, w);
	report(w, 1, GUEST, a);
	report(w, 2, "127.0.0.3", b);
	snprintf(guest, sizeof(guest), "127.0.0.3:%u", b);
	one = row(w, guest);
	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	assert_non_null(strstr(one.reason, "in use by the forward of the guest's port"));
	unreport(w, 1);
	assert_int_equal(row(w, guest).info.state, FORWARD_FORWARDED);
	assert_true(answers(host, false));
	world_free(w);
}

static void a_listener_the_rules_ignore_is_shown_with_the_reason(void **state)
{
	struct world *w = world_new(NULL, 10);
	struct one one;

	report(w, 1, "0.0.0.0", 22);
	report(w, 2, "192.168.5.15", 304);
	one = row(w, "0.0.0.0:22");
	assert_int_equal(one.info.state, FORWARD_IGNORED);
	assert_true(one.reason[0] != '\0');
	assert_int_equal(row(w, "192.168.5.15:304").info.state, FORWARD_IGNORED);
	world_free(w);
}

static void a_conflict_is_shown_with_its_holder_and_heals_soon_after_the_port_is_free(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t port = free_port();
	char pid[32];
	int fd = listen_at("127.0.0.1", &port);
	struct one one;
	double began;

	assert_true(fd >= 0);
	report(w, 1, GUEST, port);
	assert_int_equal(row(w, NULL).info.state, FORWARD_CONFLICT);
	world_run_ms(w, 500);
	one = row(w, NULL);
	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	snprintf(pid, sizeof(pid), "test_forward (pid %d)", getpid());
	if (!strstr(one.reason, pid))
		fail_msg("%s", one.reason);
	assert_true(answers(port, true)); /* the address that is free is not held back */
	close(fd);
	began = now_ms();
	while (row(w, NULL).info.state != FORWARD_FORWARDED && now_ms() < began + 1000)
		world_run_ms(w, 1);
	print_message("healed in %.0f ms\n", now_ms() - began);
	assert_true(now_ms() - began < 250); /* 50 on a machine that does nothing else */
	assert_true(answers(port, false));
	world_free(w);
}

static void a_wildcard_listener_of_the_host_is_not_stolen_from(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t port = free_port();
	int fd = listen_at("0.0.0.0", &port);

	report(w, 1, GUEST, port);
	assert_int_equal(row(w, NULL).info.state, FORWARD_CONFLICT);
	unreport(w, 1);
	world_run_ms(w, 100);
	close(fd);
	world_free(w);
}

static void a_new_snapshot_closes_only_what_it_does_not_name(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t stays = free_port(), goes = free_port(), comes = free_port();
	unsigned fds;
	int before;

	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	report(w, 1, GUEST, stays);
	report(w, 2, GUEST, goes);
	snapshot(w, CONTROL_PORTS_END, 1);
	before = dial4(stays); /* waits in the listener's queue: gone if that is closed */
	forward_set_mux(w->forward, NULL);
	assert_true(answers(goes, false));
	fds = open_fds();
	snapshot(w, CONTROL_PORTS_BEGIN, 2);
	report(w, 1, GUEST, comes); /* keys mean something else now */
	report(w, 9, GUEST, stays);
	assert_true(answers(goes, false));
	snapshot(w, CONTROL_PORTS_END, 1); /* not of this snapshot */
	assert_true(answers(goes, false));
	snapshot(w, CONTROL_PORTS_END, 2);
	assert_false(answers(goes, false));
	assert_true(answers(comes, false));
	assert_true(answers(stays, false));
	world_run_left(w);
	assert_int_equal(open_fds(), fds);
	assert_int_equal(row(w, NULL).count, 2);
	unreport(w, 9);
	assert_false(answers(stays, false));
	close(before);
	world_free(w);
}

static void static_rules_are_there_from_the_start_to_the_end(void **state)
{
	uint16_t host = free_port(), guest = free_port();
	struct rule_spec rule = {.origin = "s", .guest_port = guest, .host_port = host, .is_static = true};
	struct world *w = world_new(&rule, 10);
	struct one one;

	assert_true(answers(host, false));
	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	report(w, 1, "127.0.0.1", guest);
	snapshot(w, CONTROL_PORTS_END, 1);
	one = row(w, NULL);
	assert_int_equal(one.count, 1);
	assert_int_equal(one.info.state, FORWARD_FORWARDED);
	unreport(w, 1);
	assert_true(answers(host, false));
	world_free(w);
}

static void no_more_is_forwarded_than_allowed_and_the_next_in_line_moves_up(void **state)
{
	struct world *w = world_new(NULL, 2);
	uint16_t ports[3];
	struct one one;
	char guest[64];

	for (unsigned i = 0; i < 3; i++)
		report(w, i + 1, GUEST, ports[i] = free_port());
	snprintf(guest, sizeof(guest), GUEST ":%u", ports[2]);
	one = row(w, guest);
	assert_int_equal(one.info.state, FORWARD_FAILED);
	assert_string_equal(one.reason, "maxForwards is reached");
	assert_false(answers(ports[2], false));
	unreport(w, 1);
	assert_int_equal(row(w, guest).info.state, FORWARD_FORWARDED);
	assert_true(answers(ports[2], false));
	world_free(w);
}

static void a_guest_that_reports_without_end_is_kept_to_a_bound(void **state)
{
	struct world *w = world_new(NULL, 4);

	for (unsigned i = 0; i < 1000; i++)
		report(w, i, "10.0.0.1", (uint16_t)(1000 + i));
	assert_int_equal(row(w, NULL).count, 16);
	for (unsigned i = 0; i < 1000; i++)
		unreport(w, i);
	assert_int_equal(row(w, NULL).count, 0);
	world_free(w);
}

static void a_process_that_becomes_known_later_is_judged_anew(void **state)
{
	struct rule_spec rule = {.origin = "p", .guest_ip = GUEST, .process = "^secret", .ignore = true};
	struct world *w = world_new(&rule, 10);
	uint16_t port = free_port();
	struct control_msg msg = {.type = CONTROL_PORT_ADD, .port = listener_at(1, GUEST, port)};

	forward_message(w->forward, &msg);
	assert_int_equal(row(w, NULL).info.state, FORWARD_FORWARDED);
	strcpy(msg.port.process, "secret\x1b[2J");
	forward_message(w->forward, &msg);
	assert_int_equal(row(w, NULL).info.state, FORWARD_IGNORED);
	assert_null(strchr(row(w, NULL).process, '\x1b'));
	assert_false(answers(port, false));
	world_free(w);
}

static void a_thousand_ports_come_and_go_at_once(void **state)
{
	struct world *w = world_new(NULL, 4096);
	struct rlimit limit = {8192, 8192};
	unsigned before, good = 0;
	double began;

	setrlimit(RLIMIT_NOFILE, &limit);
	world_run_ms(w, 1);
	before = open_fds();
	began = now_ms();
	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	for (unsigned i = 0; i < 1000; i++)
		report(w, i + 1, GUEST, (uint16_t)(20000 + i));
	snapshot(w, CONTROL_PORTS_END, 1);
	world_run_ms(w, 1);
	print_message("1,000 ports were forwarded in %.0f ms, with sanitizers\n", now_ms() - began);
	for (unsigned i = 0; i < 1000; i++)
		good += answers((uint16_t)(20000 + i), i % 2);
	assert_true(good == 1000);
	assert_int_equal(row(w, NULL).count, 1000);
	snapshot(w, CONTROL_PORTS_BEGIN, 2);
	snapshot(w, CONTROL_PORTS_END, 2);
	world_run_ms(w, 50);
	assert_int_equal(open_fds(), before);
	world_free(w);
}

/* What a snapshot costs is what was named since the last one began: 13 bytes of the guest's are no walk over all. */
static void snapshots_that_begin_without_end_cost_next_to_nothing(void **state)
{
	struct world *w = world_new(NULL, 4096);
	char ip[32];
	double began;

	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	for (unsigned i = 0; i < 16000; i++) {
		snprintf(ip, sizeof(ip), "10.1.%u.%u", i >> 8, i & 255);
		report(w, i + 1, ip, 80);
	}
	snapshot(w, CONTROL_PORTS_END, 1);
	began = now_ms();
	for (unsigned i = 0; i < 10000; i++)
		snapshot(w, CONTROL_PORTS_BEGIN, 2);
	assert_true(now_ms() - began < 2000);
	assert_int_equal(row(w, NULL).count, 16000);
	report(w, 7, "10.1.0.6", 80);
	snapshot(w, CONTROL_PORTS_END, 2);
	assert_int_equal(row(w, NULL).count, 1);
	world_free(w);
}

/* Other rules for the world's forwards; the old ones go. `rule` may be NULL. */
static void set_rules(struct world *w, const struct rule_spec *rule, unsigned max)
{
	struct rules *old = w->rules;

	w->rules = rules_new(0);
	if (rule)
		world_add_rule(w, rule);
	world_add_rule(w, &(struct rule_spec){.origin = "new", .guest_ip = GUEST, .host_ip = "localhost"});
	forward_set_rules(w->forward, w->rules, &(struct forward_limits){max});
	rules_free(old);
}

/* Nobody has taken the connection out of the listener's queue, and the listener is there. */
static bool still_waits(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void other_rules_change_what_differs_and_close_nothing_else(void **state)
{
	struct rule_spec move = {.origin = "move", .guest_ip = GUEST}, narrow = {.origin = "narrow", .guest_ip = GUEST};
	struct world *w = world_new(NULL, 10);
	uint16_t stays = free_port(), moves = free_port(), host = free_port();
	int waiting;

	report(w, 1, GUEST, stays);
	report(w, 2, GUEST, moves);
	waiting = dial4(stays); /* in the listener's queue: reset if that is closed */
	move.guest_port = moves;
	move.host_port = host;
	set_rules(w, &move, 10);
	assert_false(answers(moves, false));
	assert_true(answers(host, false));
	assert_false(answers(host, true));
	/* One of its two addresses goes, the other is never closed. */
	narrow.guest_port = stays;
	set_rules(w, &narrow, 10);
	assert_false(answers(stays, true));
	assert_true(answers(moves, true));
	assert_false(answers(host, false));
	assert_true(still_waits(waiting));
	set_rules(w, &(struct rule_spec){.origin = "none", .guest_ip = GUEST, .guest_port = stays, .ignore = true}, 10);
	assert_false(answers(stays, false));
	close(waiting);
	world_free(w);
}

static void two_ports_change_places(void **state)
{
	uint16_t a = free_port(), b = free_port();
	struct rule_spec rule = {.origin = "a", .guest_ip = GUEST, .guest_port = a, .host_port = b};
	struct world *w = world_new(NULL, 10);
	struct rules *old;
	char want[256];

	report(w, 1, GUEST, a);
	report(w, 2, GUEST, b);
	set_rules(w, &rule, 10);
	snprintf(want, sizeof(want), GUEST ":%u", a);
	assert_int_equal(row(w, want).info.state, FORWARD_CONFLICT);
	old = w->rules;
	w->rules = rules_new(0);
	world_add_rule(w, &rule);
	world_add_rule(w, &(struct rule_spec){.origin = "b", .guest_ip = GUEST, .guest_port = b, .host_port = a});
	forward_set_rules(w->forward, w->rules, &(struct forward_limits){10});
	rules_free(old);
	assert_int_equal(row(w, want).info.state, FORWARD_FORWARDED);
	snprintf(want, sizeof(want), GUEST ":%u", b);
	assert_int_equal(row(w, want).info.state, FORWARD_FORWARDED);
	assert_true(answers(a, false));
	assert_true(answers(b, false));
	world_free(w);
}

static void static_ports_are_compared_by_what_they_are(void **state)
{
	uint16_t host = free_port(), guest = free_port(), other = free_port();
	struct rule_spec rule = {.origin = "s", .guest_port = guest, .host_port = host, .is_static = true};
	struct world *w = world_new(&rule, 10);
	int waiting = dial4(host);

	report(w, 1, "127.0.0.1", guest);
	assert_int_equal(row(w, NULL).count, 1);
	rule.origin = "the same, written elsewhere";
	set_rules(w, &rule, 10);
	assert_true(still_waits(waiting));
	rule.host_port = other;
	set_rules(w, &rule, 10);
	assert_false(answers(host, false));
	assert_true(answers(other, false));
	assert_int_equal(row(w, NULL).count, 1);
	set_rules(w, NULL, 10);
	assert_false(answers(other, false));
	assert_true(answers(guest, false)); /* what listens there is forwarded as any other */
	close(waiting);
	world_free(w);
}

static void a_smaller_bound_takes_from_those_that_came_last(void **state)
{
	struct world *w = world_new(NULL, 10);
	uint16_t ports[3];

	for (unsigned i = 0; i < 3; i++)
		report(w, i + 1, GUEST, ports[i] = free_port());
	set_rules(w, NULL, 1);
	assert_true(answers(ports[0], false));
	assert_false(answers(ports[1], false));
	assert_false(answers(ports[2], false));
	set_rules(w, NULL, 2);
	assert_true(answers(ports[1], false));
	assert_false(answers(ports[2], false));
	world_free(w);
}

static void on_told(void *ctx, const struct forward_info *info, bool gone)
{
	char *text = ctx;

	sprintf(text + strlen(text), "%s:%u ", gone ? "gone" : forward_state_name(info->state), info->host_port);
}

static void what_changes_is_told_once_and_so_is_its_end(void **state)
{
	const struct forward_events events = {.port = on_told};
	struct rule_spec fixed = {.origin = "s", .is_static = true};
	struct rule_spec move = {.origin = "move", .guest_ip = GUEST};
	struct world *w = world_new(NULL, 10);
	uint16_t port = free_port(), host = free_port();
	char told[512] = "", want[256];

	forward_free(w->forward);
	w->forward = forward_new(w->loop, w->rules, &world_names, &(struct forward_limits){10}, &events, told);
	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	report(w, 1, GUEST, port);
	snapshot(w, CONTROL_PORTS_END, 1);
	snapshot(w, CONTROL_PORTS_BEGIN, 2);
	report(w, 2, GUEST, port);
	snapshot(w, CONTROL_PORTS_END, 2);
	move.guest_port = fixed.guest_port = port;
	move.host_port = fixed.host_port = host;
	set_rules(w, &move, 10);
	/* The listener that a static port covers is not told of: its row is. */
	set_rules(w, &fixed, 10);
	unreport(w, 2);
	set_rules(w, NULL, 10);
	snprintf(want, sizeof(want), "forwarded:%u forwarded:%u gone:0 forwarded:%u gone:%u ", port, host, host, host);
	assert_string_equal(told, want);
	world_free(w);
}

/* As many as are kept, and as many others in the next session: those of before stand in nobody's way. */
static void a_full_table_has_room_for_what_a_new_snapshot_names(void **state)
{
	struct world *w = world_new(NULL, 2);
	uint16_t ports[16];

	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		snapshot(w, CONTROL_PORTS_BEGIN, epoch);
		for (size_t i = 0; i < 8; i++) {
			size_t k = (epoch - 1) * 8 + i;

			ports[k] = free_port();
			report(w, k + 1, GUEST, ports[k]);
		}
		snapshot(w, CONTROL_PORTS_END, epoch);
		assert_int_equal(row(w, NULL).count, 8);
		for (size_t i = 0; i < epoch * 8; i++)
			assert_int_equal(answers(ports[i], false), i / 8 == epoch - 1 && i % 8 < 2);
	}
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reported_listener_answers_on_both_loopbacks_until_it_is_gone),
		cmocka_unit_test(what_maps_to_one_address_is_counted),
		cmocka_unit_test(a_listener_that_is_back_at_once_never_loses_its_host_port),
		cmocka_unit_test(listeners_that_flap_hold_a_bounded_number_of_ports),
		cmocka_unit_test(two_ports_of_the_guest_do_not_share_one_of_the_host),
		cmocka_unit_test(a_listener_the_rules_ignore_is_shown_with_the_reason),
		cmocka_unit_test(a_conflict_is_shown_with_its_holder_and_heals_soon_after_the_port_is_free),
		cmocka_unit_test(a_wildcard_listener_of_the_host_is_not_stolen_from),
		cmocka_unit_test(a_new_snapshot_closes_only_what_it_does_not_name),
		cmocka_unit_test(static_rules_are_there_from_the_start_to_the_end),
		cmocka_unit_test(no_more_is_forwarded_than_allowed_and_the_next_in_line_moves_up),
		cmocka_unit_test(a_guest_that_reports_without_end_is_kept_to_a_bound),
		cmocka_unit_test(a_process_that_becomes_known_later_is_judged_anew),
		cmocka_unit_test(a_thousand_ports_come_and_go_at_once),
		cmocka_unit_test(other_rules_change_what_differs_and_close_nothing_else),
		cmocka_unit_test(two_ports_change_places),
		cmocka_unit_test(static_ports_are_compared_by_what_they_are),
		cmocka_unit_test(what_changes_is_told_once_and_so_is_its_end),
		cmocka_unit_test(a_smaller_bound_takes_from_those_that_came_last),
		cmocka_unit_test(snapshots_that_begin_without_end_cost_next_to_nothing),
		cmocka_unit_test(a_full_table_has_room_for_what_a_new_snapshot_names),
	};

	log_init("test_forward", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
