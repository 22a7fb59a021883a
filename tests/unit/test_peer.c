/* SPDX-License-Identifier: MIT */
/* Two peers over socketpairs in one loop, with a connection that is cut while bytes flow. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "anchor.h"
#include "bounds.h"
#include "chan_fd.h"
#include "loop.h"
#include "peer.h"
#include "wire.h"

#define STREAMS 8

/* One direction of one stream: what was sent, what came. */
struct flow {
	struct mux_stream *s;
	uint32_t random;
	size_t to_send, sent, got;
	uint64_t sent_hash, got_hash;
	size_t held; /* not consumed yet */
	bool slow, finned, closed;
	enum mux_reason reason;
};

struct end {
	struct peer *peer;
	int ups, resumes, downs, deads, skips;
	enum session_reason reason;
	char text[256], why[256];
	struct flow flows[STREAMS];
	int opened;
	bool refuse;
};

static struct loop *loop;
static struct end host, guest;
static struct loop_timer *cutter, *reader, *deadline;
static int cuts, cuts_wanted, greeted_wrong;
static bool reconnect_at_once;
static bool moving; /* instead of being cut: to another connection, while the one before stays */
static struct anchor *anchors[2];
static int moves;
static struct session_hello hello;

/* What the guest's side does before a session has the connection. */
static struct {
	struct chan *chan;
	uint8_t buf[SESSION_HELLO_MAX + (256u << 10)];
	size_t len;
} greeter;

static uint64_t hash(uint64_t h, const uint8_t *p, size_t n)
{
	while (n--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

static void connect_both(void);

static void flow_pump(struct flow *f)
{
	uint8_t block[7000];

	while (f->s && f->sent < f->to_send) {
		size_t n = f->to_send - f->sent;
		size_t space = mux_stream_space(f->s);

		if (n > sizeof(block))
			n = sizeof(block);
		if (n > space)
			n = space;
		if (!n)
			return;
		for (size_t i = 0; i < n; i++)
			block[i] = (uint8_t)((f->random = f->random * 1664525 + 1013904223) >> 24);
		assert_int_equal(mux_stream_write(f->s, block, n), n);
		f->sent_hash = hash(f->sent_hash, block, n);
		f->sent += n;
	}
	if (f->s)
		mux_stream_fin(f->s);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct flow *f = ctx;

	f->got_hash = hash(f->got_hash, data, len);
	f->got += len;
	if (f->slow)
		f->held += len;
	else
		mux_stream_consumed(f->s, len);
}

static void on_writable(void *ctx)
{
	flow_pump(ctx);
}

static void on_fin(void *ctx)
{
	((struct flow *)ctx)->finned = true;
}

static bool all_closed(void)
{
	for (int i = 0; i < STREAMS; i++)
		if (!host.flows[i].closed || !guest.flows[i].closed)
			return false;
	return true;
}

static void on_closed(void *ctx, enum mux_reason reason)
{
	struct flow *f = ctx;

	assert_false(f->closed);
	f->closed = true;
	f->reason = reason;
	f->s = NULL;
	if (all_closed())
		loop_stop(loop);
}

static const struct mux_stream_events flow_events = {
	.data = on_data, .writable = on_writable, .fin = on_fin, .closed = on_closed};

static void on_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	struct end *e = ctx;

	assert_string_equal(remote->agent_version, "1.2.3");
	e->ups++;
	e->resumes += resumed;
}

static void on_down(void *ctx, const char *why)
{
	struct end *e = ctx;

	e->downs++;
	snprintf(e->why, sizeof(e->why), "%s", why);
	if (e == &host && reconnect_at_once)
		connect_both();
}

static void on_dead(void *ctx, enum session_reason reason, const char *text)
{
	struct end *e = ctx;

	e->deads++;
	e->reason = reason;
	snprintf(e->text, sizeof(e->text), "%s", text);
	if (host.deads && (guest.deads || !guest.peer))
		loop_stop(loop);
}

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct end *e = ctx;
	struct flow *f = &e->flows[e->opened++];

	assert_int_equal(kind, MUX_KIND_TCP);
	assert_int_equal(len, 3);
	assert_memory_equal(args, "abc", 3);
	f->s = s;
	mux_stream_accept(s, &flow_events, f);
	flow_pump(f);
}

static void on_skipped(void *ctx, const uint8_t *data, size_t len)
{
	struct end *e = ctx;

	e->skips++;
	assert_int_equal(len, 7);
	assert_memory_equal(data, "motd\r\n\n", 7);
}

