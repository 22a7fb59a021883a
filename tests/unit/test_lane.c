/* SPDX-License-Identifier: MIT */
/*
 * Two lanes and the session beside them in one process: clients and servers, relays between two muxes on the owner's
 * loop, and what goes on with them on two threads, over a socketpair that the test can cut.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bounds.h"
#include "chan.h"
#include "chan_fd.h"
#include "fifo.h"
#include "lane.h"
#include "loop.h"
#include "mux.h"
#include "relay.h"
#include "session.h"
#include "wire.h"

#define PAIRS 4

struct side {
	struct lane *lane;
	bool frees; /* the lane, when it is dead */
	int ups, downs, deads;
	enum lane_state state;
	bool holds; /* what it takes, until the test gives it to the lane */
	int taken;
};

/* What the relay was told of who goes on with it. */
struct ticket {
	struct relay_carrier carrier;
	struct side *side;
	struct relay *relay;
	uint32_t id;
	struct relay_luggage luggage;
	void *ride;
	bool held;
};

/* One direction. What is sent ends with FIN. */
struct flow {
	int from, to;
	size_t first; /* where it begins in the numbers */
	size_t total, sent, got;
	bool stuck; /* nobody reads */
	bool shut, ended;
	int *from_error, *to_error; /* of the sockets, whoever meets it */
};

struct end {
	struct relay *relay;
	struct relay_stats counted;
	struct ticket ticket;
	int fd, done, error;
};

struct pair {
	int client, server, client_error, server_error;
	struct flow up, down;
	struct end near, far;
};

static struct loop *loop;
static struct loop_hook *hook;
static struct mux *near, *far;
static struct side host, guest;
static struct pair pairs[PAIRS];
static size_t pair_count;
static bool wants, link_stalled;
static int promised, stayed;
static int cut_fd; /* either end of the lanes' connection */
static size_t descriptors;

/* Bytes of which no two stretches are the same, begun anew where no buffer ends. */
#define NUMBERS 1048583u
static uint8_t numbers[2 * NUMBERS];

/* ------------------------------------------------------------------------------------------------------- the session
 */

static bool on_wanted(void *ctx)
{
	(void)ctx;
	promised += wants;
	return wants;
}

static void on_stayed(void *ctx, uint32_t id)
{
	struct ticket *t = ctx;

	stayed++;
	if (id && t->side->lane)
		lane_does_not_take(t->side->lane, id);
}

static void *on_take(void *ctx, struct relay *relay, uint32_t id, struct relay_luggage *luggage)
{
	struct ticket *t = ctx;

	t->side->taken++;
	t->relay = relay;
	t->id = id;
	t->luggage = *luggage;
	t->held = t->side->holds;
	if (t->held)
		return t;
	t->ride = lane_take(t->side->lane, relay, id, luggage);
	return t->ride ? t : NULL;
}

static void on_drop(void *ride)
{
	struct ticket *t = ride;

	if (t->held)
		relay_luggage_drop(&t->luggage);
	else
		lane_drop(t->ride);
	t->held = false;
}

static void ticket_use(struct ticket *t)
{
	assert_true(t->held);
	t->held = false;
	t->ride = lane_take(t->side->lane, t->relay, t->id, &t->luggage);
	assert_non_null(t->ride);
}

static void ticket_end(struct ticket *t)
{
	if (!t->held)
		return;
	t->held = false;
	relay_luggage_drop(&t->luggage);
	relay_ride_ended(t->relay, -ECONNABORTED);
}

static void on_done(void *ctx, int error)
{
	struct end *e = ctx;

	e->done++;
	e->error = error;
	e->relay = NULL;
}

static void end_begin(struct end *e, struct side *side, int fd, struct mux_stream *s)
{
	struct relay_caller caller = {
		.counters = &e->counted, .carrier = &e->ticket.carrier, .done = on_done, .ctx = e};

	e->ticket.side = side;
	e->ticket.carrier = (struct relay_carrier){.take = on_take, .drop = on_drop, .ctx = &e->ticket};
	if (side == &host) {
		e->ticket.carrier.wanted = on_wanted;
		e->ticket.carrier.stayed = on_stayed;
	}
	e->relay = relay_new(loop, fd, s, &caller);
	assert_non_null(e->relay);
}

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct pair *p = &pairs[args[0]];

	assert_int_equal(len, 1);
	end_begin(&p->far, &guest, p->far.fd, s);
	mux_stream_accept(s, NULL, NULL);
}

