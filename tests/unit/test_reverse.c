/* SPDX-License-Identifier: MIT */
/* Reverse forwards on the host: what the guest is told, what it may open, and what is shown of what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include "control_msg.h"
#include "forward_world.h"
#include "log.h"
#include "mux_pair.h"
#include "open_args.h"
#include "reverse.h"
#include "wire.h"

#define TOLD_MAX 16

struct guest_stream {
	struct mux_stream *stream; /* NULL: closed */
	enum mux_reason reason;
	bool fin;
	char heard[64];
	size_t heard_len;
};

struct reversed {
	struct loop *loop;
	struct loop_timer *timer;
	struct rules *rules;
	struct mux_pair *pair;
	struct reverse *reverse;
	struct control_listen told[TOLD_MAX];
	size_t told_count;
	unsigned changes;
};

static void on_send(void *ctx, const struct control_msg *msg)
{
	struct reversed *w = ctx;

	assert_int_equal(msg->type, CONTROL_LISTEN);
	assert_true(w->told_count < TOLD_MAX);
	w->told[w->told_count++] = msg->listen;
}

static void on_changed(void *ctx)
{
	((struct reversed *)ctx)->changes++;
}

static const struct reverse_events events = {.send = on_send, .changed = on_changed};

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	fail_msg("the host opens nothing here");
}

static void on_host_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	assert_int_equal(kind, MUX_KIND_REVERSE);
	reverse_open(((struct reversed *)ctx)->reverse, stream, args, len);
}

static void on_stop(void *ctx)
{
	loop_stop(((struct reversed *)ctx)->loop);
}

static void run_ms(struct reversed *w, unsigned ms)
{
	loop_timer_set(w->timer, ms * 1000ull);
	loop_run(w->loop);
}

static struct reversed *reversed_new(const struct rule_spec *specs)
{
	struct reversed *w = calloc(1, sizeof(*w));
	char why[RULE_WHY_MAX] = "";

	w->loop = loop_new();
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->rules = rules_new(0);
	for (; specs->origin; specs++)
		if (rules_add(w->rules, specs, why) < 0)
			fail_msg("%s", why);
	w->reverse = reverse_new(w->loop, w->rules, &world_names, &events, w);
	assert_non_null(w->reverse);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	mux_pair_on_host_open(w->pair, on_host_open);
	return w;
}

static void reversed_free(struct reversed *w)
{
	reverse_free(w->reverse);
	mux_pair_free(w->pair);
	run_ms(w, 0);
	rules_free(w->rules);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	free(w);
}

/* --- what is shown ---------------------------------------------------------------------------------------------- */

static void on_row(void *ctx, const struct forward_info *info)
{
	char *text = ctx;

	assert_true(info->reverse);
	sprintf(text + strlen(text), "%s %s <- %s%s%s, %s%s%s, %u open\n", info->proto, info->guest, info->host[0],
		info->host_count > 1 ? " " : "", info->host_count > 1 ? info->host[1] : "",
		forward_state_name(info->state), info->reason ? ": " : "", info->reason ? info->reason : "",
		info->connections);
}

static const char *rows(struct reversed *w)
{
	static char text[1 << 14];

	text[0] = '\0';
	reverse_list(w->reverse, on_row, text);
	return text;
}

static int answer(struct reversed *w, uint32_t id, int error)
{
	return reverse_state(w->reverse, &(struct control_listen_state){.id = id, .error = (uint32_t)error});
}

