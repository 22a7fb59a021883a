/* SPDX-License-Identifier: MIT */
/* Connecting streams to sockets: who may be connected to, and what the host is told. Two muxes, real sockets. */
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
#include <sys/un.h>
#include <unistd.h>

#include "control_msg.h"
#include "dial.h"
#include "listener_source.h"
#include "log.h"
#include "loop.h"
#include "mux_pair.h"
#include "open_args.h"
#include "ports.h"
#include "wire.h"

struct world {
	struct loop *loop;
	struct loop_timer *timer;
	struct ports *ports;
	struct dial *dial;
	struct mux_pair *pair;
	struct mux_stream *stream; /* NULL: closed */
	enum mux_kind kind;        /* of the streams that are opened */
	bool accepted, fin, complete;
	enum mux_reason reason;
	char heard[64];
	size_t heard_len;
};

static void on_accepted(void *ctx)
{
	((struct world *)ctx)->accepted = true;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct world *w = ctx;

	assert_true(w->heard_len + len < sizeof(w->heard));
	memcpy(w->heard + w->heard_len, data, len);
	w->heard_len += len;
	mux_stream_consumed(w->stream, len);
}

static void on_fin(void *ctx)
{
	((struct world *)ctx)->fin = true;
}

static void on_closed(void *ctx, enum mux_reason reason)
{
	struct world *w = ctx;

	w->stream = NULL;
	w->reason = reason;
}

static const struct mux_stream_events stream_events = {
	.accepted = on_accepted,
	.data = on_data,
	.fin = on_fin,
	.closed = on_closed,
};

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct world *w = ctx;

	if (kind == MUX_KIND_UNIX)
		dial_open_unix(w->dial, stream, args, len);
	else
		dial_open(w->dial, stream, kind, args, len);
}

static int on_message(void *ctx, const struct control_msg *msg)
{
	((struct world *)ctx)->complete |= msg->type == CONTROL_PORTS_END;
	return 0;
}

static const struct ports_events ports_events = {.message = on_message};

static void on_stop(void *ctx)
{
	loop_stop(((struct world *)ctx)->loop);
}

static void run_ms(struct world *w, unsigned ms)
{
	loop_timer_set(w->timer, ms * 1000ull);
	loop_run(w->loop);
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	w->kind = MUX_KIND_TCP;
	w->loop = loop_new();
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->ports = ports_new(w->loop, listener_poll_new(w->loop, 0), &ports_events, w);
	w->dial = dial_new(w->loop, w->ports);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	assert_non_null(w->dial);
	return w;
}

static void world_free(struct world *w)
{
	dial_free(w->dial);
	mux_pair_free(w->pair);
	run_ms(w, 0);
	ports_free(w->ports);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	free(w);
}

/* Opens a stream, with some bytes right behind; runs until it is answered or ended, at most a second. */
static void open_kind(struct world *w, enum mux_kind kind, const struct wire_buf *args, const char *say)
{
	w->accepted = w->fin = false;
	w->reason = MUX_REASON_COUNT;
	w->heard_len = 0;
	w->stream = mux_open(mux_pair_host(w->pair), kind, args->data, args->len, &stream_events, w);
	assert_int_equal(mux_stream_write(w->stream, say, strlen(say)), strlen(say));
	/* ACCEPT waits for what the server says: nothing tells that there is a connection. */
	for (int i = 0; i < 20 && w->stream; i++)
		run_ms(w, 10);
}

static void open_to(struct world *w, const char *ip, uint16_t port, const char *say)
{
	struct tcp_target t = {.family = strchr(ip, ':') ? 6 : 4, .port = port};
	struct wire_buf args = {0};

	assert_int_equal(inet_pton(t.family == 4 ? AF_INET : AF_INET6, ip, t.addr), 1);
	tcp_target_put(&args, &t);
	open_kind(w, w->kind, &args, say);
	wire_buf_free(&args);
}

static void open_path(struct world *w, const char *path, const char *say)
{
	struct wire_buf args = {0};

	wire_put_cstring(&args, path);
	open_kind(w, MUX_KIND_UNIX, &args, say);
	wire_buf_free(&args);
}

static int bound_at(const char *ip, int type, uint16_t *port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in = {.sin_family = AF_INET};
	bool six = strchr(ip, ':') != NULL;
	struct sockaddr *sa = six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t len = six ? sizeof(in6) : sizeof(in);
	int fd = socket(sa->sa_family, type | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(sa->sa_family, ip, six ? (void *)&in6.sin6_addr : (void *)&in.sin_addr), 1);
	assert_int_equal(bind(fd, sa, len), 0);
	assert_int_equal(getsockname(fd, sa, &len), 0);
	*port = ntohs(six ? in6.sin6_port : in.sin_port);
	return fd;
}