static const struct mux_events mux_events = {.open = on_open};

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
	(void)ctx;
	mux_deliver(near);
	mux_deliver(far);
	if (!link_stalled)
		while (carry(near, far) + carry(far, near))
			;
}

static void turns(unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
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

/* A client's and a server's socket, with two relays between them, and endless flows. */
static struct pair *pair_begin(void)
{
	uint8_t index = (uint8_t)pair_count++;
	struct pair *p = &pairs[index];

	tcp_pair(&p->server, &p->far.fd);
	tcp_pair(&p->client, &p->near.fd);
	p->up = (struct flow){
		.from = p->client, .to = p->server, .from_error = &p->client_error, .to_error = &p->server_error};
	p->down = (struct flow){
		.from = p->server, .to = p->client, .from_error = &p->server_error, .to_error = &p->client_error};
	p->up.total = p->down.total = SIZE_MAX;
	p->up.first = 1000u * index;
	p->down.first = 100003u + index;
	end_begin(&p->near, &host, p->near.fd, mux_open(near, MUX_KIND_TCP, &index, 1, NULL, NULL));
	return p;
}

/* --------------------------------------------------------------------------------------------------------- the flows
 */

/* The first one; what follows it tells nothing. */
static void flow_fails(int *error)
{
	if (errno != EAGAIN && !*error)
		*error = errno;
}

static bool flow_send(struct flow *f)
{
	size_t n = f->total - f->sent < 256u << 10 ? f->total - f->sent : 256u << 10;
	ssize_t sent = 0;

	if (f->from < 0 || f->shut || *f->from_error)
		return false;
	if (n)
		sent = send(f->from, numbers + (f->first + f->sent) % NUMBERS, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		flow_fails(f->from_error);
	else
		f->sent += (size_t)sent;
	if (f->sent == f->total) {
		f->shut = true;
		shutdown(f->from, SHUT_WR);
	}
	return sent > 0;
}

static bool flow_receive(struct flow *f)
{
	static uint8_t came[256u << 10];
	ssize_t n;

	if (f->to < 0 || f->stuck || f->ended || *f->to_error)
		return false;
	n = recv(f->to, came, sizeof(came), MSG_DONTWAIT);
	if (n > 0) {
		assert_memory_equal(came, numbers + (f->first + f->got) % NUMBERS, (size_t)n);
		f->got += (size_t)n;
		assert_true(f->got <= f->sent);
	}
	f->ended = n == 0;
	if (n < 0)
		flow_fails(f->to_error);
	return n > 0;
}

static void flows_step(void)
{
	bool busy = false;

	for (size_t i = 0; i < pair_count; i++) {
		struct pair *p = &pairs[i];

		busy = flow_send(&p->up) || busy;
		busy = flow_send(&p->down) || busy;
		busy = flow_receive(&p->up) || busy;
		busy = flow_receive(&p->down) || busy;
	}
	turns(busy ? 0 : 1);
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

/* For what would be wrong if it came, or cannot be seen from here. */
static void flow_a_while(void)
{
	for (int i = 0; i < 10; i++) {
		flows_step();
		turns(1);
	}
}

static void flows_end_after(size_t more)
{
	for (size_t i = 0; i < pair_count; i++) {
		pairs[i].up.total = pairs[i].up.sent + more;
		pairs[i].down.total = pairs[i].down.sent + more;
	}
}

static bool all_ended(void)
{
	for (size_t i = 0; i < pair_count; i++) {
		struct pair *p = &pairs[i];

		if (!p->up.ended || !p->down.ended || !p->near.done || !p->far.done)
			return false;
	}
	return true;
}

static void everything_arrives_and_ends_well(void)
{
	FLOW_UNTIL(all_ended());
	for (size_t i = 0; i < pair_count; i++) {
		struct pair *p = &pairs[i];

		assert_int_equal(p->up.got, p->up.total);
		assert_int_equal(p->down.got, p->down.total);
		assert_int_equal(p->near.done, 1);
		assert_int_equal(p->far.done, 1);
		assert_int_equal(p->near.error, 0);
		assert_int_equal(p->far.error, 0);
		assert_int_equal(p->near.counted.bytes_in, p->up.total);
		assert_int_equal(p->near.counted.bytes_out, p->down.total);
		assert_int_equal(p->far.counted.bytes_in, p->down.total);
		assert_int_equal(p->far.counted.bytes_out, p->up.total);
	}
}

static void abort_fd(int *fd)
{
	struct linger hard = {1, 0};

	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(*fd);
	*fd = -1;
}

static void client_aborts(struct pair *p)
{
	abort_fd(&p->client);
	p->up.from = p->down.to = -1;
}

static void server_aborts(struct pair *p)
{
	abort_fd(&p->server);
	p->down.from = p->up.to = -1;
}

/* --------------------------------------------------------------------------------------------------------- the lanes
 */

static void on_state(void *ctx, enum lane_state state)
{
	struct side *side = ctx;

	side->state = state;
	side->ups += state == LANE_UP;
	side->downs += state == LANE_DOWN;
	side->deads += state == LANE_DEAD;
	if (state == LANE_DEAD && side->frees) {
		struct lane *l = side->lane;

		side->lane = NULL;
		lane_free(l);
	}
}

static const struct lane_events lane_events = {.state = on_state};

/* As the guest's greeter does: what came behind HELLO is the lane's. Returns how many bytes that is. */
static size_t read_hello(int fd, uint8_t *buf, size_t size, size_t *used, struct session_hello *hello)
{
	size_t len = 0;
	int n = 0;

	while (n == 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t got;

		assert_int_equal(poll(&p, 1, 5000), 1);
		got = read(fd, buf + len, size - len);
		assert_true(got > 0);
		len += (size_t)got;
		n = session_parse_hello(buf, len, hello);
	}
	assert_true(n > 0);
	*used = (size_t)n;
	return len - *used;
}

/* The first one, and any after it. */
static void lanes_connect(void)
{
	static uint8_t buf[SESSION_HELLO_MAX + (256u << 10)];
	struct session_hello hello;
	size_t used, rest;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	lane_attach(host.lane, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0);
	turns(0);
	rest = read_hello(sv[1], buf, sizeof(buf), &used, &hello);
	if (cut_fd >= 0)
		close(cut_fd);
	cut_fd = dup(sv[1]);
	if (!guest.lane)
		guest.lane = lane_new(loop, SESSION_GUEST, &hello, &lane_events, &guest);
	assert_non_null(guest.lane);
	assert_true(lane_is(guest.lane, &hello));
	lane_attach(guest.lane, chan_fd_new(loop, sv[1], sv[1]), &hello, buf + used, rest);
}

static void lanes_cut(void)
{
	assert_int_equal(shutdown(cut_fd, SHUT_RDWR), 0);
}

static void lanes_come_up(void)
{
	lanes_connect();
	FLOW_UNTIL(host.ups && guest.ups);
}

/* Until both relays of each pair have left. */
static void pairs_leave(void)
{
	wants = true;
	FLOW_UNTIL(host.taken == (int)pair_count && guest.taken == (int)pair_count);
}

static struct pair *pair_rides(void)
{
	struct pair *p = pair_begin();
	size_t up_sent, down_sent;

	lanes_come_up();
	pairs_leave();
	up_sent = p->up.sent;
	down_sent = p->down.sent;
	/* What was sent since then nobody else can have carried. */
	FLOW_UNTIL(p->up.got > up_sent && p->down.got > down_sent);
	return p;
}

static size_t count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int begun(void **state)
{
	struct session_hello hello = {.timeout_s = 60, .agent_version = "1.2.3"};
	uint32_t x = 1;

	(void)state;
	descriptors = count_descriptors();
	if (!numbers[0])
		for (size_t i = 0; i < NUMBERS; i++)
			numbers[i] = numbers[NUMBERS + i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
	memset(hello.id, 7, sizeof(hello.id));
	memset(hello.secret, 9, sizeof(hello.secret));
	memset(pairs, 0, sizeof(pairs));
	pair_count = 0;
	wants = link_stalled = false;
	promised = stayed = 0;
	cut_fd = -1;
	host = guest = (struct side){0};
	loop = loop_new();
	near = mux_new(true, &mux_events, NULL);
	far = mux_new(false, &mux_events, NULL);
	hook = loop_hook_new(loop, on_turn, NULL);
	host.lane = lane_new(loop, SESSION_HOST, &hello, &lane_events, &host);
	return host.lane ? 0 : -1;
}

static int ended(void **state)
{
	int taken = host.taken;
	size_t left;

	(void)state;
	for (size_t i = 0; i < pair_count; i++) {
		ticket_end(&pairs[i].near.ticket);
		ticket_end(&pairs[i].far.ticket);
	}
	lane_free(host.lane);
	lane_free(guest.lane);
	loop_hook_free(hook);
	mux_free(near);
	mux_free(far);
	loop_free(loop);
	for (size_t i = 0; i < pair_count; i++) {
		close(pairs[i].client);
		close(pairs[i].server);
	}
	if (cut_fd >= 0)
		close(cut_fd);
	left = count_descriptors();
	if (left != descriptors || promised != stayed + taken) {
		print_error("%zu descriptors, %zu before; %d promised, %d stayed, %d taken\n", left, descriptors,
			    promised, stayed, taken);
		return -1;
	}
	return 0;
}

/* --------------------------------------------------------------------------------------------------------- the cases
 */

static void a_lane_that_nothing_rides_on_comes_and_goes(void **state)
{
	(void)state;
	lane_free(NULL);
	lanes_come_up();
	assert_int_equal(host.state, LANE_UP);
	assert_int_equal(guest.state, LANE_UP);
	assert_int_equal(host.downs + host.deads + guest.downs + guest.deads, 0);
}

static void a_lane_without_a_connection_can_be_freed(void **state)
{
	(void)state;
	turns(1);
	assert_int_equal(host.ups + host.downs + host.deads, 0);
}

static void a_connection_on_its_way_is_freed_with_the_lane(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	lane_attach(host.lane, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0);
	lane_free(host.lane);
	host.lane = NULL;
	turns(1);
	assert_int_equal(read(sv[1], numbers + NUMBERS, 1), 0);
	close(sv[1]);
}

/* Two in one turn: the last one counts. */
static void of_two_connections_the_second_stays(void **state)
{
	uint8_t buf[4096];
	struct session_hello hello;
	int first[2], second[2];
	size_t used;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second), 0);
	lane_attach(host.lane, chan_fd_new(loop, first[0], first[0]), NULL, NULL, 0);
	lane_attach(host.lane, chan_fd_new(loop, second[0], second[0]), NULL, NULL, 0);
	turns(1);
	read_hello(second[1], buf, sizeof(buf), &used, &hello);
	assert_true(lane_is(host.lane, &hello));
	assert_int_equal(read(first[1], buf, 1), 0);
	hello.secret[3]++;
	assert_false(lane_is(host.lane, &hello));
	close(first[1]);
	close(second[1]);
}

static void bulk_rides_both_ways_and_nothing_is_lost_or_doubled(void **state)
{
	(void)state;
	pair_rides();
	flows_end_after(8u << 20);
	everything_arrives_and_ends_well();
	assert_int_equal(promised, 1);
}

static void several_ride_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < PAIRS; i++)
		pair_begin();
	pairs[1].up.stuck = true;
	lanes_come_up();
	wants = true;
	/* Where one direction is stuck the other one is enough. */
	FLOW_UNTIL(host.taken == PAIRS && guest.taken == PAIRS);
	flow_a_while();
	pairs[1].up.stuck = false;
	flows_end_after(1u << 20);
	everything_arrives_and_ends_well();
}

