/* SPDX-License-Identifier: MIT */
/*
 * Relays between two muxes in one loop: a client's TCP connection, a relay, the muxes, a relay, a server's connection.
 * What the client sees must be what a direct connection would have shown.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bounds.h"
#include "loop.h"
#include "mux.h"
#include "relay.h"
#include "wire.h"

static struct loop *loop;
static struct loop_hook *hook;
static struct mux *near, *far;
static struct relay *near_relay, *far_relay;
static struct relay_stats near_counted;
static int near_done, far_done, near_error, far_error;
static int far_fd; /* what the next stream is relayed to */
static bool link_stalled;

static void on_near_done(void *ctx, int error)
{
	near_done++;
	near_error = error;
	near_relay = NULL;
}

static void on_far_done(void *ctx, int error)
{
	far_done++;
	far_error = error;
	far_relay = NULL;
}

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	if (far_fd < 0) {
		mux_stream_refuse(s, MUX_REASON_REFUSED);
		return;
	}
	far_relay = relay_new(loop, far_fd, s, &(struct relay_caller){.done = on_far_done});
	assert_non_null(far_relay);
	mux_stream_accept(s, NULL, NULL);
}

static const struct mux_events events = {.open = on_open};

/* The link: what each mux has to say goes to the other once a turn. */
static size_t carry(struct mux *from, struct mux *to)
{
	struct wire_buf b = {0};
	const char *why;
	ssize_t n = mux_produce(from, &b, 1 << 20);

	assert_true(n >= 0);
	if (b.len)
		assert_int_equal(mux_receive(to, b.data, b.len, &why), 0);
	wire_buf_free(&b);
	return (size_t)n;
}

static void on_turn(void *ctx)
{
	mux_deliver(near);
	mux_deliver(far);
	if (!link_stalled)
		while (carry(near, far) + carry(far, near))
			;
}

static void tcp_pair(int *a, int *b)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(l, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&in, &len), 0);
	*a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*a, (struct sockaddr *)&in, len), 0);
	*b = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*b >= 0);
	close(l);
}

static int client, server;

/* A client's and a server's socket, with two relays between them. */
static int connected(void **state)
{
	int fd;

	(void)state;
	loop = loop_new();
	near = mux_new(true, &events, NULL);
	far = mux_new(false, &events, NULL);
	hook = loop_hook_new(loop, on_turn, NULL);
	near_done = far_done = 0;
	near_error = far_error = 1;
	near_counted = (struct relay_stats){0};
	link_stalled = false;
	tcp_pair(&server, &far_fd);
	tcp_pair(&client, &fd);
	near_relay = relay_new(loop, fd, mux_open(near, MUX_KIND_TCP, NULL, 0, NULL, NULL),
			       &(struct relay_caller){.counters = &near_counted, .done = on_near_done});
	return near_relay ? 0 : -1;
}

static int disconnected(void **state)
{
	(void)state;
	loop_hook_free(hook);
	mux_free(near);
	mux_free(far);
	close(client);
	close(server);
	loop_free(loop);
	return 0;
}

static void turns(unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
}

static ssize_t got(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_DONTWAIT);
}