static int listen_at(const char *ip, uint16_t *port)
{
	int fd = bound_at(ip, SOCK_STREAM, port);

	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* Of a stream that said "hello": the server answers, and both end. */
static void check_dialogue(struct world *w, int listener)
{
	char buf[8] = "";
	int fd;

	assert_false(w->accepted);
	fd = accept(listener, NULL, NULL);
	run_ms(w, 20);
	assert_int_equal(recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(send(fd, "world", 5, 0), 5);
	close(fd);
	run_ms(w, 50);
	assert_true(w->accepted);
	assert_int_equal(w->heard_len, 5);
	assert_memory_equal(w->heard, "world", 5);
	assert_true(w->fin);
	mux_stream_fin(w->stream);
	run_ms(w, 50);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_NONE);
}

static void check_answered(struct world *w, int listener, const char *ip, uint16_t port)
{
	open_to(w, ip, port, "hello");
	check_dialogue(w, listener);
}

static void what_was_said_behind_open_arrives_and_the_answer_comes_back(void **state)
{
	struct world *w = world_new();
	uint16_t port;
	int fd = listen_at("127.0.0.1", &port);

	check_answered(w, fd, "127.0.0.1", port);
	check_answered(w, fd, "0.0.0.0", port); /* unspecified means loopback */
	close(fd);
	fd = listen_at("::1", &port);
	check_answered(w, fd, "::1", port);
	check_answered(w, fd, "::", port);
	close(fd);
	world_free(w);
}

static void a_port_nobody_listens_on_is_refused(void **state)
{
	struct world *w = world_new();
	uint16_t port;

	close(listen_at("127.0.0.1", &port));
	open_to(w, "127.0.0.1", port, "hello");
	assert_false(w->accepted);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_REFUSED);
	world_free(w);
}

static void the_world_beyond_the_guest_is_prohibited(void **state)
{
	static const char *const elsewhere[] = {"10.0.0.1",    "192.0.2.1", "255.255.255.255", "224.0.0.1",
						"2001:db8::1", "fe80::1",   "::ffff:192.0.2.1"};
	struct world *w = world_new();

	ports_start(w->ports);
	for (size_t i = 0; i < 2 * sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		w->kind = i % 2 ? MUX_KIND_UDP : MUX_KIND_TCP;
		open_to(w, elsewhere[i / 2], 80, "");
		assert_int_equal(w->reason, MUX_REASON_PROHIBITED);
	}
	world_free(w);
}

static void arguments_that_are_none_are_prohibited(void **state)
{
	struct world *w = world_new();

	w->stream = mux_open(mux_pair_host(w->pair), MUX_KIND_TCP, (const uint8_t *)"x", 1, &stream_events, w);
	run_ms(w, 20);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_PROHIBITED);
	world_free(w);
}

static void a_unix_socket_is_reached_by_its_path(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct world *w = world_new();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/homeport-test-%d", getpid());
	open_path(w, un.sun_path, "hello");
	assert_int_equal(w->reason, MUX_REASON_NOT_FOUND);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 5), 0);
	open_path(w, un.sun_path, "hello");
	check_dialogue(w, fd);
	close(fd);
	open_path(w, un.sun_path, "hello");
	assert_int_equal(w->reason, MUX_REASON_REFUSED);
	unlink(un.sun_path);
	open_path(w, "relative", "");
	assert_int_equal(w->reason, MUX_REASON_PROHIBITED);
	open_path(w, "", "");
	assert_int_equal(w->reason, MUX_REASON_PROHIBITED);
	world_free(w);
}