/* Whichever comes first waits for the other. Nobody reads meanwhile, so that it has luggage. */
static struct pair *pair_leaves_and_is_held(void)
{
	struct pair *p = pair_begin();

	host.holds = guest.holds = true;
	lanes_come_up();
	pairs_leave();
	p->up.stuck = p->down.stuck = true;
	flow_a_while();
	return p;
}

static void a_socket_that_the_guest_brings_first_waits_for_its_stream(void **state)
{
	struct pair *p = pair_leaves_and_is_held();

	(void)state;
	ticket_use(&p->far.ticket);
	flow_a_while();
	ticket_use(&p->near.ticket);
	flow_a_while();
	p->up.stuck = p->down.stuck = false;
	flows_end_after(4u << 20);
	everything_arrives_and_ends_well();
}

static void a_stream_that_the_host_brings_first_waits_for_its_socket(void **state)
{
	struct pair *p = pair_leaves_and_is_held();
	size_t sent = p->up.sent;

	(void)state;
	ticket_use(&p->near.ticket);
	/* The client can go on: somebody reads what it sends. */
	FLOW_UNTIL(p->up.sent > sent);
	flow_a_while();
	ticket_use(&p->far.ticket);
	p->up.stuck = p->down.stuck = false;
	flows_end_after(4u << 20);
	everything_arrives_and_ends_well();
}

