/* SPDX-License-Identifier: MIT */
/*
 * Relays between two muxes in one loop: a client's TCP connection, a relay, the muxes, a relay, a server's connection.
 * What the client sees must be what a direct connection would have shown; also when the relays leave, and others go on
 * with their sockets on a second stream.
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
#include "fifo.h"
#include "loop.h"
#include "mux.h"
#include "relay.h"
#include "wire.h"

static struct loop *loop;
static struct loop_hook *hook;
static struct mux *near, *far;
static struct relay *near_relay, *far_relay;
static struct relay_stats near_counted, far_counted;
static int near_done, far_done, near_error, far_error;
static int far_fd; /* what the next stream is relayed to */
static bool link_stalled;

/* A carrier that keeps what it is given, until the test has it go on. */
struct carriage {
	struct relay_carrier carrier;
	bool wants;
	bool stalls; /* the link, as soon as it has said yes */
	bool refuses;
	int asked, promised, stayed, taken, dropped;
	struct relay *of; /* that it was given by, and is to be told; NULL: it was dropped */
	uint32_t id;
	struct relay_luggage luggage; /* fd -1: none */
	struct relay *ride;
	struct relay_stats passed;
};

static struct carriage near_carriage, far_carriage;
static bool far_carries, far_by_hand;
static struct mux_stream *far_stream; /* when it is by hand */
static int far_leaves, far_closed;
static enum mux_reason far_reason;

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

static bool on_wanted(void *ctx)
{
	struct carriage *c = ctx;

	c->asked++;
	c->promised += c->wants;
	if (c->wants && c->stalls)
		link_stalled = true;
	return c->wants;
}

static void on_stayed(void *ctx, uint32_t id)
{
	(void)id;
	((struct carriage *)ctx)->stayed++;
}

static void *on_take(void *ctx, struct relay *relay, uint32_t id, struct relay_luggage *luggage)
{
	struct carriage *c = ctx;

	c->taken++;
	if (c->refuses) {
		relay_luggage_drop(luggage);
		return NULL;
	}
	assert_int_equal(c->luggage.fd, -1);
	c->of = relay;
	c->id = id;
	c->luggage = *luggage;
	return c;
}

static void carriage_empty(struct carriage *c)
{
	if (c->luggage.fd >= 0)
		relay_luggage_drop(&c->luggage);
	c->luggage.fd = -1;
	if (c->ride)
		relay_abort(c->ride, MUX_REASON_CANCELLED);
	c->ride = NULL;
	if (c->of && (c->of == near_relay || c->of == far_relay))
		relay_ride_ended(c->of, -ECONNABORTED);
	c->of = NULL;
}

static void on_drop(void *ride)
{
	struct carriage *c = ride;

	c->dropped++;
	c->of = NULL;
	carriage_empty(c);
}

static void on_ride_done(void *ctx, int error)
{
	struct carriage *c = ctx;
	struct relay *of = c->of;

	c->ride = NULL;
	c->of = NULL;
	relay_ride_passed(of, c->passed.bytes_in, c->passed.bytes_out);
	relay_ride_ended(of, error);
}

static void go_on(struct carriage *c, struct mux_stream *s)
{
	const struct relay_caller caller = {.counters = &c->passed, .done = on_ride_done, .ctx = c};

	c->ride = relay_go_on(loop, &c->luggage, s, &caller);
	c->luggage.fd = -1;
	assert_non_null(c->ride);
}

static void on_far_data(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)data;
	mux_stream_consumed(far_stream, len);
}

static void on_far_leave(void *ctx)
{
	(void)ctx;
	far_leaves++;
}

static void on_far_closed(void *ctx, enum mux_reason reason)
{
	(void)ctx;
	far_closed++;
	far_reason = reason;
	far_stream = NULL;
}