static const struct peer_events events = {on_up, on_down, on_dead, on_open, on_skipped};

static void on_anchor_ended(void *ctx, const char *why)
{
	(void)why;
	anchor_free(*(struct anchor **)ctx);
	*(struct anchor **)ctx = NULL;
}

static void keep(struct anchor **anchor, struct chan *old, enum anchor_side side)
{
	assert_non_null(old);
	anchor_free(*anchor);
	*anchor = anchor_new(loop, old, side, on_anchor_ended, anchor);
}

static void on_greeter_data(void *ctx, const uint8_t *data, size_t len)
{
	struct session_hello seen;
	struct chan *chan = greeter.chan;
	int n;

	assert_true(greeter.len + len <= sizeof(greeter.buf));
	memcpy(greeter.buf + greeter.len, data, len);
	greeter.len += len;
	n = session_parse_hello(greeter.buf, greeter.len, &seen);
	if (n == 0)
		return;
	assert_true(n > 0);
	greeter.chan = NULL;
	if (!guest.peer)
		guest.peer = peer_new(loop, SESSION_GUEST, &seen, &events, &guest);
	if (moving && peer_is_up(guest.peer)) {
		struct chan *old;

		assert_int_equal(peer_move(guest.peer, chan, &seen, greeter.buf + n, greeter.len - (size_t)n, &old), 0);
		keep(&anchors[1], old, ANCHOR_GUEST);
		return;
	}
	if (peer_attach(guest.peer, chan, &seen, greeter.buf + n, greeter.len - (size_t)n) < 0)
		greeted_wrong++;
}

static void on_greeter_closed(void *ctx, int error, const char *why)
{
	chan_free(greeter.chan);
	greeter.chan = NULL;
}

static const struct chan_events greeter_events = {.data = on_greeter_data, .closed = on_greeter_closed};

static void connect_both(void)
{
	int sv[2], size = 4096 << random() % 6;
	struct chan *old;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	for (int i = 0; i < 2; i++)
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	chan_free(greeter.chan);
	greeter.chan = chan_fd_new(loop, sv[1], sv[1]);
	greeter.len = 0;
	chan_set_owner(greeter.chan, &greeter_events, NULL);
	if (!moving || !peer_is_up(host.peer)) {
		assert_int_equal(peer_attach(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0), 0);
		return;
	}
	assert_int_equal(peer_move(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0, &old), 0);
	keep(&anchors[0], old, ANCHOR_HOST);
	moves++;
}

static void on_cut(void *ctx)
{
	if (cuts++ >= cuts_wanted)
		return;
	if (moving) {
		if (peer_is_up(host.peer))
			connect_both();
	} else if (random() % 3 == 0) {
		connect_both(); /* a newer connection fences the old one */
	} else if (random() % 2) {
		peer_drop_connection(host.peer, "cut by the test");
	} else if (guest.peer) {
		peer_drop_connection(guest.peer, "cut by the test");
	}
	loop_timer_set(cutter, 500 + (uint64_t)random() % 6000);
}

static void on_slow_reader(void *ctx)
{
	for (int i = 0; i < STREAMS; i++) {
		for (int side = 0; side < 2; side++) {
			struct flow *f = side ? &guest.flows[i] : &host.flows[i];
			size_t n = f->held < 20000 ? f->held : 20000;

			if (!f->s || !n)
				continue;
			f->held -= n;
			mux_stream_consumed(f->s, n);
		}
	}
	loop_timer_set(reader, 300);
}

static void on_deadline(void *ctx)
{
	fail_msg("the test took too long");
}

