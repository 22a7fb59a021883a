/* SPDX-License-Identifier: MIT */
/* Listening in the guest for the host: what it is told, what becomes of connections, and what is left at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_msg.h"
#include "log.h"
#include "loop.h"
#include "mux_pair.h"
#include "open_args.h"
#include "reverse.h"
#include "sock_address.h"

struct world {
	struct loop *loop;
	struct loop_timer *timer;
	struct mux_pair *pair;
	struct reverse *reverse;
	struct control_listen_state told[16];
	size_t told_count;
	/* The last stream the host was offered; it is accepted. */
	struct mux_stream *stream;
	uint32_t id;
	unsigned opened;
	bool refuse, fin;
	char heard[64];
	size_t heard_len;
};

static void on_message(void *ctx, const struct control_msg *msg)
{
	struct world *w = ctx;

	assert_int_equal(msg->type, CONTROL_LISTEN_STATE);
	assert_true(w->told_count < 16);
	w->told[w->told_count++] = msg->listen_state;
}

static const struct reverse_events events = {.message = on_message};

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
	((struct world *)ctx)->stream = NULL;
}

static const struct mux_stream_events stream_events = {.data = on_data, .fin = on_fin, .closed = on_closed};

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	fail_msg("the host opens nothing here");
}

static void on_host_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct world *w = ctx;

	assert_int_equal(kind, MUX_KIND_REVERSE);
	assert_int_equal(reverse_target_get(args, len, &w->id), 0);
	w->opened++;
	if (w->refuse) {
		mux_stream_refuse(stream, MUX_REASON_REFUSED);
		return;
	}
	w->stream = stream;
	w->fin = false;
	w->heard_len = 0;
	mux_stream_accept(stream, &stream_events, w);
}

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

	w->loop = loop_new();
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	mux_pair_on_host_open(w->pair, on_host_open);
	w->reverse = reverse_new(w->loop, mux_pair_guest(w->pair), &events, w);
	assert_non_null(w->reverse);
	return w;
}

static void world_free(struct world *w)
{
	reverse_free(w->reverse);
	mux_pair_free(w->pair);
	run_ms(w, 0);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	free(w);
}

static const char *test_path(void)
{
	static char path[SOCKET_PATH_MAX];

	snprintf(path, sizeof(path), "/tmp/homeport-test-%d/s", getpid());
	return path;
}

static struct control_listen at_path(uint32_t id)
{
	struct control_listen l = {.id = id, .proto = LISTENER_TCP};

	snprintf(l.path, sizeof(l.path), "%s", test_path());
	return l;
}

/* A port that is free, held for as long as the descriptor is. */
static int hold_port(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*port = ntohs(in.sin_port);
	return fd;
}

static struct control_listen at_port(uint32_t id, uint16_t port)
{
	return (struct control_listen){
		.id = id, .proto = LISTENER_TCP, .family = 4, .addr = {127, 0, 0, 1}, .port = port};
}

static int connect_to(const struct control_listen *l)
{
	struct timeval patience = {.tv_sec = 5};
	struct sock_address at;
	int fd;

	if (l->family)
		sock_address_ip(&at, l->family, l->addr, 0, l->port);
	else
		sock_address_unix(&at, l->path);
	fd = socket(at.any.sa_family, (l->proto == LISTENER_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, &at.any, at.len) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void check_exchange(struct world *w, const struct control_listen *l)
{
	int fd = connect_to(l);
	char buf[8] = "";

	assert_true(fd >= 0);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	run_ms(w, 20);
	assert_int_equal(w->id, l->id);
	assert_int_equal(w->heard_len, 5);
	assert_memory_equal(w->heard, "hello", 5);
	shutdown(fd, SHUT_WR);
	run_ms(w, 20);
	assert_true(w->fin);
	assert_int_equal(mux_stream_write(w->stream, "world", 5), 5);
	mux_stream_fin(w->stream);
	run_ms(w, 20);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 5);
	assert_string_equal(buf, "world");
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 0);
	close(fd);
	run_ms(w, 20);
	assert_null(w->stream);
}