static void bytes_pass_both_ways_and_are_counted(void **state)
{
	char buf[64];

	(void)state;
	assert_int_equal(send(client, "question", 8, 0), 8);
	turns(30);
	assert_int_equal(got(server, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "question", 8);
	assert_int_equal(send(server, "answer", 6, 0), 6);
	turns(30);
	assert_int_equal(got(client, buf, sizeof(buf)), 6);
	assert_int_equal(near_counted.bytes_in, 8);
	assert_int_equal(near_counted.bytes_out, 6);
}

static void a_half_close_passes_and_the_other_direction_goes_on(void **state)
{
	char buf[64];

	(void)state;
	assert_int_equal(send(client, "request", 7, 0), 7);
	shutdown(client, SHUT_WR);
	turns(30);
	assert_int_equal(got(server, buf, sizeof(buf)), 7);
	assert_int_equal(got(server, buf, sizeof(buf)), 0);
	assert_int_equal(near_done + far_done, 0);
	assert_int_equal(send(server, "reply", 5, 0), 5);
	turns(30);
	assert_int_equal(got(client, buf, sizeof(buf)), 5);
	assert_int_equal(got(client, buf, sizeof(buf)), -1);
	shutdown(server, SHUT_WR);
	turns(30);
	assert_int_equal(got(client, buf, sizeof(buf)), 0);
	assert_int_equal(near_done, 1);
	assert_int_equal(far_done, 1);
	assert_int_equal(near_error, 0);
	assert_int_equal(mux_stats(near)->streams + mux_stats(far)->streams, 0);
}

static void abort_fd(int fd)
{
	struct linger hard = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void a_reset_arrives_as_a_reset(void **state)
{
	char buf[64];

	(void)state;
	turns(20);
	abort_fd(server);
	server = -1;
	turns(30);
	assert_int_equal(got(client, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(far_error, -ECONNRESET);
	assert_int_equal(near_error, -ECONNRESET);
	assert_int_equal(near_done + far_done, 2);
}

static void a_lost_session_is_a_reset_and_no_end_of_file(void **state)
{
	char buf[64];

	(void)state;
	turns(20);
	mux_free(near);
	near = mux_new(true, &events, NULL);
	link_stalled = true;
	turns(20);
	assert_int_equal(got(client, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(near_error, -ECONNABORTED);
}

static void a_refusal_resets_the_client(void **state)
{
	char buf[64];

	(void)state;
	close(far_fd);
	far_fd = -1;
	turns(30);
	assert_int_equal(got(client, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(near_error, -ECONNREFUSED);
}

/* Writes until the whole way is full; returns how much went in. */
static size_t fill(int fd)
{
	static uint8_t block[65536];
	size_t total = 0;

	for (int idle = 0; idle < 3;) {
		ssize_t n;

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)((total + i) * 7 / 3);
		n = send(fd, block, sizeof(block), MSG_DONTWAIT);
		if (n > 0)
			total += (size_t)n;
		idle = n > 0 ? 0 : idle + 1;
		turns(10);
	}
	return total;
}

static void drain(int fd, size_t want)
{
	static uint8_t block[65536];
	size_t total = 0;

	for (int idle = 0; total < want && idle < 50;) {
		ssize_t n = got(fd, block, sizeof(block));

		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(block[i], (uint8_t)((total + (size_t)i) * 7 / 3));
		if (n > 0)
			total += (size_t)n;
		idle = n > 0 ? 0 : idle + 1;
		turns(2);
	}
	assert_int_equal(total, want);
}

static void a_reader_that_stops_stops_the_writer_and_loses_nothing(void **state)
{
	size_t total;

	(void)state;
	total = fill(client);
	assert_true(mux_stats(near)->queued <= MUX_QUEUE_MAX);
	assert_true(total > MUX_CREDIT_INITIAL + MUX_QUEUE_MAX);
	/* The end of file stands behind all of it. */
	shutdown(client, SHUT_WR);
	turns(10);
	drain(server, total);
	turns(20);
	assert_int_equal(got(server, &total, 1), 0);
	assert_int_equal(near_done + far_done, 0);
}

static void the_last_bytes_reach_a_slow_reader_after_the_stream_has_ended(void **state)
{
	char buf[8];
	size_t total;

	(void)state;
	shutdown(server, SHUT_WR);
	turns(10);
	assert_int_equal(got(client, buf, sizeof(buf)), 0);
	total = fill(client);
	close(client);
	client = -1;
	turns(10);
	drain(server, total);
	turns(20);
	assert_int_equal(got(server, buf, sizeof(buf)), 0);
	assert_int_equal(near_done + far_done, 2);
	assert_int_equal(near_error + far_error, 0);
}

static void an_abort_from_outside_is_not_told(void **state)
{
	char buf[8];

	(void)state;
	turns(20);
	relay_abort(near_relay, MUX_REASON_CANCELLED);
	turns(20);
	assert_int_equal(got(client, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(near_done, 0);
	assert_int_equal(far_done, 1);
	assert_int_equal(got(server, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
}

static void a_unix_socket_sees_an_end_of_file_where_tcp_sees_a_reset(void **state)
{
	char buf[8];
	int sv[2], other[2];

	(void)state;
	turns(20);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, other), 0);
	far_fd = other[0];
	assert_non_null(relay_new(loop, sv[0], mux_open(near, MUX_KIND_SFTP, NULL, 0, NULL, NULL), NULL));
	assert_int_equal(send(sv[1], "x", 1, 0), 1);
	turns(20);
	assert_int_equal(got(other[1], buf, sizeof(buf)), 1);
	relay_abort(far_relay, MUX_REASON_INTERNAL);
	turns(20);
	assert_int_equal(got(sv[1], buf, sizeof(buf)), 0);
	assert_int_equal(got(other[1], buf, sizeof(buf)), 0);
	close(sv[1]);
	close(other[1]);
}

/* Two frames and a little more, which the link brings in one turn: a socket that keeps records shows one. */
static void pieces_of_bulk_leave_together_and_in_order(void **state)
{
	static uint8_t sent[2 * MUX_FRAME_MAX + 100], came[sizeof(sent) + 1];
	int sv[2];

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 / 3);
	close(far_fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	far_fd = sv[0];
	link_stalled = true;
	assert_int_equal(send(client, sent, sizeof(sent), 0), sizeof(sent));
	shutdown(client, SHUT_WR);
	turns(20);
	link_stalled = false;
	turns(20);
	assert_int_equal(got(sv[1], came, sizeof(came)), sizeof(sent));
	assert_memory_equal(came, sent, sizeof(sent));
	assert_int_equal(got(sv[1], came, 1), 0);
	close(sv[1]);
}

/* What was written before the reset can be read, as it could without us. */
static void bulk_before_a_reset_arrives(void **state)
{
	static uint8_t sent[MUX_FRAME_MAX], came[sizeof(sent)];

	(void)state;
	turns(20);
	link_stalled = true;
	assert_int_equal(send(server, sent, sizeof(sent), 0), sizeof(sent));
	turns(20);
	link_stalled = false;
	carry(far, near);
	relay_abort(far_relay, MUX_REASON_RESET);
	carry(far, near);
	turns(20);
	assert_int_equal(got(client, came, sizeof(came)), sizeof(sent));
	assert_int_equal(got(client, came, 1), -1);
	assert_int_equal(near_error, -ECONNRESET);
}

static void on_link(void *ctx, int fd, unsigned what)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 1);
	link_stalled = false;
	carry(near, far);
}

static int client_saw; /* first: an errno, 0 for an end of file; -1: nothing yet */

static void on_turn_over(void *ctx)
{
	char byte;
	ssize_t n = client_saw == -1 ? recv(client, &byte, 1, MSG_DONTWAIT) : 1;

	if (n == 0 || (n < 0 && errno != EAGAIN))
		client_saw = n ? errno : 0;
}

/* splice(2) is told of the reset instead of us; what comes next is for a socket that only shows an end of file. */
static void a_reset_that_another_call_was_told_of_is_no_end_of_file(void **state)
{
	static uint8_t sent[20000];
	int link[2], error = 0;
	socklen_t len = sizeof(error);
	struct loop_hook *after = loop_hook_new(loop, on_turn_over, NULL);
	struct loop_fd *watch;

	(void)state;
	client_saw = -1;
	turns(20);
	link_stalled = true;
	assert_int_equal(send(client, sent, sizeof(sent), 0), sizeof(sent));
	turns(20);
	assert_int_equal(pipe(link), 0);
	watch = loop_fd_new(loop, link[0], LOOP_READ, on_link, NULL);
	assert_int_equal(write(link[1], "", 1), 1);
	abort_fd(server);
	server = -1;
	assert_int_equal(getsockopt(far_fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	assert_int_equal(error, ECONNRESET);
	turns(30);
	assert_int_equal(client_saw, ECONNRESET);
	loop_hook_free(after);
	loop_fd_free(watch);
	close(link[0]);
	close(link[1]);
}

static void what_was_said_by_the_time_it_is_accepted_leaves_with_open(void **state)
{
	char said[6] = "";

	(void)state;
	assert_int_equal(send(client, "hello", 5, 0), 5);
	relay_read_now(near_relay);
	assert_true(carry(near, far) > 0); /* before the loop has turned */
	mux_deliver(far);
	assert_int_equal(got(server, said, sizeof(said)), 5);
	assert_string_equal(said, "hello");
	assert_int_equal(near_counted.bytes_in, 5);
}

static void a_client_that_is_gone_by_then_ends_it(void **state)
{
	(void)state;
	abort_fd(client);
	client = -1;
	relay_read_now(near_relay);
	assert_int_equal(near_done, 1);
	assert_int_equal(near_error, -ECONNRESET);
	turns(10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, connected, disconnected)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_pass_both_ways_and_are_counted),
		TEST(a_half_close_passes_and_the_other_direction_goes_on),
		TEST(a_reset_arrives_as_a_reset),
		TEST(a_lost_session_is_a_reset_and_no_end_of_file),
		TEST(a_refusal_resets_the_client),
		TEST(a_reader_that_stops_stops_the_writer_and_loses_nothing),
		TEST(the_last_bytes_reach_a_slow_reader_after_the_stream_has_ended),
		TEST(pieces_of_bulk_leave_together_and_in_order),
		TEST(bulk_before_a_reset_arrives),
		TEST(a_reset_that_another_call_was_told_of_is_no_end_of_file),
		TEST(an_abort_from_outside_is_not_told),
		TEST(a_unix_socket_sees_an_end_of_file_where_tcp_sees_a_reset),
		TEST(what_was_said_by_the_time_it_is_accepted_leaves_with_open),
		TEST(a_client_that_is_gone_by_then_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
