/* SPDX-License-Identifier: MIT */
/*
 * Forwards from end to end in one process: reports in, real listeners, real connections through two muxes to real
 * servers. The guest's side here is a few lines (dial has its own tests); "the guest" listens on 127.0.0.2.
 *
 * A script of clients and servers runs in a thread of its own with blocking sockets while the loop runs; it returns
 * NULL or what went wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control_msg.h"
#include "forward.h"
#include "log.h"
#include "loop.h"
#include "mux_pair.h"
#include "relay.h"
#include "rules.h"

#define GUEST "127.0.0.2"

#define CHECK(holds)                   \
	do {                           \
		if (!(holds))          \
			return #holds; \
	} while (0)

struct world {
	struct loop *loop;
	struct rules *rules;
	struct mux_pair *pair;
	struct forward *forward;
	struct loop_timer *timer;
	unsigned changes;
	uint64_t key;
	uint16_t port; /* what a script works with */
	const char *(*script)(struct world *w);
	const char *result;
	int done[2];
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

static int connect_to(int family, const void *addr, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval patience = {.tv_sec = 5};
	int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (family == AF_INET)
		memcpy(&in.sin_addr, addr, 4);
	else
		memcpy(&in6.sin6_addr, addr, 16);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
			       : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct world *w = ctx;
	struct tcp_target t;
	int fd;

	assert_int_equal(tcp_target_get(args, len, &t), 0);
	fd = connect_to(t.family == 4 ? AF_INET : AF_INET6, t.addr, t.port);
	if (fd < 0) {
		mux_stream_refuse(stream, MUX_REASON_REFUSED);
		return;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_non_null(relay_new(w->loop, fd, stream, NULL, NULL, NULL));
	mux_stream_accept(stream, NULL, NULL);
}

/* --- the world -------------------------------------------------------------------------------------------------- */

static void on_changed(void *ctx)
{
	((struct world *)ctx)->changes++;
}

static const struct forward_events forward_events = {.changed = on_changed};

static void on_stop(void *ctx)
{
	loop_stop(((struct world *)ctx)->loop);
}

static void add_rule(struct world *w, const struct rule_spec *spec)
{
	char why[RULE_WHY_MAX];

	assert_int_equal(rules_add(w->rules, spec, why), 0);
}

static struct world *world_new(const struct rule_spec *rule, unsigned max)
{
	struct forward_limits limits = {.max_forwards = max};
	struct world *w = calloc(1, sizeof(*w));

	w->loop = loop_new();
	w->rules = rules_new(0);
	if (rule)
		add_rule(w, rule);
	add_rule(w, &(struct rule_spec){.origin = "test", .guest_ip = GUEST, .host_ip = "localhost"});
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	w->forward = forward_new(w->loop, w->rules, &limits, &forward_events, w);
	assert_non_null(w->forward);
	forward_set_mux(w->forward, mux_pair_host(w->pair));
	return w;
}

static void run_ms(struct world *w, unsigned ms)
{
	loop_timer_set(w->timer, ms * 1000ull);
	loop_run(w->loop);
}

static void world_free(struct world *w)
{
	forward_free(w->forward);
	mux_pair_free(w->pair);
	run_ms(w, 0);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	rules_free(w->rules);
	free(w);
}

static void *on_thread(void *ctx)
{
	struct world *w = ctx;

	w->result = w->script(w);
	assert_int_equal(write(w->done[1], "x", 1), 1);
	return NULL;
}

static void on_script_done(void *ctx, int fd, unsigned what)
{
	loop_stop(((struct world *)ctx)->loop);
}

static void run_script(struct world *w, const char *(*script)(struct world *w))
{
	struct loop_fd *watch;
	pthread_t thread;

	w->script = script;
	assert_int_equal(pipe2(w->done, O_CLOEXEC), 0);
	watch = loop_fd_new(w->loop, w->done[0], LOOP_READ, on_script_done, w);
	assert_int_equal(pthread_create(&thread, NULL, on_thread, w), 0);
	loop_timer_set(w->timer, 60000000);
	loop_run(w->loop);
	loop_timer_stop(w->timer);
	pthread_join(thread, NULL);
	loop_fd_free(watch);
	close(w->done[0]);
	close(w->done[1]);
	run_ms(w, 20);
	if (w->result)
		fail_msg("%s", w->result);
}

/* --- reports ---------------------------------------------------------------------------------------------------- */

static struct listener listener_at(uint64_t key, const char *ip, uint16_t port)
{
	struct listener l = {.key = key, .proto = LISTENER_TCP, .family = strchr(ip, ':') ? 6 : 4, .port = port};

	assert_int_equal(inet_pton(l.family == 4 ? AF_INET : AF_INET6, ip, l.addr), 1);
	return l;
}

static void report(struct world *w, uint64_t key, const char *ip, uint16_t port)
{
	struct control_msg msg = {.type = CONTROL_PORT_ADD, .port = listener_at(key, ip, port)};

	forward_message(w->forward, &msg);
}

static void unreport(struct world *w, uint64_t key)
{
	struct control_msg msg = {.type = CONTROL_PORT_REMOVE, .port_key = key};

	forward_message(w->forward, &msg);
}

static void snapshot(struct world *w, enum control_type type, uint64_t epoch)
{
	struct control_msg msg = {.type = type, .ports_epoch = epoch};

	forward_message(w->forward, &msg);
}

/* --- what is shown ---------------------------------------------------------------------------------------------- */

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

struct one {
	const char *guest;
	struct forward_info info;
	char reason[256], process[256];
	unsigned count;
};

static void on_one(void *ctx, const struct forward_info *info)
{
	struct one *one = ctx;

	one->count++;
	if (one->guest && strcmp(one->guest, info->guest) != 0)
		return;
	one->info = *info;
	snprintf(one->reason, sizeof(one->reason), "%s", info->reason ? info->reason : "");
	snprintf(one->process, sizeof(one->process), "%s", info->process ? info->process : "");
}

/* The row of this guest address, or the last of all. */
static struct one row(struct world *w, const char *guest)
{
	struct one one = {.guest = guest, .info.state = FORWARD_STATE_COUNT};

	forward_list(w->forward, on_one, &one);
	return one;
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

static int listen_at(const char *ip, uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(*port)};
	struct timeval patience = {.tv_sec = 5};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	inet_pton(AF_INET, ip, &in.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(fd, (struct sockaddr *)&in, len) < 0 || listen(fd, 1024) < 0) {
		close(fd);
		return -1;
	}
	getsockname(fd, (struct sockaddr *)&in, &len);
	*port = ntohs(in.sin_port);
	return fd;
}

static int dial4(uint16_t port)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1};

	return connect_to(AF_INET, loopback, port);
}