static void a_connection_is_a_stream_with_the_hosts_number(void **state)
{
	struct world *w = world_new();
	struct control_listen path = at_path(7), port;
	uint16_t number;
	int refused;
	char c;

	close(hold_port(&number));
	port = at_port(9, number);
	assert_int_equal(reverse_listen(w->reverse, &path), 0);
	assert_int_equal(reverse_listen(w->reverse, &port), 0);
	assert_int_equal(w->told_count, 2);
	assert_true(w->told[0].id == 7 && w->told[0].error == 0 && w->told[1].id == 9 && w->told[1].error == 0);
	check_exchange(w, &path);
	check_exchange(w, &port);
	w->refuse = true;
	refused = connect_to(&port);
	run_ms(w, 20);
	assert_int_equal(recv(refused, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(refused);
	refused = connect_to(&path);
	run_ms(w, 20);
	assert_int_equal(recv(refused, &c, 1, 0), 0);
	close(refused);
	assert_int_equal(reverse_listen(w->reverse, &port), -EPROTO); /* the number is taken */
	reverse_free(w->reverse);
	w->reverse = NULL;
	assert_int_equal(connect_to(&path), -ENOENT);
	assert_int_equal(connect_to(&port), -ECONNREFUSED);
	rmdir(dirname(path.path));
	world_free(w);
}

static void a_place_that_is_taken_is_told_once_and_had_when_it_is_free(void **state)
{
	struct world *w = world_new();
	struct control_listen port;
	uint16_t number;
	int holder = hold_port(&number);

	port = at_port(1, number);
	assert_int_equal(reverse_listen(w->reverse, &port), 0);
	run_ms(w, 700);
	assert_int_equal(w->told_count, 1);
	assert_int_equal(w->told[0].error, EADDRINUSE);
	close(holder);
	run_ms(w, 400);
	assert_int_equal(w->told_count, 2);
	assert_int_equal(w->told[1].error, 0);
	check_exchange(w, &port);
	world_free(w);
}

static void there_are_no_more_than_the_host_has_rules(void **state)
{
	struct world *w = world_new();
	struct control_listen nowhere = {.proto = LISTENER_TCP, .family = 4, .addr = {192, 0, 2, 1}, .port = 1};
	int rc = 0;

	for (nowhere.id = 1; rc == 0; nowhere.id++) {
		w->told_count = 0;
		rc = reverse_listen(w->reverse, &nowhere);
		assert_true(rc < 0 || w->told[0].error == EADDRNOTAVAIL);
	}
	assert_int_equal(rc, -EPROTO);
	assert_int_equal(nowhere.id - 2, LISTENS_MAX);
	world_free(w);
}

static void each_client_of_a_udp_port_is_a_stream(void **state)
{
	struct world *w = world_new();
	struct mux_stream *first = NULL;
	struct control_listen port;
	uint16_t number;
	int clients[2];
	char buf[8];

	close(hold_port(&number));
	port = at_port(3, number);
	port.proto = LISTENER_UDP;
	assert_int_equal(reverse_listen(w->reverse, &port), 0);
	assert_true(w->told_count == 1 && w->told[0].error == 0);
	for (int i = 0; i < 2; i++) {
		clients[i] = connect_to(&port);
		assert_int_equal(send(clients[i], "one", 3, 0), 3);
		assert_int_equal(send(clients[i], "", 0, 0), 0);
		run_ms(w, 20);
		assert_true(w->opened == (unsigned)i + 1 && w->id == 3);
		assert_int_equal(w->heard_len, 7);
		assert_memory_equal(w->heard, "\0\3one\0\0", 7);
		if (i == 0)
			first = w->stream;
	}
	assert_int_equal(mux_stream_write(first, "\0\4back\0\0", 8), 8);
	run_ms(w, 20);
	assert_int_equal(recv(clients[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
	assert_int_equal(recv(clients[0], buf, sizeof(buf), MSG_DONTWAIT), 4);
	assert_int_equal(recv(clients[0], buf, sizeof(buf), MSG_DONTWAIT), 0);
	assert_int_equal(reverse_unlisten(w->reverse, 3), 0);
	run_ms(w, 20);
	assert_null(w->stream);
	assert_int_equal(send(clients[1], "x", 1, 0), 1);
	assert_int_equal(send(clients[1], "x", 1, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(clients[0]);
	close(clients[1]);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_is_a_stream_with_the_hosts_number),
		cmocka_unit_test(a_place_that_is_taken_is_told_once_and_had_when_it_is_free),
		cmocka_unit_test(each_client_of_a_udp_port_is_a_stream),
		cmocka_unit_test(there_are_no_more_than_the_host_has_rules),
	};

	log_init("test_reverse_guest", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