static void what_was_taken_without_a_connection_goes_on_when_there_is_one(void **state)
{
	struct pair *p = pair_begin();

	(void)state;
	guest.holds = true;
	pairs_leave();
	flow_a_while();
	assert_int_equal(p->near.done, 0);
	lanes_come_up();
	ticket_use(&p->far.ticket);
	flows_end_after(2u << 20);
	everything_arrives_and_ends_well();
}

static void a_half_close_passes_and_the_other_direction_goes_on(void **state)
{
	struct pair *p = pair_rides();
	size_t got;

	(void)state;
	p->up.total = p->up.sent;
	FLOW_UNTIL(p->up.ended);
	assert_int_equal(p->up.got, p->up.total);
	got = p->down.got;
	FLOW_UNTIL(p->down.got - got > 2u << 20);
	assert_int_equal(p->near.done + p->far.done, 0);
	p->down.total = p->down.sent;
	everything_arrives_and_ends_well();
}

static void a_reset_of_the_server_arrives_as_a_reset(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	server_aborts(p);
	FLOW_UNTIL(p->near.done && p->far.done && p->client_error);
	assert_int_equal(p->client_error, ECONNRESET);
	assert_false(p->down.ended);
	assert_int_equal(p->far.error, -ECONNRESET);
	assert_int_equal(p->near.error, -ECONNRESET);
	assert_int_equal(p->near.done + p->far.done, 2);
}