static int setup(void **state)
{
	(void)state;
	srandom(42);
	loop = loop_new();
	host = guest = (struct end){0};
	cuts = cuts_wanted = greeted_wrong = 0;
	reconnect_at_once = moving = false;
	moves = 0;
	hello = (struct session_hello){.timeout_s = 60, .agent_version = "1.2.3"};
	memset(hello.id, 7, sizeof(hello.id));
	memset(hello.secret, 9, sizeof(hello.secret));
	host.peer = peer_new(loop, SESSION_HOST, &hello, &events, &host);
	cutter = loop_timer_new(loop, on_cut, NULL);
	reader = loop_timer_new(loop, on_slow_reader, NULL);
	deadline = loop_timer_new(loop, on_deadline, NULL);
	loop_timer_set(deadline, 50000000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	reconnect_at_once = false;
	peer_free(host.peer);
	peer_free(guest.peer);
	chan_free(greeter.chan);
	greeter.chan = NULL;
	for (int i = 0; i < 2; i++) {
		anchor_free(anchors[i]);
		anchors[i] = NULL;
	}
	loop_timer_free(cutter);
	loop_timer_free(reader);
	loop_timer_free(deadline);
	loop_free(loop);
	return 0;
}

static void run_for(unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
}

static void start_flows(size_t bytes)
{
	for (int i = 0; i < STREAMS; i++) {
		struct flow *h = &host.flows[i], *g = &guest.flows[i];

		h->random = (uint32_t)i;
		g->random = (uint32_t)i + 1000;
		h->to_send = bytes + (size_t)i * 1000;
		g->to_send = i == 3 ? 0 : bytes - (size_t)i;
		h->slow = i == 1;
		g->slow = i == 2;
		h->s = mux_open(peer_mux(host.peer), MUX_KIND_TCP, (const uint8_t *)"abc", 3, &flow_events, h);
		flow_pump(h);
	}
	loop_timer_set(reader, 300);
}

static void check_flows(void)
{
	for (int i = 0; i < STREAMS; i++) {
		struct flow *h = &host.flows[i], *g = &guest.flows[i];

		assert_int_equal(h->reason, MUX_REASON_NONE);
		assert_int_equal(h->got, g->to_send);
		assert_int_equal(g->got, h->to_send);
		assert_true(h->got_hash == g->sent_hash);
		assert_true(g->got_hash == h->sent_hash);
		assert_true(h->finned && g->finned);
	}
}

static void streams_arrive_whole_over_a_good_connection(void **state)
{
	(void)state;
	connect_both();
	start_flows(1000000);
	assert_int_equal(loop_run(loop), 0);
	check_flows();
	assert_int_equal(host.ups, 1);
	assert_int_equal(host.resumes + guest.resumes, 0);
	assert_true(peer_is_up(host.peer) && peer_is_up(guest.peer));
}

static void streams_arrive_whole_over_a_connection_cut_again_and_again(void **state)
{
	(void)state;
	reconnect_at_once = true;
	cuts_wanted = 300;
	connect_both();
	loop_timer_set(cutter, 1000);
	start_flows(3000000);
	assert_int_equal(loop_run(loop), 0);
	check_flows();
	assert_true(host.downs > 20);
	assert_true(host.resumes > 20);
	assert_int_equal(host.deads + guest.deads, 0);
}

static void streams_arrive_whole_while_the_connection_is_changed_for_another(void **state)
{
	(void)state;
	moving = true;
	cuts_wanted = 300;
	connect_both();
	loop_timer_set(cutter, 1000);
	start_flows(3000000);
	assert_int_equal(loop_run(loop), 0);
	check_flows();
	assert_true(moves > 20);
	assert_int_equal(host.downs + guest.downs, 0);
	assert_int_equal(host.deads + guest.deads, 0);
}

/* The end of the old connection was seen already: what is moved to would hang on nothing. */
static void a_connection_that_has_ended_is_not_moved_from(void **state)
{
	struct chan *old;
	int sv[2];

	(void)state;
	connect_both();
	run_for(50);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	peer_drop_connection(host.peer, "it has ended");
	assert_int_equal(peer_move(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0, &old), -ENOTCONN);
	assert_null(old);
	close(sv[1]);
	run_for(50);
	assert_int_equal(host.downs, 1);
	assert_string_equal(host.why, "it has ended");
}

static void the_round_trip_is_measured_soon_after_up(void **state)
{
	(void)state;
	connect_both();
	run_for(100);
	assert_true(peer_rtt_us(host.peer) > 0 && peer_rtt_us(host.peer) < 100000);
	assert_true(peer_rtt_us(guest.peer) > 0);
}

static void goodbye_reaches_the_other_side_with_its_words(void **state)
{
	struct flow *f = &host.flows[0];

	(void)state;
	connect_both();
	run_for(50);
	f->s = mux_open(peer_mux(host.peer), MUX_KIND_TCP, (const uint8_t *)"abc", 3, &flow_events, f);
	run_for(50);
	peer_goodbye(host.peer, SESSION_REASON_STOPPED, "homeport down");
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(guest.reason, SESSION_REASON_STOPPED);
	assert_string_equal(guest.text, "homeport down");
	assert_int_equal(host.deads, 1);
	assert_true(f->closed);
	assert_int_equal(f->reason, MUX_REASON_LOST);
	assert_int_equal(guest.flows[0].reason, MUX_REASON_LOST);
	assert_null(peer_mux(host.peer));
}

static void a_hang_up_that_finds_no_company_goes_alone(void **state)
{
	struct flow *f = &host.flows[0];

	(void)state;
	guest.flows[0].to_send = 100;
	connect_both();
	run_for(50);
	f->s = mux_open(peer_mux(host.peer), MUX_KIND_TCP, (const uint8_t *)"abc", 3, &flow_events, f);
	run_for(50);
	assert_true(f->finned);
	mux_stream_fin(f->s);
	assert_true(mux_has_hangups(peer_mux(host.peer)));
	run_for(30);
	assert_true(f->closed && guest.flows[0].closed);
	assert_int_equal(f->reason, MUX_REASON_NONE);
}

static void count_turn(void *ctx)
{
	++*(int *)ctx;
}

static void an_idle_pair_hardly_wakes(void **state)
{
	struct loop_hook *hook;
	int turns = 0;

	(void)state;
	connect_both();
	run_for(100);
	hook = loop_hook_new(loop, count_turn, &turns);
	run_for(1000);
	loop_hook_free(hook);
	/* Both ends in one loop: PING, PONG and their answers. */
	assert_in_range(turns, 1, 12);
}

static void a_stale_connection_does_not_disturb_the_present_one(void **state)
{
	struct session_hello old;
	int sv[2];

	(void)state;
	connect_both();
	run_for(50);
	old = *peer_identity(guest.peer);
	assert_int_equal(old.epoch, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(peer_attach(guest.peer, chan_fd_new(loop, sv[0], sv[0]), &old, NULL, 0), -ESTALE);
	close(sv[1]);
	run_for(50);
	assert_true(peer_is_up(guest.peer));
	assert_int_equal(guest.downs, 0);
}

static void a_guest_that_lost_the_session_ends_it(void **state)
{
	struct flow *f = &host.flows[0];
	struct wire_buf b = {0};
	int sv[2];

	(void)state;
	connect_both();
	run_for(50);
	f->s = mux_open(peer_mux(host.peer), MUX_KIND_TCP, (const uint8_t *)"abc", 3, &flow_events, f);
	run_for(50);
	peer_free(guest.peer);
	guest.peer = NULL;
	run_for(50);
	assert_int_equal(host.downs, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	session_put_refusal(&b, SESSION_REASON_UNKNOWN, "no such session");
	assert_int_equal(write(sv[1], b.data, b.len), (ssize_t)b.len);
	wire_buf_free(&b);
	assert_int_equal(peer_attach(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(host.reason, SESSION_REASON_UNKNOWN);
	assert_string_equal(host.text, "no such session");
	assert_int_equal(f->reason, MUX_REASON_LOST);
	close(sv[1]);
}

static void a_connection_that_is_not_ours_is_dropped_and_the_session_lives(void **state)
{
	int sv[2];

	(void)state;
	connect_both();
	run_for(50);
	peer_drop_connection(host.peer, "cut");
	run_for(50);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], "\0homeport\n", 10), 10);
	assert_int_equal(peer_attach(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0), 0);
	run_for(50);
	assert_string_equal(host.why, "the connection changes line ends: a terminal is in between");
	close(sv[1]);
	connect_both();
	run_for(50);
	assert_int_equal(host.resumes, 1);
	assert_true(peer_is_up(host.peer) && peer_is_up(guest.peer));
}

static void what_a_login_shell_prints_is_skipped_and_told(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], "motd\r\n\n", 7), 7);
	greeter.chan = chan_fd_new(loop, sv[1], sv[1]);
	greeter.len = 0;
	chan_set_owner(greeter.chan, &greeter_events, NULL);
	assert_int_equal(peer_attach(host.peer, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0), 0);
	run_for(50);
	assert_true(peer_is_up(host.peer));
	assert_int_equal(host.skips, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(streams_arrive_whole_over_a_good_connection),
		TEST(streams_arrive_whole_over_a_connection_cut_again_and_again),
		TEST(streams_arrive_whole_while_the_connection_is_changed_for_another),
		TEST(a_connection_that_has_ended_is_not_moved_from),
		TEST(the_round_trip_is_measured_soon_after_up),
		TEST(goodbye_reaches_the_other_side_with_its_words),
		TEST(a_hang_up_that_finds_no_company_goes_alone),
		TEST(an_idle_pair_hardly_wakes),
		TEST(a_stale_connection_does_not_disturb_the_present_one),
		TEST(a_guest_that_lost_the_session_ends_it),
		TEST(a_connection_that_is_not_ours_is_dropped_and_the_session_lives),
		TEST(what_a_login_shell_prints_is_skipped_and_told),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