static void a_stream_given_up_at_once_leaves_nothing(void **state)
{
	struct world *w = world_new();
	uint16_t port;
	int fd = listen_at("127.0.0.1", &port), one;
	char c;

	open_to(w, "127.0.0.1", port, "");
	mux_stream_reset(w->stream, MUX_REASON_CANCELLED);
	run_ms(w, 50);
	one = accept(fd, NULL, NULL);
	assert_int_equal(recv(one, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(one);
	close(fd);
	world_free(w);
}

/* A server whose queue is full: the kernel drops what knocks, as a machine does that is not there. */
static void a_connection_nobody_answers_waits_until_somebody_gives_up(void **state)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1};
	struct world *w = world_new();
	struct sockaddr_in in = {.sin_family = AF_INET};
	uint16_t port;
	int fd = listen_at("127.0.0.1", &port), first[2];

	assert_int_equal(listen(fd, 0), 0);
	in.sin_port = htons(port);
	memcpy(&in.sin_addr, loopback, sizeof(loopback));
	for (int i = 0; i < 2; i++) {
		first[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(first[i], (struct sockaddr *)&in, sizeof(in));
	}
	open_to(w, "127.0.0.1", port, "");
	assert_false(w->accepted);
	assert_non_null(w->stream);
	mux_stream_reset(w->stream, MUX_REASON_CANCELLED); /* the opener */
	run_ms(w, 20);
	open_to(w, "127.0.0.1", port, "");
	assert_non_null(w->stream);
	dial_free(w->dial); /* the guest */
	w->dial = NULL;
	run_ms(w, 20);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_CANCELLED);
	close(first[0]);
	close(first[1]);
	close(fd);
	world_free(w);
}

static void datagrams_pass_and_come_back_one_by_one(void **state)
{
	struct world *w = world_new();
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char buf[8];
	uint16_t port;
	int fd = bound_at("127.0.0.1", SOCK_DGRAM, &port);

	(void)state;
	w->kind = MUX_KIND_UDP;
	open_to(w, "127.0.0.1", port, "");
	assert_int_equal(mux_stream_write(w->stream, "\0\3one\0\0\0\3tw", 11), 11);
	run_ms(w, 20);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 3);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 0);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	mux_stream_write(w->stream, "o", 1);
	run_ms(w, 20);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 3);
	assert_memory_equal(buf, "two", 3);
	assert_int_equal(sendto(fd, "back", 4, 0, (struct sockaddr *)&from, len), 4);
	assert_int_equal(sendto(fd, "", 0, 0, (struct sockaddr *)&from, len), 0);
	run_ms(w, 20);
	assert_int_equal(w->heard_len, 8);
	assert_memory_equal(w->heard, "\0\4back\0\0", 8);
	mux_stream_reset(w->stream, MUX_REASON_CANCELLED);
	run_ms(w, 20);
	/* Nobody is there any more to be answered. */
	assert_int_equal(connect(fd, (struct sockaddr *)&from, len), 0);
	send(fd, "", 0, 0);
	assert_int_equal(send(fd, "", 0, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	world_free(w);
}

static void a_udp_port_nobody_serves_is_refused_at_the_first_datagram(void **state)
{
	struct world *w = world_new();
	uint16_t port;

	(void)state;
	close(bound_at("127.0.0.1", SOCK_DGRAM, &port));
	w->kind = MUX_KIND_UDP;
	open_to(w, "127.0.0.1", port, "");
	assert_non_null(w->stream);
	assert_int_equal(mux_stream_write(w->stream, "\0\0", 2), 2);
	run_ms(w, 20);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_REFUSED);
	world_free(w);
}

static void what_is_no_datagram_resets_the_stream(void **state)
{
	struct world *w = world_new();
	uint16_t port;
	int fd = bound_at("127.0.0.1", SOCK_DGRAM, &port);

	(void)state;
	w->kind = MUX_KIND_UDP;
	open_to(w, "127.0.0.1", port, "\xff\xff");
	assert_null(w->stream);
	open_to(w, "127.0.0.1", port, "");
	mux_stream_fin(w->stream);
	run_ms(w, 20);
	assert_null(w->stream);
	assert_int_equal(w->reason, MUX_REASON_INTERNAL);
	close(fd);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_said_behind_open_arrives_and_the_answer_comes_back),
		cmocka_unit_test(a_port_nobody_listens_on_is_refused),
		cmocka_unit_test(the_world_beyond_the_guest_is_prohibited),
		cmocka_unit_test(arguments_that_are_none_are_prohibited),
		cmocka_unit_test(a_unix_socket_is_reached_by_its_path),
		cmocka_unit_test(a_stream_given_up_at_once_leaves_nothing),
		cmocka_unit_test(a_connection_nobody_answers_waits_until_somebody_gives_up),
		cmocka_unit_test(datagrams_pass_and_come_back_one_by_one),
		cmocka_unit_test(a_udp_port_nobody_serves_is_refused_at_the_first_datagram),
		cmocka_unit_test(what_is_no_datagram_resets_the_stream),
	};

	log_init("test_dial", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