static void the_guest_is_told_where_to_listen_and_its_answers_are_shown(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 5432, .reverse = true},
		{.origin = "b", .guest_port = 80, .host_ip = "localhost", .host_port = 8080, .reverse = true},
		{.origin = "c", .guest_socket = "{{.Home}}/{{.User}}", .host_socket = "a", .reverse = true},
		{.origin = "d", .guest_port = 9},
		{0},
	};
	struct reversed *w = reversed_new(specs);

	assert_int_equal(answer(w, 1, 0), -EPROTO); /* it was told nothing yet */
	reverse_begin(w->reverse);
	assert_int_equal(w->told_count, 3);
	assert_true(w->told[0].id == 1 && w->told[0].family == 4 && w->told[0].port == 5432 &&
		    w->told[0].addr[0] == 127);
	assert_true(w->told[2].id == 3 && w->told[2].family == 0);
	assert_string_equal(w->told[2].path, "/tmp/you");
	assert_false(reverse_is_settled(w->reverse));
	assert_int_equal(answer(w, 1, 0), 0);
	assert_int_equal(answer(w, 2, EADDRINUSE), 0);
	assert_false(reverse_is_settled(w->reverse));
	assert_int_equal(answer(w, 3, EACCES), 0);
	assert_true(reverse_is_settled(w->reverse));
	assert_int_equal(answer(w, 0, 0), -EPROTO);
	assert_int_equal(answer(w, 4, 0), -EPROTO);
	assert_int_equal(answer(w, UINT32_MAX, 0), -EPROTO);
	assert_string_equal(
		rows(w),
		"tcp 127.0.0.1:5432 <- 127.0.0.1:5432, forwarded, 0 open\n"
		"tcp 127.0.0.1:80 <- 127.0.0.1:8080 [::1]:8080, conflict: 127.0.0.1:80 is in use in the guest, "
		"0 open\n"
		"unix /tmp/you <- /tmp/sock/a, failed: /tmp/you in the guest: Permission denied, 0 open\n");
	answer(w, 2, EACCES);
	assert_non_null(strstr(rows(w), "127.0.0.1:80: only root may listen on this port in the guest"));
	answer(w, 3, EEXIST);
	assert_non_null(strstr(rows(w), "conflict: /tmp/you is there in the guest, and is no socket"));
	answer(w, 3, -1); /* whatever number it says */
	assert_non_null(strstr(rows(w), "/tmp/you in the guest: failed"));
	answer(w, 2, 0);
	assert_non_null(strstr(rows(w), "[::1]:8080, forwarded"));
	reverse_end(w->reverse);
	assert_non_null(strstr(rows(w), "failed: the guest is not there"));
	assert_int_equal(answer(w, 1, 0), -EPROTO);
	reverse_begin(w->reverse);
	assert_int_equal(w->told_count, 6);
	reversed_free(w);
}

static void a_path_that_is_too_long_is_shown_and_not_told(void **state)
{
	char too_long[120] = "{{.Home}}/";
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_socket = too_long, .host_port = 80, .reverse = true},
		{.origin = "b", .guest_port = 80, .host_socket = too_long, .reverse = true},
		{0},
	};
	struct reversed *w;

	memset(too_long + 10, 'x', 105);
	w = reversed_new(specs);
	reverse_begin(w->reverse);
	assert_int_equal(w->told_count, 0);
	assert_true(reverse_is_settled(w->reverse));
	assert_int_equal(answer(w, 1, 0), -EPROTO);
	assert_non_null(strstr(rows(w), "failed: the path is longer than 107 bytes, which no socket's can be"));
	reversed_free(w);
}

/* --- connections ------------------------------------------------------------------------------------------------ */

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct guest_stream *s = ctx;

	assert_true(s->heard_len + len < sizeof(s->heard));
	memcpy(s->heard + s->heard_len, data, len);
	s->heard_len += len;
	mux_stream_consumed(s->stream, len);
}

static void on_fin(void *ctx)
{
	((struct guest_stream *)ctx)->fin = true;
}

static void on_closed(void *ctx, enum mux_reason reason)
{
	struct guest_stream *s = ctx;

	s->stream = NULL;
	s->reason = reason;
}

static const struct mux_stream_events stream_events = {.data = on_data, .fin = on_fin, .closed = on_closed};

static struct guest_stream *open_id(struct reversed *w, uint32_t id, struct guest_stream *s)
{
	struct wire_buf args = {0};

	*s = (struct guest_stream){.reason = MUX_REASON_COUNT};
	reverse_target_put(&args, id);
	s->stream = mux_open(mux_pair_guest(w->pair), MUX_KIND_REVERSE, args.data, args.len, &stream_events, s);
	wire_buf_free(&args);
	run_ms(w, 20);
	return s;
}