static void a_reset_of_the_client_arrives_as_a_reset(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	client_aborts(p);
	FLOW_UNTIL(p->near.done && p->far.done && p->server_error);
	assert_int_equal(p->server_error, ECONNRESET);
	assert_false(p->up.ended);
	assert_int_equal(p->far.error, -ECONNRESET);
	assert_int_equal(p->near.error, -ECONNRESET);
}

static void an_abort_from_outside_resets_both_ends_and_is_not_told(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	relay_abort(p->near.relay, MUX_REASON_CANCELLED);
	FLOW_UNTIL(p->far.done && p->server_error && p->client_error);
	assert_int_equal(p->server_error, ECONNRESET);
	assert_int_equal(p->client_error, ECONNRESET);
	assert_int_equal(p->far.error, -ECONNABORTED);
	flow_a_while();
	assert_int_equal(p->near.done, 0);
}

static void the_guest_may_drop_what_rides_as_well(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	relay_abort(p->far.relay, MUX_REASON_CANCELLED);
	FLOW_UNTIL(p->near.done && p->server_error && p->client_error);
	assert_int_equal(p->server_error, ECONNRESET);
	assert_int_equal(p->client_error, ECONNRESET);
	assert_int_equal(p->near.error, -ECONNABORTED);
	flow_a_while();
	assert_int_equal(p->far.done, 0);
}

/* The owner counts now and then, and for the last time when it is over, however it ends. */
static void what_was_carried_before_a_drop_is_counted(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	relay_abort(p->near.relay, MUX_REASON_CANCELLED);
	relay_abort(p->far.relay, MUX_REASON_CANCELLED);
	assert_true(p->near.counted.bytes_in >= p->up.got);
	assert_true(p->far.counted.bytes_in >= p->down.got);
	assert_true(p->far.counted.bytes_out >= p->up.got);
	assert_true(p->near.counted.bytes_out >= p->down.got);
	flow_a_while();
}

/* It ends by itself and is dropped, and neither side has heard of the other's. */
static void a_ride_may_end_and_be_dropped_at_once(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	server_aborts(p);
	/* Without a turn in which the owner could hear of it. */
	for (uint64_t since_us = loop_now_us(loop); !p->client_error && !is_late(since_us);)
		flow_receive(&p->down);
	assert_int_equal(p->client_error, ECONNRESET);
	relay_abort(p->near.relay, MUX_REASON_CANCELLED);
	relay_abort(p->far.relay, MUX_REASON_CANCELLED);
	flow_a_while();
	assert_int_equal(p->near.done + p->far.done, 0);
}