static const struct mux_stream_events far_events = {
	.data = on_far_data, .leave = on_far_leave, .closed = on_far_closed};

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	if (kind == MUX_KIND_RIDE) {
		go_on(&far_carriage, s);
		mux_stream_accept(s, NULL, NULL);
		return;
	}
	if (far_by_hand) {
		far_stream = s;
		mux_stream_accept(s, &far_events, NULL);
		return;
	}
	if (far_fd < 0) {
		mux_stream_refuse(s, MUX_REASON_REFUSED);
		return;
	}
	far_relay = relay_new(loop, far_fd, s,
			      &(struct relay_caller){.counters = &far_counted,
						     .carrier = far_carries ? &far_carriage.carrier : NULL,
						     .done = on_far_done});
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

static int client, server, near_fd;

static int begin(const struct relay_carrier *carrier)
{
	loop = loop_new();
	near = mux_new(true, &events, NULL);
	far = mux_new(false, &events, NULL);
	hook = loop_hook_new(loop, on_turn, NULL);
	near_done = far_done = 0;
	near_error = far_error = 1;
	near_counted = far_counted = (struct relay_stats){0};
	far_carries = carrier;
	link_stalled = false;
	tcp_pair(&server, &far_fd);
	tcp_pair(&client, &near_fd);
	near_relay =
		relay_new(loop, near_fd, mux_open(near, MUX_KIND_TCP, NULL, 0, NULL, NULL),
			  &(struct relay_caller){.counters = &near_counted, .carrier = carrier, .done = on_near_done});
	return near_relay ? 0 : -1;
}