static void the_guest_opens_what_it_was_given_a_number_for_and_nothing_else(void **state)
{
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 80},
		{.origin = "b", .guest_port = 81, .host_port = 81, .is_static = true},
		{.origin = "c", .guest_port = 5432, .host_port = free_port(), .reverse = true},
		{0},
	};
	struct reversed *w = reversed_new(specs);
	struct guest_stream s;

	assert_int_equal(open_id(w, 1, &s)->reason, MUX_REASON_PROHIBITED); /* it was not told yet */
	reverse_begin(w->reverse);
	for (uint32_t id = 2; id < 5; id++)
		assert_int_equal(open_id(w, id, &s)->reason, MUX_REASON_PROHIBITED);
	assert_int_equal(open_id(w, 0, &s)->reason, MUX_REASON_PROHIBITED);
	assert_int_equal(open_id(w, UINT32_MAX, &s)->reason, MUX_REASON_PROHIBITED);
	s = (struct guest_stream){.reason = MUX_REASON_COUNT};
	s.stream = mux_open(mux_pair_guest(w->pair), MUX_KIND_REVERSE, (const uint8_t *)"\0\0\0\1\0", 5, &stream_events,
			    &s);
	run_ms(w, 20);
	assert_int_equal(s.reason, MUX_REASON_PROHIBITED);
	assert_int_equal(open_id(w, 1, &s)->reason, MUX_REASON_REFUSED); /* there is nobody, but it may ask */
	assert_non_null(strstr(rows(w), "0 open"));
	reversed_free(w);
}