static void a_lane_that_is_freed_ends_what_rides_on_it(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		pair_begin();
	lanes_come_up();
	pairs_leave();
	lane_free(host.lane);
	host.lane = NULL;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pairs[i].near.done, 1);
		assert_int_equal(pairs[i].near.error, -ECONNABORTED);
	}
	FLOW_UNTIL(pairs[0].client_error && pairs[1].client_error);
	assert_int_equal(pairs[0].client_error, ECONNRESET);
	/* The guest's waits for another connection. */
	assert_int_equal(pairs[0].far.done + pairs[1].far.done, 0);
	lane_free(guest.lane);
	guest.lane = NULL;
	assert_int_equal(pairs[0].far.done + pairs[1].far.done, 2);
	assert_int_equal(pairs[0].far.error, -ECONNABORTED);
	FLOW_UNTIL(pairs[0].server_error && pairs[1].server_error);
	assert_int_equal(pairs[0].server_error, ECONNRESET);
}

/* Before the thread has heard of them, while they wait, and when it has just been told to drop them. */
static void a_lane_may_be_freed_whatever_its_rides_are_doing(void **state)
{
	struct pair *p = pair_leaves_and_is_held(), *other;

	(void)state;
	host.holds = guest.holds = false;
	other = pair_begin();
	p->up.stuck = p->down.stuck = false;
	pairs_leave();
	ticket_use(&p->near.ticket);
	ticket_use(&p->far.ticket);
	relay_abort(other->near.relay, MUX_REASON_CANCELLED);
	lane_free(host.lane);
	host.lane = NULL;
	assert_int_equal(p->near.done, 1);
	assert_int_equal(p->near.error, -ECONNABORTED);
	assert_int_equal(other->near.done, 0);
	lane_free(guest.lane);
	guest.lane = NULL;
	assert_int_equal(p->far.done, 1);
	assert_int_equal(other->far.done, 1);
}

static void a_guest_may_be_freed_while_a_stream_waits_for_its_socket(void **state)
{
	struct pair *p = pair_leaves_and_is_held();
	size_t sent = p->up.sent;

	(void)state;
	ticket_use(&p->near.ticket);
	FLOW_UNTIL(p->up.sent > sent);
	flow_a_while();
	lane_free(guest.lane);
	guest.lane = NULL;
}

static void a_guest_may_be_freed_while_a_socket_waits_for_its_stream(void **state)
{
	struct pair *p = pair_leaves_and_is_held();

	(void)state;
	ticket_use(&p->far.ticket);
	flow_a_while();
	lane_free(guest.lane);
	guest.lane = NULL;
	assert_int_equal(p->far.done, 1);
	assert_int_equal(p->far.error, -ECONNABORTED);
	p->up.stuck = false;
	FLOW_UNTIL(p->server_error);
	assert_int_equal(p->server_error, ECONNRESET);
}

static void a_second_connection_takes_over_without_losing_a_byte(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	for (int i = 2; i < 12; i++) {
		size_t up_got = p->up.got, down_got = p->down.got;

		lanes_connect();
		FLOW_UNTIL(host.ups == i && guest.ups == i && p->up.got > up_got && p->down.got > down_got);
	}
	assert_int_equal(host.deads + guest.deads, 0);
	flows_end_after(1u << 20);
	everything_arrives_and_ends_well();
}

static void a_connection_that_is_lost_is_down_and_the_next_one_goes_on(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	for (int i = 1; i < 5; i++) {
		size_t up_got, down_got;

		lanes_cut();
		FLOW_UNTIL(host.downs == i && guest.downs == i);
		assert_int_equal(host.state, LANE_DOWN);
		flow_a_while();
		assert_int_equal(p->near.done + p->far.done, 0);
		up_got = p->up.got;
		down_got = p->down.got;
		lanes_connect();
		FLOW_UNTIL(host.ups == i + 1 && guest.ups == i + 1 && p->up.got > up_got && p->down.got > down_got);
		assert_int_equal(host.state, LANE_UP);
	}
	flows_end_after(1u << 20);
	everything_arrives_and_ends_well();
}