/* A client's and a server's socket, with two relays between them. */
static int connected(void **state)
{
	(void)state;
	return begin(NULL);
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

/* ----------------------------------------------------------------------------------------------------- relays that
 * leave
 */

/* Bytes of which no two stretches are the same, begun anew where no buffer ends. */
#define NUMBERS 1048583u
static uint8_t numbers[2 * NUMBERS];

/* One direction. What is sent ends with FIN. */
struct flow {
	int from, to;
	size_t first; /* where it begins in the numbers */
	size_t total, sent, got;
	size_t piece; /* so much at once, */
	size_t sip;   /* and so much is read, */
	bool stuck;   /* or nothing */
	bool shut, ended;
};

static struct flow up, down;

static void flow_send(struct flow *f)
{
	size_t n = f->total - f->sent < f->piece ? f->total - f->sent : f->piece;
	ssize_t sent = n ? send(f->from, numbers + (f->first + f->sent) % NUMBERS, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (sent > 0)
		f->sent += (size_t)sent;
	if (f->sent == f->total && !f->shut) {
		f->shut = true;
		shutdown(f->from, SHUT_WR);
	}
}

static void flow_receive(struct flow *f)
{
	static uint8_t came[256u << 10];
	ssize_t n = f->stuck || f->ended ? -1 : recv(f->to, came, f->sip, MSG_DONTWAIT);

	if (n > 0) {
		assert_memory_equal(came, numbers + (f->first + f->got) % NUMBERS, (size_t)n);
		f->got += (size_t)n;
		assert_true(f->got <= f->sent);
	}
	if (n == 0)
		f->ended = true;
}

static void flows_step(void)
{
	if (up.from >= 0)
		flow_send(&up);
	if (down.from >= 0)
		flow_send(&down);
	if (up.to >= 0)
		flow_receive(&up);
	if (down.to >= 0)
		flow_receive(&down);
	turns(0);
}

static bool is_late(uint64_t since_us)
{
	return loop_now_us(loop) - since_us > 5000000u;
}

#define FLOW_UNTIL(condition)                                        \
	for (uint64_t since_us = loop_now_us(loop); !(condition);) { \
		flows_step();                                        \
		if (is_late(since_us))                               \
			fail_msg("never: %s", #condition);           \
	}

/* For what would be wrong if it came. */
static void flow_a_while(void)
{
	for (int i = 0; i < 30; i++) {
		flows_step();
		turns(1);
	}
}

static void carriage_reset(struct carriage *c, bool says_when)
{
	*c = (struct carriage){.luggage.fd = -1};
	c->carrier = (struct relay_carrier){.take = on_take, .drop = on_drop, .ctx = c};
	if (says_when) {
		c->carrier.wanted = on_wanted;
		c->carrier.stayed = on_stayed;
	}
}

/* Relays that may leave, and endless flows between client and server. */
static int carried(void **state)
{
	uint32_t x = 1;

	(void)state;
	if (!numbers[0])
		for (size_t i = 0; i < NUMBERS; i++)
			numbers[i] = numbers[NUMBERS + i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
	carriage_reset(&near_carriage, true);
	carriage_reset(&far_carriage, false);
	if (begin(&near_carriage.carrier) < 0)
		return -1;
	up = (struct flow){.from = client, .to = server, .total = SIZE_MAX, .piece = 256u << 10, .sip = 256u << 10};
	down = up;
	down.from = server;
	down.to = client;
	down.first = 100003;
	return 0;
}

static int carried_off(void **state)
{
	struct carriage *c = &near_carriage;

	carriage_empty(&near_carriage);
	carriage_empty(&far_carriage);
	far_by_hand = false;
	far_stream = NULL;
	far_leaves = far_closed = 0;
	disconnected(state);
	if (c->promised == c->stayed + c->taken)
		return 0;
	print_error("promised %d times, stayed %d times, took %d times\n", c->promised, c->stayed, c->taken);
	return -1;
}

/* Sockets that hold little, and never so much at once that the rest of it would be pulled: it is queued. */
static void make_narrow(void)
{
	int fds[] = {client, server, near_fd, far_fd}, size = 32u << 10;

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
}

static void flow_until_it_leaves(void)
{
	near_carriage.wants = true;
	near_carriage.stalls = true;
	FLOW_UNTIL(near_carriage.promised);
	assert_int_equal(near_carriage.taken + far_carriage.taken, 0);
}

static void leave_arrives(void)
{
	link_stalled = false;
	FLOW_UNTIL(near_carriage.taken && far_carriage.taken);
	assert_int_equal(near_carriage.id, far_carriage.id);
	assert_int_not_equal(near_carriage.id, 0);
	assert_ptr_equal(near_carriage.of, near_relay);
	assert_ptr_equal(far_carriage.of, far_relay);
	assert_int_equal(mux_stats(near)->streams + mux_stats(far)->streams, 0);
}

static void ride_begins(void)
{
	struct mux_stream *s = mux_open(near, MUX_KIND_RIDE, NULL, 0, NULL, NULL);

	assert_non_null(s);
	go_on(&near_carriage, s);
}

/* So much more is sent. */
static void flows_end_after(size_t more)
{
	up.total = up.sent + more;
	down.total = down.sent + more;
}

static void everything_arrives_and_ends_well(void)
{
	FLOW_UNTIL(up.ended && down.ended && near_done && far_done);
	assert_int_equal(up.got, up.total);
	assert_int_equal(down.got, down.total);
	assert_int_equal(near_done, 1);
	assert_int_equal(far_done, 1);
	assert_int_equal(near_error, 0);
	assert_int_equal(far_error, 0);
	assert_int_equal(near_counted.bytes_in, up.total);
	assert_int_equal(near_counted.bytes_out, down.total);
	assert_int_equal(far_counted.bytes_in, down.total);
	assert_int_equal(far_counted.bytes_out, up.total);
	assert_int_equal(near_carriage.promised, 1);
	assert_int_equal(near_carriage.stayed, 0);
	assert_int_equal(near_carriage.dropped + far_carriage.dropped, 0);
	assert_int_equal(mux_stats(near)->streams + mux_stats(far)->streams, 0);
}

static void bulk_goes_on_elsewhere_and_nothing_is_lost_or_doubled(void **state)
{
	(void)state;
	near_carriage.wants = true;
	FLOW_UNTIL(near_carriage.taken && far_carriage.taken);
	ride_begins();
	flows_end_after(4u << 20);
	everything_arrives_and_ends_well();
}

/* Most of its life one of them may be the only one that has come. */
static void what_has_left_waits_for_whoever_goes_on(void **state)
{
	(void)state;
	flow_until_it_leaves();
	leave_arrives();
	flow_a_while();
	assert_int_equal(near_done + far_done, 0);
	flows_end_after(100000);
	flow_a_while();
	ride_begins();
	everything_arrives_and_ends_well();
}

/* Nobody reads when it leaves, so that there are bytes in each of the four queues. */
static void leave_stuck(bool up_stuck, bool down_stuck)
{
	make_narrow();
	up.stuck = up_stuck;
	down.sip = 16u << 10;
	flow_until_it_leaves();
	down.stuck = down_stuck;
	down.sip = 256u << 10;
	if (up_stuck)
		assert_int_equal(mux_stats(near)->queued, 0); /* given back */
	flow_a_while();
	link_stalled = false;
	flow_a_while();
	/* LEAVE waits for nobody who reads. */
	assert_int_equal(near_carriage.taken + far_carriage.taken, 2);
	assert_int_equal(mux_stats(near)->queued + mux_stats(far)->queued, 0);
}

static void bytes_that_nobody_reads_when_it_leaves_arrive_in_order(void **state)
{
	(void)state;
	leave_stuck(true, true);
	assert_true(near_carriage.luggage.to_stream.len);
	assert_true(near_carriage.luggage.to_socket.len);
	assert_true(far_carriage.luggage.to_stream.len);
	assert_true(far_carriage.luggage.to_socket.len);
	ride_begins();
	/* Nor for a while afterwards. */
	flow_a_while();
	up.stuck = down.stuck = false;
	flows_end_after(1u << 20);
	everything_arrives_and_ends_well();
}

static void a_server_that_does_not_read_stops_nothing_but_its_direction(void **state)
{
	size_t got;

	(void)state;
	leave_stuck(true, false);
	ride_begins();
	got = down.got;
	FLOW_UNTIL(down.got - got > 2u << 20);
	up.stuck = false;
	flows_end_after(100000);
	everything_arrives_and_ends_well();
}

static void a_client_that_does_not_read_stops_nothing_but_its_direction(void **state)
{
	size_t got;

	(void)state;
	leave_stuck(false, true);
	ride_begins();
	got = up.got;
	FLOW_UNTIL(up.got - got > 2u << 20);
	down.stuck = false;
	flows_end_after(100000);
	everything_arrives_and_ends_well();
}

static void it_is_asked_again_and_stays_as_long_as_it_may_not_leave(void **state)
{
	(void)state;
	FLOW_UNTIL(near_carriage.asked >= 3);
	flows_end_after(100000);
	FLOW_UNTIL(up.ended && down.ended && near_done && far_done);
	assert_int_equal(up.got, up.total);
	assert_int_equal(down.got, down.total);
	assert_int_equal(near_error + far_error, 0);
	assert_int_equal(near_carriage.taken + far_carriage.taken, 0);
}

static void what_has_ended_in_one_direction_does_not_leave(void **state)
{
	(void)state;
	near_carriage.wants = true;
	up.total = 1000;
	FLOW_UNTIL(up.ended);
	down.total = down.sent + (8u << 20);
	FLOW_UNTIL(down.ended && near_done && far_done);
	assert_int_equal(down.got, down.total);
	assert_int_equal(near_carriage.asked, 0);
	assert_int_equal(near_error + far_error, 0);
}

static void a_server_that_ends_while_it_leaves_ends_once_and_still_reads(void **state)
{
	(void)state;
	flow_until_it_leaves();
	down.total = down.sent;
	flow_a_while();
	leave_arrives();
	ride_begins();
	FLOW_UNTIL(down.ended);
	assert_int_equal(near_done + far_done, 0);
	up.total = up.sent + (2u << 20);
	everything_arrives_and_ends_well();
}

static void a_client_that_ends_while_it_leaves_ends_once_and_still_reads(void **state)
{
	(void)state;
	flow_until_it_leaves();
	up.total = up.sent;
	flow_a_while();
	leave_arrives();
	ride_begins();
	FLOW_UNTIL(up.ended);
	assert_int_equal(near_done + far_done, 0);
	down.total = down.sent + (2u << 20);
	everything_arrives_and_ends_well();
}

static void both_may_end_while_it_leaves(void **state)
{
	(void)state;
	flow_until_it_leaves();
	flows_end_after(0);
	flow_a_while();
	leave_arrives();
	ride_begins();
	everything_arrives_and_ends_well();
}

/* FIN is queued behind bytes that there is no credit for; what the client sends does not wait for it to read. */
static void leave_with_an_end_behind_bytes_that_nobody_reads(void)
{
	make_narrow();
	flow_until_it_leaves();
	down.stuck = true;
	/* All that the far relay can read, and the end of it. */
	FLOW_UNTIL(mux_stats(far)->queued > MUX_QUEUE_MAX / 2);
	down.total = down.sent;
	flow_a_while();
	assert_true(mux_stats(far)->queued > 0);
	link_stalled = false;
	flow_a_while();
}

static void an_end_that_waits_for_the_client_does_not_keep_what_the_client_sends(void **state)
{
	size_t got;

	(void)state;
	leave_with_an_end_behind_bytes_that_nobody_reads();
	got = up.got;
	if (near_carriage.taken && far_carriage.taken)
		ride_begins();
	FLOW_UNTIL(up.got - got > 2u << 20);
	down.stuck = false;
	if (!near_carriage.ride) {
		FLOW_UNTIL(near_carriage.taken && far_carriage.taken);
		ride_begins();
	}
	up.total = up.sent + 100000;
	everything_arrives_and_ends_well();
}

static void close_client(void)
{
	abort_fd(client);
	up.from = down.to = client = -1;
}

static void a_client_that_fails_behind_bytes_that_it_did_not_read_ends_both(void **state)
{
	(void)state;
	leave_with_an_end_behind_bytes_that_nobody_reads();
	close_client();
	FLOW_UNTIL((near_carriage.taken && far_carriage.taken) || (near_done && far_done));
	if (near_carriage.taken && far_carriage.taken)
		ride_begins();
	FLOW_UNTIL(near_done && far_done);
}

/* The socket fails between LEAVE and its answer, when what is still coming is written to it. The other side's waits for
 * something that goes on with it: it is given away without. */
static void a_socket_that_fails_while_it_leaves_is_given_away_as_failed(void **state)
{
	(void)state;
	down.from = -1;
	flow_until_it_leaves();
	close_client();
	/* Only who writes to it hears of it. */
	assert_int_equal(send(server, "x", 1, 0), 1);
	turns(5);
	assert_true(carry(far, near) > 0);
	leave_arrives();
	assert_int_equal(near_carriage.taken + far_carriage.taken, 2);
	assert_int_equal(near_carriage.luggage.fd, -1);
	assert_true(near_carriage.luggage.error == -ECONNRESET || near_carriage.luggage.error == -EPIPE);
	assert_int_equal(near_carriage.luggage.to_socket.len, 0);
	assert_true(far_carriage.luggage.fd >= 0);
	assert_int_equal(near_done + far_done, 0);
	relay_luggage_drop(&near_carriage.luggage);
}

static void a_server_that_fails_while_it_leaves_ends_the_other_side(void **state)
{
	(void)state;
	flow_until_it_leaves();
	abort_fd(server);
	down.from = up.to = server = -1;
	link_stalled = false;
	/* It may be told before LEAVE came there, and then nothing leaves. */
	FLOW_UNTIL((near_carriage.taken && far_carriage.taken) || (near_done && far_done));
	if (near_carriage.taken && far_carriage.taken)
		ride_begins();
	FLOW_UNTIL(near_done && far_done);
	assert_true(near_error < 0);
}

static void an_abort_while_it_leaves_is_no_longer_waited_for(void **state)
{
	(void)state;
	flow_until_it_leaves();
	relay_abort(near_relay, MUX_REASON_CANCELLED);
	assert_int_equal(near_carriage.stayed, 1);
	link_stalled = false;
	FLOW_UNTIL(far_done);
	assert_int_equal(near_done, 0);
	assert_int_equal(far_error, -ECONNABORTED);
	assert_int_equal(near_carriage.taken + far_carriage.taken + near_carriage.dropped, 0);
	assert_int_equal(near_carriage.stayed, 1);
}

static void a_far_abort_while_it_leaves_is_no_longer_waited_for(void **state)
{
	(void)state;
	flow_until_it_leaves();
	relay_abort(far_relay, MUX_REASON_CANCELLED);
	link_stalled = false;
	FLOW_UNTIL(near_done);
	assert_int_equal(far_done, 0);
	assert_int_equal(near_error, -ECONNABORTED);
	assert_int_equal(near_carriage.taken + far_carriage.taken, 0);
	assert_int_equal(near_carriage.stayed, 1);
}

static void an_abort_of_what_has_left_drops_it(void **state)
{
	(void)state;
	flow_until_it_leaves();
	leave_arrives();
	relay_abort(near_relay, MUX_REASON_CANCELLED);
	assert_int_equal(near_carriage.dropped, 1);
	assert_int_equal(near_carriage.stayed, 0);
	relay_abort(far_relay, MUX_REASON_CANCELLED);
	assert_int_equal(far_carriage.dropped, 1);
	turns(5);
	assert_int_equal(near_done + far_done, 0);
	while (got(client, numbers + NUMBERS, 65536) > 0) /* the copy, made again below */
		;
	assert_int_equal(errno, ECONNRESET);
	memcpy(numbers + NUMBERS, numbers, NUMBERS);
}

static void an_abort_of_what_rides_drops_it(void **state)
{
	(void)state;
	flow_until_it_leaves();
	leave_arrives();
	ride_begins();
	flow_a_while();
	relay_abort(near_relay, MUX_REASON_CANCELLED);
	assert_int_equal(near_carriage.dropped, 1);
	FLOW_UNTIL(far_done);
	assert_int_equal(far_error, -ECONNABORTED);
	assert_int_equal(near_done, 0);
}

static void who_cannot_take_it_ends_it(void **state)
{
	(void)state;
	near_carriage.refuses = far_carriage.refuses = true;
	flow_until_it_leaves();
	link_stalled = false;
	FLOW_UNTIL(near_done && far_done);
	assert_int_equal(near_error, -ECONNABORTED);
	assert_int_equal(far_error, -ECONNABORTED);
	assert_int_equal(near_carriage.dropped + far_carriage.dropped, 0);
	assert_int_equal(near_carriage.stayed, 0);
}

static void a_session_that_is_lost_while_it_leaves_is_a_reset(void **state)
{
	(void)state;
	flow_until_it_leaves();
	mux_free(near);
	near = mux_new(true, &events, NULL);
	assert_int_equal(near_done, 1);
	assert_int_equal(near_error, -ECONNABORTED);
	assert_int_equal(near_carriage.stayed, 1);
	assert_int_equal(near_carriage.taken, 0);
	turns(5);
}

/* A far side that the test speaks for. */
static void speak_for_the_far_side(void)
{
	far_by_hand = true;
	up.to = down.from = -1;
	FLOW_UNTIL(far_stream);
}

static void leave_unasked(void)
{
	struct fifo rest;
	char byte;

	assert_true(mux_stream_leave(far_stream, &rest));
	up.from = -1;
	FLOW_UNTIL(near_done);
	FLOW_UNTIL(far_closed);
	assert_int_equal(near_error, -EPROTO);
	assert_int_equal(far_reason, MUX_REASON_RESET);
	assert_int_equal(got(client, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(near_carriage.promised + near_carriage.taken + near_carriage.stayed, 0);
}

static void what_a_peer_leaves_unasked_is_reset(void **state)
{
	(void)state;
	speak_for_the_far_side();
	down.to = -1;
	leave_unasked();
}

static int stays(void **state)
{
	int rc = carried(state);

	relay_abort(near_relay, MUX_REASON_CANCELLED);
	disconnected(state);
	rc |= begin(NULL);
	up.from = client;
	return rc;
}

static void what_a_peer_leaves_where_nobody_goes_on_is_reset(void **state)
{
	(void)state;
	speak_for_the_far_side();
	down.to = -1;
	leave_unasked();
}

/* What was written before the reset can be read; and nobody is given what is over. */
static void a_reset_behind_bulk_while_it_leaves_is_no_leaving(void **state)
{
	static const uint8_t sent[MUX_FRAME_MAX];
	static uint8_t came[sizeof(sent)];

	(void)state;
	speak_for_the_far_side();
	flow_until_it_leaves();
	up.from = -1;
	assert_int_equal(mux_stream_write(far_stream, sent, sizeof(sent)), sizeof(sent));
	assert_true(carry(far, near) > sizeof(sent));
	mux_stream_reset(far_stream, MUX_REASON_RESET);
	assert_true(carry(far, near) > 0);
	turns(5);
	assert_int_equal(near_done, 1);
	assert_int_equal(near_error, -ECONNRESET);
	assert_int_equal(got(client, came, sizeof(came)), sizeof(sent));
	assert_int_equal(near_carriage.taken, 0);
	assert_int_equal(near_carriage.stayed, 1);
}

#define TEST(f)    cmocka_unit_test_setup_teardown(f, connected, disconnected)
#define CARRIED(f) cmocka_unit_test_setup_teardown(f, carried, carried_off)

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
		CARRIED(bulk_goes_on_elsewhere_and_nothing_is_lost_or_doubled),
		CARRIED(what_has_left_waits_for_whoever_goes_on),
		CARRIED(bytes_that_nobody_reads_when_it_leaves_arrive_in_order),
		CARRIED(a_server_that_does_not_read_stops_nothing_but_its_direction),
		CARRIED(a_client_that_does_not_read_stops_nothing_but_its_direction),
		CARRIED(it_is_asked_again_and_stays_as_long_as_it_may_not_leave),
		CARRIED(what_has_ended_in_one_direction_does_not_leave),
		CARRIED(a_server_that_ends_while_it_leaves_ends_once_and_still_reads),
		CARRIED(a_client_that_ends_while_it_leaves_ends_once_and_still_reads),
		CARRIED(both_may_end_while_it_leaves),
		CARRIED(an_end_that_waits_for_the_client_does_not_keep_what_the_client_sends),
		CARRIED(a_client_that_fails_behind_bytes_that_it_did_not_read_ends_both),
		CARRIED(a_socket_that_fails_while_it_leaves_is_given_away_as_failed),
		CARRIED(a_server_that_fails_while_it_leaves_ends_the_other_side),
		CARRIED(an_abort_while_it_leaves_is_no_longer_waited_for),
		CARRIED(a_far_abort_while_it_leaves_is_no_longer_waited_for),
		CARRIED(an_abort_of_what_has_left_drops_it),
		CARRIED(an_abort_of_what_rides_drops_it),
		CARRIED(who_cannot_take_it_ends_it),
		CARRIED(a_session_that_is_lost_while_it_leaves_is_a_reset),
		CARRIED(what_a_peer_leaves_unasked_is_reset),
		cmocka_unit_test_setup_teardown(what_a_peer_leaves_where_nobody_goes_on_is_reset, stays, carried_off),
		CARRIED(a_reset_behind_bulk_while_it_leaves_is_no_leaving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