static void check_exchange(struct reversed *w, int listener)
{
	struct guest_stream s;
	char buf[8] = "";
	int fd;

	open_id(w, 1, &s);
	assert_int_equal(mux_stream_write(s.stream, "hello", 5), 5);
	run_ms(w, 20);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_non_null(strstr(rows(w), "1 open"));
	assert_int_equal(recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_string_equal(buf, "hello");
	mux_stream_fin(s.stream);
	run_ms(w, 20);
	assert_int_equal(recv(fd, buf, 1, 0), 0); /* half closed */
	assert_int_equal(send(fd, "world", 5, 0), 5);
	close(fd);
	run_ms(w, 20);
	assert_int_equal(s.heard_len, 5);
	assert_memory_equal(s.heard, "world", 5);
	assert_true(s.fin);
	assert_int_equal(s.reason, MUX_REASON_NONE);
	assert_non_null(strstr(rows(w), "0 open"));
}

static void a_stream_reaches_the_service_at_a_port_whichever_loopback_it_is_on(void **state)
{
	uint16_t port = free_port();
	const struct rule_spec specs[] = {
		{.origin = "a", .guest_port = 1, .host_port = port, .host_ip = "localhost", .reverse = true}, {0}};
	struct reversed *w = reversed_new(specs);
	int listener = listen_at("127.0.0.1", &port);

	reverse_begin(w->reverse);
	check_exchange(w, listener);
	close(listener);
	listener = listen6(port);
	check_exchange(w, listener);
	close(listener);
	reversed_free(w);
}

static void a_stream_reaches_the_service_at_a_socket(void **state)
{
	char path[64];
	const struct rule_spec specs[] = {{.origin = "a", .guest_socket = "/a", .host_socket = path, .reverse = true},
					  {0}};
	struct reversed *w;
	struct guest_stream s;
	int listener;

	snprintf(path, sizeof(path), "/tmp/homeport-test-%d", getpid());
	w = reversed_new(specs);
	reverse_begin(w->reverse);
	assert_int_equal(open_id(w, 1, &s)->reason, MUX_REASON_NOT_FOUND);
	listener = listen_path(path);
	check_exchange(w, listener);
	close(listener);
	assert_int_equal(open_id(w, 1, &s)->reason, MUX_REASON_REFUSED);
	unlink(path);
	reversed_free(w);
}

static int bound_udp(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

/* As connect(2) would: a queue that is full is waited for. */
static void a_socket_whose_queue_is_full_is_waited_for(void **state)
{
	char path[64];
	const struct rule_spec specs[] = {{.origin = "a", .guest_socket = "/a", .host_socket = path, .reverse = true},
					  {0}};
	struct reversed *w;
	struct guest_stream s;
	int listener, first;

	snprintf(path, sizeof(path), "/tmp/homeport-test-%d", getpid());
	w = reversed_new(specs);
	reverse_begin(w->reverse);
	listener = listen_path(path);
	assert_int_equal(listen(listener, 0), 0);
	first = dial_path(path);
	open_id(w, 1, &s);
	run_ms(w, 50);
	assert_non_null(s.stream);
	assert_non_null(strstr(rows(w), "1 open"));
	close(accept(listener, NULL, NULL)); /* the first one */
	close(first);
	run_ms(w, 50);
	first = accept(listener, NULL, NULL);
	assert_true(first >= 0);
	mux_stream_reset(s.stream, MUX_REASON_CANCELLED);
	run_ms(w, 20);
	assert_non_null(strstr(rows(w), "0 open"));
	close(first);
	/* And one that the opener, or we, give up meanwhile. */
	first = dial_path(path);
	mux_stream_reset(open_id(w, 1, &s)->stream, MUX_REASON_CANCELLED);
	run_ms(w, 20);
	assert_non_null(strstr(rows(w), "0 open"));
	open_id(w, 1, &s);
	assert_non_null(s.stream);
	reverse_free(w->reverse);
	w->reverse = NULL;
	run_ms(w, 20);
	assert_int_equal(s.reason, MUX_REASON_CANCELLED);
	close(first);
	close(listener);
	unlink(path);
	reversed_free(w);
}

static void a_udp_service_gets_each_clients_datagrams_from_a_socket_of_its_own(void **state)
{
	uint16_t port = 0;
	int server = bound_udp(&port);
	const struct rule_spec specs[] = {{.origin = "a",
					   .guest_port = 53,
					   .host_port = port,
					   .host_ip = "localhost",
					   .proto = RULE_PROTO_UDP,
					   .reverse = true},
					  {0}};
	struct reversed *w = reversed_new(specs);
	struct guest_stream s[2];
	struct sockaddr_in from[2];
	socklen_t len = sizeof(from[0]);
	char buf[8];

	reverse_begin(w->reverse);
	assert_true(w->told_count == 1 && w->told[0].proto == LISTENER_UDP && w->told[0].port == 53);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mux_stream_write(open_id(w, 1, &s[i])->stream, "\0\3one\0\0", 7), 7);
		run_ms(w, 20);
		assert_int_equal(recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&from[i], &len), 3);
		assert_int_equal(recv(server, buf, sizeof(buf), 0), 0);
	}
	assert_true(from[0].sin_port != from[1].sin_port);
	assert_int_equal(sendto(server, "back", 4, 0, (struct sockaddr *)&from[1], len), 4);
	run_ms(w, 20);
	assert_true(s[0].heard_len == 0 && s[1].heard_len == 6);
	assert_memory_equal(s[1].heard, "\0\4back", 6);
	assert_non_null(strstr(rows(w), "udp 127.0.0.1:53 <- 127.0.0.1:"));
	assert_non_null(strstr(rows(w), "2 open"));
	mux_stream_reset(s[0].stream, MUX_REASON_CANCELLED);
	close(server);
	mux_stream_write(s[1].stream, "\0\0", 2);
	run_ms(w, 20);
	assert_int_equal(s[1].reason, MUX_REASON_REFUSED);
	assert_non_null(strstr(rows(w), "0 open"));
	reversed_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_is_told_where_to_listen_and_its_answers_are_shown),
		cmocka_unit_test(a_path_that_is_too_long_is_shown_and_not_told),
		cmocka_unit_test(the_guest_opens_what_it_was_given_a_number_for_and_nothing_else),
		cmocka_unit_test(a_stream_reaches_the_service_at_a_port_whichever_loopback_it_is_on),
		cmocka_unit_test(a_stream_reaches_the_service_at_a_socket),
		cmocka_unit_test(a_socket_whose_queue_is_full_is_waited_for),
		cmocka_unit_test(a_udp_service_gets_each_clients_datagrams_from_a_socket_of_its_own),
	};

	log_init("test_reverse", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