/* Recorded, or late: the session is not disturbed. */
static void a_connection_that_is_older_than_the_present_one_is_closed(void **state)
{
	struct session_hello stale = {.version = SESSION_VERSION, .agent_version = "1.2.3", .epoch = 1};
	struct pair *p = pair_rides();
	size_t got;
	char byte;
	int sv[2];

	(void)state;
	memset(stale.id, 7, sizeof(stale.id));
	memset(stale.secret, 9, sizeof(stale.secret));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	lane_attach(guest.lane, chan_fd_new(loop, sv[1], sv[1]), &stale, NULL, 0);
	FLOW_UNTIL(recv(sv[0], &byte, 1, MSG_DONTWAIT) == 0);
	close(sv[0]);
	got = p->up.got;
	FLOW_UNTIL(p->up.got - got > 1u << 20);
	assert_int_equal(guest.state, LANE_UP);
	flows_end_after(100000);
	everything_arrives_and_ends_well();
}

static void goodbye_ends_both_and_what_rides(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	lane_goodbye(host.lane);
	lane_goodbye(host.lane);
	FLOW_UNTIL(host.deads && guest.deads && p->near.done && p->far.done && p->server_error && p->client_error);
	assert_int_equal(host.deads + guest.deads, 2);
	assert_int_equal(p->near.error, -ECONNABORTED);
	assert_int_equal(p->far.error, -ECONNABORTED);
	assert_int_equal(p->server_error, ECONNRESET);
	assert_int_equal(p->client_error, ECONNRESET);
}

static void a_lane_may_be_freed_when_it_is_told_that_it_is_dead(void **state)
{
	struct pair *p = pair_rides();

	(void)state;
	host.frees = guest.frees = true;
	lane_goodbye(guest.lane);
	FLOW_UNTIL(!host.lane && !guest.lane);
	assert_int_equal(host.deads + guest.deads, 2);
	assert_int_equal(p->near.done + p->far.done, 2);
	assert_int_equal(p->near.error, -ECONNABORTED);
}

static void goodbye_without_a_connection_ends_the_lane(void **state)
{
	struct pair *p = pair_begin();

	(void)state;
	guest.holds = true;
	pairs_leave();
	lane_goodbye(host.lane);
	FLOW_UNTIL(host.deads && p->near.done);
	assert_int_equal(p->near.error, -ECONNABORTED);
}

static void what_a_dead_lane_takes_ends(void **state)
{
	struct pair *p = pair_leaves_and_is_held();

	(void)state;
	lane_goodbye(host.lane);
	FLOW_UNTIL(host.deads && guest.deads);
	ticket_use(&p->near.ticket);
	FLOW_UNTIL(p->near.done);
	assert_int_equal(p->near.error, -ECONNABORTED);
	/* The guest's may wait until the lane is freed. */
	ticket_use(&p->far.ticket);
	flow_a_while();
	lane_free(guest.lane);
	guest.lane = NULL;
	assert_int_equal(p->far.done, 1);
	assert_int_equal(p->far.error, -ECONNABORTED);
}

/* A stream that is reset before it was sent is never heard of: who waits for it must hear something else. */
static void a_ride_that_is_dropped_before_it_went_ends_the_one_that_waits_for_it(void **state)
{
	struct pair *p = pair_leaves_and_is_held();

	(void)state;
	p->up.stuck = p->down.stuck = false;
	ticket_use(&p->far.ticket);
	lanes_cut();
	FLOW_UNTIL(host.downs && guest.downs);
	ticket_use(&p->near.ticket);
	flow_a_while();
	relay_abort(p->near.relay, MUX_REASON_CANCELLED);
	lanes_connect();
	FLOW_UNTIL(host.ups == 2 && guest.ups == 2);
	FLOW_UNTIL(p->far.done && p->server_error);
	assert_true(p->far.error < 0);
}

/* The same of the guest's, whose socket waits: the stream that comes for it finds nobody. */
static void a_ride_that_is_dropped_while_it_waits_ends_the_other_sides(void **state)
{
	struct pair *p = pair_leaves_and_is_held();

	(void)state;
	p->up.stuck = p->down.stuck = false;
	ticket_use(&p->far.ticket);
	flow_a_while();
	relay_abort(p->far.relay, MUX_REASON_CANCELLED);
	flow_a_while();
	ticket_use(&p->near.ticket);
	FLOW_UNTIL(p->near.done && p->client_error);
	assert_true(p->near.error < 0);
}

