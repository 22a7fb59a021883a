/* SPDX-License-Identifier: MIT */
/* Connections through forwards: what a client on the host and a server in the guest see of each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "forward_world.h"
#include "log.h"

#define CHECK(holds)                   \
	do {                           \
		if (!(holds))          \
			return #holds; \
	} while (0)

static void reset(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static bool hears_reset(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) < 0 && errno == ECONNRESET;
}

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
	world_run_script(w, half_close);
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
	world_run_script(w, resets);
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
	world_run_script(w, refused);
	forward_set_mux(w->forward, NULL);
	world_run_script(w, refused);
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
	world_run_script(w, stuck_readers);
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
	world_run_ms(w, 10);
	before = open_fds();
	world_run_script(w, many_connections);
	world_run_ms(w, 50);
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
	world_run_script(w, big_transfer);
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
	world_lose_session(ctx);
}

static void a_session_that_is_lost_resets_its_connections_and_keeps_the_listeners(void **state)
{
	struct world *w = world_new(NULL, 10);
	struct loop_timer *timer = loop_timer_new(w->loop, on_lose, w);
	uint16_t port = free_port();
	int l = listen_at(GUEST, &port);

	report(w, 1, GUEST, w->port = port);
	loop_timer_set(timer, 100000);
	world_run_script(w, sleeping);
	loop_timer_free(timer);
	close(l);
	world_run_script(w, half_close);
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
	world_run_ms(w, 5);
	/* Two for the script's pipe, one for the client; /proc/self/fd itself and the two dots are in the count. */
	limit = (struct rlimit){open_fds() - 3 + 3, 8192};
	setrlimit(RLIMIT_NOFILE, &limit);
	loop_timer_set(timer, 400000);
	world_run_script(w, wait_for_descriptors);
	on_free_descriptors(NULL);
	loop_timer_free(timer);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(either_side_may_stop_talking_and_still_listen),
		cmocka_unit_test(a_reset_passes_both_ways),
		cmocka_unit_test(who_connects_to_a_server_that_is_gone_is_reset_at_once),
		cmocka_unit_test(a_reader_that_stops_stops_its_own_stream_only),
		cmocka_unit_test(ten_thousand_connections_leave_no_descriptor),
		cmocka_unit_test(what_is_sent_arrives_in_order),
		cmocka_unit_test(a_session_that_is_lost_resets_its_connections_and_keeps_the_listeners),
		cmocka_unit_test(without_descriptors_connections_wait_and_nothing_spins),
	};

	log_init("test_forward_conn", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