static int dial6(uint16_t port)
{
	static const uint8_t loopback[16] = {[15] = 1};

	return connect_to(AF_INET6, loopback, port);
}

/* Whether the host answers on the port. */
static bool answers(uint16_t port, bool six)
{
	int fd = six ? dial6(port) : dial4(port);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* A port free on every loopback address, never given twice, and below those the kernel gives to clients. */
static uint16_t free_port(void)
{
	static uint16_t next;
	int fd;

	if (!next)
		next = (uint16_t)(22000 + getpid() % 5000);
	do {
		next++;
		fd = listen_at("0.0.0.0", &next);
	} while (fd < 0);
	close(fd);
	return next;
}

static void reset(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static bool says(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static bool hears(int fd, const char *text)
{
	char buf[64] = "";

	return recv(fd, buf, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text) && strcmp(buf, text) == 0;
}

static bool hears_end(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) == 0;
}

static bool hears_reset(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET;
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* --- the table -------------------------------------------------------------------------------------------------- */

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
	run_ms(w, 10);
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

static void two_ports_of_the_guest_do_not_share_one_of_the_host(void **state)
{
	uint16_t host = free_port(), a = free_port(), b = free_port();
	struct rule_spec to_host = {.origin = "a", .guest_ip = GUEST, .guest_port = a, .host_port = host};
	struct world *w = world_new(&to_host, 10);
	struct one one;
	char guest[64];

	forward_free(w->forward);
	add_rule(w, &(struct rule_spec){.origin = "c", .guest_ip = "127.0.0.3", .guest_port = b, .host_port = host});
	w->forward = forward_new(w->loop, w->rules, &(struct forward_limits){10}, &forward_events, w);
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
	run_ms(w, 500);
	one = row(w, NULL);
	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	snprintf(pid, sizeof(pid), "test_forward (pid %d)", getpid());
	if (!strstr(one.reason, pid))
		fail_msg("%s", one.reason);
	assert_true(answers(port, true)); /* the address that is free is not held back */
	close(fd);
	began = now_ms();
	while (row(w, NULL).info.state != FORWARD_FORWARDED && now_ms() < began + 1000)
		run_ms(w, 1);
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
	run_ms(w, 100);
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

/* --- connections ------------------------------------------------------------------------------------------------ */

static const char *half_close(struct world *w)
{
	uint16_t port = w->port;
	int l = listen_at(GUEST, &port), c, s;

	for (int way = 0; way < 2; way++) {
		int first, second;

		c = way ? dial6(port) : dial4(port);
		CHECK(c >= 0);
		s = accept(l, NULL, NULL);
		CHECK(s >= 0);
		first = way ? s : c;
		second = way ? c : s;
		CHECK(says(first, "question"));
		shutdown(first, SHUT_WR);
		CHECK(hears(second, "question") && hears_end(second));
		CHECK(says(second, "answer"));
		shutdown(second, SHUT_WR);
		CHECK(hears(first, "answer") && hears_end(first));
		close(c);
		close(s);
	}
	close(l);
	return NULL;
}

static void either_side_may_stop_talking_and_still_listen(void **state)
{
	struct world *w = world_new(NULL, 10);
	struct one one;

	report(w, 1, GUEST, w->port = free_port());
	run_script(w, half_close);
	one = row(w, NULL);
	assert_int_equal(one.info.connections, 0);
	assert_int_equal(one.info.bytes_in, 14);
	assert_int_equal(one.info.bytes_out, 14);
	world_free(w);
}

static const char *resets(struct world *w)
{
	uint16_t port = w->port;
	int l = listen_at(GUEST, &port);

	for (int way = 0; way < 2; way++) {
		int c = dial4(port), s;

		CHECK(c >= 0);
		s = accept(l, NULL, NULL);
		CHECK(s >= 0);
		CHECK(says(c, "hello") && hears(s, "hello"));
		reset(way ? s : c);
		CHECK(hears_reset(way ? c : s));
		close(way ? c : s);
	}
	close(l);
	return NULL;
}

static void a_reset_passes_both_ways(void **state)
{
	struct world *w = world_new(NULL, 10);

	report(w, 1, GUEST, w->port = free_port());
	run_script(w, resets);
	world_free(w);
}

static const char *refused(struct world *w)
{
	double began = now_ms();
	int c = dial4(w->port);

	CHECK(c >= 0);
	CHECK(hears_reset(c));
	CHECK(now_ms() - began < 1000);
	close(c);
	return NULL;
}

static void who_connects_to_a_server_that_is_gone_is_reset_at_once(void **state)
{
	struct world *w = world_new(NULL, 10);

	report(w, 1, GUEST, w->port = free_port());
	run_script(w, refused);
	forward_set_mux(w->forward, NULL);
	run_script(w, refused);
	world_free(w);
}

static const char *stuck_readers(struct world *w)
{
	static char block[1 << 16];
	uint16_t port = w->port;
	int l = listen_at(GUEST, &port), stuck[64], servers[64], c, s;
	int small = 1 << 16, quiet = 0;
	double worst = 0;

	for (int i = 0; i < 64; i++) {
		stuck[i] = dial4(port);
		servers[i] = accept(l, NULL, NULL);
		CHECK(stuck[i] >= 0 && servers[i] >= 0);
		setsockopt(stuck[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		setsockopt(servers[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	}
	/* Until nothing moves any more: every buffer on the way is full. */
	for (int round = 0; round < 1000 && quiet < 5; round++, quiet++) {
		for (int i = 0; i < 64; i++)
			if (send(servers[i], block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
				quiet = 0;
		usleep(10000);
	}
	CHECK(quiet == 5);
	c = dial4(port);
	s = accept(l, NULL, NULL);
	CHECK(c >= 0 && s >= 0);
	for (int i = 0; i < 100; i++) {
		double began = now_ms();

		CHECK(says(c, "ping") && hears(s, "ping") && says(s, "pong") && hears(c, "pong"));
		worst = now_ms() - began > worst ? now_ms() - began : worst;
	}
	print_message("the slowest of 100 echos beside 64 stuck readers took %.1f ms\n", worst);
	CHECK(worst < 1000);
	for (int i = 0; i < 64; i++) {
		reset(stuck[i]);
		close(servers[i]);
	}
	close(c);
	close(s);
	close(l);
	return NULL;
}

static void a_reader_that_stops_stops_its_own_stream_only(void **state)
{
	struct world *w = world_new(NULL, 10);

	report(w, 1, GUEST, w->port = free_port());
	run_script(w, stuck_readers);
	world_free(w);
}

static const char *many_connections(struct world *w)
{
	uint16_t port = w->port;
	int l = listen_at(GUEST, &port);

	for (int i = 0; i < 10000; i++) {
		int c = dial4(port), s;

		CHECK(c >= 0);
		s = accept(l, NULL, NULL);
		CHECK(s >= 0);
		if (i % 2) {
			CHECK(says(c, "x") && hears(s, "x"));
			close(c);
			CHECK(hears_end(s));
			close(s);
		} else {
			CHECK(says(s, "y") && hears(c, "y"));
			reset(s);
			CHECK(hears_reset(c));
			close(c);
		}
	}
	close(l);
	return NULL;
}

static void ten_thousand_connections_leave_no_descriptor(void **state)
{
	struct world *w = world_new(NULL, 10);
	unsigned before;

	report(w, 1, GUEST, w->port = free_port());
	run_ms(w, 10);
	before = open_fds();
	run_script(w, many_connections);
	run_ms(w, 50);
	assert_int_equal(open_fds(), before);
	assert_int_equal(row(w, NULL).info.connections, 0);
	assert_int_equal(row(w, NULL).info.bytes_in, 5000);
	world_free(w);
}

static const char *big_transfer(struct world *w)
{
	static uint8_t block[1 << 16];
	uint16_t port = w->port;
	int l = listen_at(GUEST, &port), c = dial4(port), s = accept(l, NULL, NULL);
	size_t got = 0;
	ssize_t n;

	CHECK(c >= 0 && s >= 0);
	for (size_t sent = 0; sent < 32u << 20; sent += sizeof(block)) {
		memset(block, (int)(sent / sizeof(block)), sizeof(block));
		CHECK(send(c, block, sizeof(block), MSG_NOSIGNAL) == sizeof(block));
		for (size_t had = 0; had < sizeof(block); had += (size_t)n, got += (size_t)n) {
			n = recv(s, block, sizeof(block) - had, 0);
			CHECK(n > 0 && block[n - 1] == (uint8_t)(sent / sizeof(block)));
		}
	}
	close(c);
	CHECK(hears_end(s));
	close(s);
	close(l);
	return got == 32u << 20 ? NULL : "bytes are missing";
}

static void what_is_sent_arrives_in_order(void **state)
{
	struct world *w = world_new(NULL, 10);

	report(w, 1, GUEST, w->port = free_port());
	run_script(w, big_transfer);
	world_free(w);
}

static const char *sleeping(struct world *w)
{
	int c = dial4(w->port);

	CHECK(c >= 0);
	CHECK(hears_reset(c));
	close(c);
	return NULL;
}

static void on_lose(void *ctx)
{
	struct world *w = ctx;

	forward_set_mux(w->forward, NULL);
	mux_pair_free(w->pair);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	forward_set_mux(w->forward, mux_pair_host(w->pair));
}

static void a_session_that_is_lost_resets_its_connections_and_keeps_the_listeners(void **state)
{
	struct world *w = world_new(NULL, 10);
	struct loop_timer *timer = loop_timer_new(w->loop, on_lose, w);
	uint16_t port = free_port();
	int l = listen_at(GUEST, &port);

	report(w, 1, GUEST, w->port = port);
	loop_timer_set(timer, 100000);
	run_script(w, sleeping);
	loop_timer_free(timer);
	close(l);
	run_script(w, half_close);
	world_free(w);
}

static void a_thousand_ports_come_and_go_at_once(void **state)
{
	struct world *w = world_new(NULL, 4096);
	struct rlimit limit = {8192, 8192};
	unsigned before, good = 0;
	double began;

	setrlimit(RLIMIT_NOFILE, &limit);
	run_ms(w, 1);
	before = open_fds();
	began = now_ms();
	snapshot(w, CONTROL_PORTS_BEGIN, 1);
	for (unsigned i = 0; i < 1000; i++)
		report(w, i + 1, GUEST, (uint16_t)(20000 + i));
	snapshot(w, CONTROL_PORTS_END, 1);
	run_ms(w, 1);
	print_message("1,000 ports were forwarded in %.0f ms, with sanitizers\n", now_ms() - began);
	for (unsigned i = 0; i < 1000; i++)
		good += answers((uint16_t)(20000 + i), i % 2);
	assert_true(good == 1000);
	assert_int_equal(row(w, NULL).count, 1000);
	snapshot(w, CONTROL_PORTS_BEGIN, 2);
	snapshot(w, CONTROL_PORTS_END, 2);
	run_ms(w, 50);
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

static void on_free_descriptors(void *ctx)
{
	struct rlimit limit = {8192, 8192};

	setrlimit(RLIMIT_NOFILE, &limit);
}

static const char *wait_for_descriptors(struct world *w)
{
	struct timespec a, b;
	int c;

	c = dial4(w->port);
	if (c < 0)
		return "no connection";
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	CHECK(hears_reset(c)); /* accepted in the end; nobody listens in the guest */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	close(c);
	CHECK((double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6 < 200);
	return NULL;
}

static void without_descriptors_connections_wait_and_nothing_spins(void **state)
{
	struct world *w = world_new(NULL, 10);
	struct loop_timer *timer = loop_timer_new(w->loop, on_free_descriptors, w);
	struct rlimit limit;

	report(w, 1, GUEST, w->port = free_port());
	run_ms(w, 5);
	/* Two for the script's pipe, one for the client; /proc/self/fd itself and the two dots are in the count. */
	limit = (struct rlimit){open_fds() - 3 + 3, 8192};
	setrlimit(RLIMIT_NOFILE, &limit);
	loop_timer_set(timer, 400000);
	run_script(w, wait_for_descriptors);
	on_free_descriptors(NULL);
	loop_timer_free(timer);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reported_listener_answers_on_both_loopbacks_until_it_is_gone),
		cmocka_unit_test(what_maps_to_one_address_is_counted),
		cmocka_unit_test(two_ports_of_the_guest_do_not_share_one_of_the_host),
		cmocka_unit_test(a_listener_the_rules_ignore_is_shown_with_the_reason),
		cmocka_unit_test(a_conflict_is_shown_with_its_holder_and_heals_soon_after_the_port_is_free),
		cmocka_unit_test(a_wildcard_listener_of_the_host_is_not_stolen_from),
		cmocka_unit_test(a_new_snapshot_closes_only_what_it_does_not_name),
		cmocka_unit_test(static_rules_are_there_from_the_start_to_the_end),
		cmocka_unit_test(no_more_is_forwarded_than_allowed_and_the_next_in_line_moves_up),
		cmocka_unit_test(a_guest_that_reports_without_end_is_kept_to_a_bound),
		cmocka_unit_test(a_process_that_becomes_known_later_is_judged_anew),
		cmocka_unit_test(either_side_may_stop_talking_and_still_listen),
		cmocka_unit_test(a_reset_passes_both_ways),
		cmocka_unit_test(who_connects_to_a_server_that_is_gone_is_reset_at_once),
		cmocka_unit_test(a_reader_that_stops_stops_its_own_stream_only),
		cmocka_unit_test(ten_thousand_connections_leave_no_descriptor),
		cmocka_unit_test(what_is_sent_arrives_in_order),
		cmocka_unit_test(a_session_that_is_lost_resets_its_connections_and_keeps_the_listeners),
		cmocka_unit_test(a_thousand_ports_come_and_go_at_once),
		cmocka_unit_test(snapshots_that_begin_without_end_cost_next_to_nothing),
		cmocka_unit_test(without_descriptors_connections_wait_and_nothing_spins),
	};

	log_init("test_forward", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