/* The guest has left, its answer is under way, and the host's relay is ended: RESET comes for a stream that is over. */
static void a_relay_that_is_aborted_when_the_other_side_has_left_ends_that(void **state)
{
	struct pair *p = pair_begin();
	struct wire_buf answer = {0};
	const char *why;

	(void)state;
	lanes_come_up();
	wants = true;
	/* By hand, so that it can be stopped between LEAVE and its answer. */
	link_stalled = true;
	for (uint64_t since_us = loop_now_us(loop); !guest.taken && !is_late(since_us);) {
		flows_step();
		carry(near, far);
		wire_buf_reset(&answer);
		assert_true(mux_produce(far, &answer, 1 << 20) >= 0);
		if (!guest.taken && answer.len)
			assert_int_equal(mux_receive(near, answer.data, answer.len, &why), 0);
	}
	assert_int_equal(guest.taken, 1);
	assert_int_equal(host.taken, 0);
	relay_abort(p->near.relay, MUX_REASON_CANCELLED);
	assert_int_equal(stayed, 1);
	assert_int_equal(mux_receive(near, answer.data, answer.len, &why), 0);
	wire_buf_free(&answer);
	link_stalled = false;
	FLOW_UNTIL(p->far.done && p->server_error);
	assert_true(p->far.error < 0);
}

static void on_rigid_free(struct chan *c)
{
	free(c);
}

static const struct chan_ops rigid_ops = {.free = on_rigid_free};

/* One of a kind that stays on its loop. */
static struct chan *rigid_chan(void)
{
	struct chan *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->ops = &rigid_ops;
	return c;
}

static void a_connection_that_cannot_leave_its_loop_is_closed(void **state)
{
	(void)state;
	lane_attach(host.lane, rigid_chan(), NULL, NULL, 0);
	turns(1);
	/* It is of no use, and the next one is. */
	lanes_come_up();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begun, ended)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lane_that_nothing_rides_on_comes_and_goes),
		TEST(a_lane_without_a_connection_can_be_freed),
		TEST(a_connection_on_its_way_is_freed_with_the_lane),
		TEST(of_two_connections_the_second_stays),
		TEST(bulk_rides_both_ways_and_nothing_is_lost_or_doubled),
		TEST(several_ride_at_once),
		TEST(a_socket_that_the_guest_brings_first_waits_for_its_stream),
		TEST(a_stream_that_the_host_brings_first_waits_for_its_socket),
		TEST(what_was_taken_without_a_connection_goes_on_when_there_is_one),
		TEST(a_half_close_passes_and_the_other_direction_goes_on),
		TEST(a_reset_of_the_server_arrives_as_a_reset),
		TEST(a_reset_of_the_client_arrives_as_a_reset),
		TEST(an_abort_from_outside_resets_both_ends_and_is_not_told),
		TEST(the_guest_may_drop_what_rides_as_well),
		TEST(a_ride_may_end_and_be_dropped_at_once),
		TEST(what_was_carried_before_a_drop_is_counted),
		TEST(a_lane_that_is_freed_ends_what_rides_on_it),
		TEST(a_lane_may_be_freed_whatever_its_rides_are_doing),
		TEST(a_guest_may_be_freed_while_a_stream_waits_for_its_socket),
		TEST(a_guest_may_be_freed_while_a_socket_waits_for_its_stream),
		TEST(a_second_connection_takes_over_without_losing_a_byte),
		TEST(a_connection_that_is_lost_is_down_and_the_next_one_goes_on),
		TEST(a_connection_that_is_older_than_the_present_one_is_closed),
		TEST(goodbye_ends_both_and_what_rides),
		TEST(a_lane_may_be_freed_when_it_is_told_that_it_is_dead),
		TEST(goodbye_without_a_connection_ends_the_lane),
		TEST(what_a_dead_lane_takes_ends),
		TEST(a_ride_that_is_dropped_before_it_went_ends_the_one_that_waits_for_it),
		TEST(a_ride_that_is_dropped_while_it_waits_ends_the_other_sides),
		TEST(a_relay_that_is_aborted_when_the_other_side_has_left_ends_that),
		TEST(a_connection_that_cannot_leave_its_loop_is_closed),
	};

	/* As both agents do. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
