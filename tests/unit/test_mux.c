/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bounds.h"
#include "fifo.h"
#include "mux.h"
#include "mux_priv.h"
#include "wire.h"

/* Two muxes, and bytes carried between them by hand. */
struct user {
	struct mux_stream *s;
	uint8_t *got;
	size_t got_len, got_size;
	size_t unread; /* delivered, not consumed */
	bool hold;     /* do not consume */
	bool reset_on_data, echo;
	bool answer_leave, reset_on_leave;
	int accepted, writable, fins, leaves, closed;
	size_t has, pulled, passed; /* bytes */
	int pulls, outlet;
	enum mux_reason reason;
};

struct side {
	struct mux *m;
	struct user *next; /* who gets the next stream that is opened */
	bool refuse, later;
	int opens, pendings;
	uint8_t args[MUX_ARGS_MAX];
	size_t args_len;
	enum mux_kind kind;
};

/* Not on the stack: the teardown frees the muxes, which tells them. */
static struct user a, b, c, d, e, f, as[4], bs[4];
static struct side host, guest;
static uint8_t block[8u << 20];

static void on_accepted(void *ctx)
{
	((struct user *)ctx)->accepted++;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct user *u = ctx;

	assert_int_equal(u->closed, 0);
	assert_int_equal(u->fins + u->leaves, 0);
	if (u->got_len + len > u->got_size) {
		/* Doubled: the sanitizer copies, and keeps, what a realloc leaves behind. */
		u->got_size = 2 * (u->got_len + len);
		u->got = realloc(u->got, u->got_size);
		assert_non_null(u->got);
	}
	memcpy(u->got + u->got_len, data, len);
	u->got_len += len;
	if (u->reset_on_data) {
		mux_stream_reset(u->s, MUX_REASON_CANCELLED);
		u->s = NULL;
		return;
	}
	if (u->echo)
		mux_stream_write(u->s, data, len);
	if (u->hold)
		u->unread += len;
	else
		mux_stream_consumed(u->s, len);
}

static void on_writable(void *ctx)
{
	((struct user *)ctx)->writable++;
}

static void on_fin(void *ctx)
{
	((struct user *)ctx)->fins++;
}

static void on_leave(void *ctx)
{
	struct user *u = ctx;
	struct fifo rest;

	u->leaves++;
	if (u->answer_leave) {
		assert_true(mux_stream_leave(u->s, &rest));
		fifo_clear(&rest);
	}
	if (u->reset_on_leave) {
		mux_stream_reset(u->s, MUX_REASON_CANCELLED);
		u->s = NULL;
	}
}

static void on_closed(void *ctx, enum mux_reason reason)
{
	struct user *u = ctx;

	u->closed++;
	u->reason = reason;
	u->s = NULL;
}

/* A user that has `has` bytes to be pulled, which are numbered. */
static size_t on_pull(void *ctx, uint8_t *place, size_t max)
{
	struct user *u = ctx;
	size_t n = u->has < max ? u->has : max;

	u->pulls++;
	for (size_t i = 0; i < n; i++)
		place[i] = (uint8_t)(u->pulled + i);
	u->pulled += n;
	u->has -= n;
	return n;
}

static int on_outlet(void *ctx)
{
	return ((struct user *)ctx)->outlet;
}

static void on_passed(void *ctx, size_t n)
{
	struct user *u = ctx;

	u->passed += n;
	mux_stream_consumed(u->s, n);
}

static const struct mux_stream_events user_events = {
	.accepted = on_accepted,
	.data = on_data,
	.writable = on_writable,
	.fin = on_fin,
	.leave = on_leave,
	.closed = on_closed,
	.pull = on_pull,
	.outlet = on_outlet,
	.passed = on_passed,
};

/* Of a user whose streams stay where they are. */
static const struct mux_stream_events settled_events = {.data = on_data, .fin = on_fin, .closed = on_closed};

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct side *side = ctx;

	side->opens++;
	side->kind = kind;
	side->args_len = len;
	memcpy(side->args, args, len);
	if (side->refuse) {
		mux_stream_refuse(s, MUX_REASON_REFUSED);
		return;
	}
	if (!side->next)
		return;
	side->next->s = s;
	if (!side->later)
		mux_stream_accept(s, &user_events, side->next);
}

static void on_pending(void *ctx)
{
	((struct side *)ctx)->pendings++;
}

static const struct mux_events events = {on_open, on_pending};

static int two_sides(void **state)
{
	(void)state;
	host = (struct side){.m = mux_new(true, &events, &host)};
	guest = (struct side){.m = mux_new(false, &events, &guest)};
	return 0;
}

static int no_sides(void **state)
{
	struct user *users[] = {&a, &b, &c, &d, &e, &f, &as[0], &as[1], &as[2], &as[3], &bs[0], &bs[1], &bs[2], &bs[3]};

	mux_free(host.m);
	mux_free(guest.m);
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		free(users[i]->got);
		*users[i] = (struct user){0};
	}
	return 0;
}

/* At most `max` bytes of frames from one to the other, in pieces of `piece`. Returns how many. */
static size_t carry(struct side *from, struct side *to, size_t max, size_t piece)
{
	struct wire_buf buf = {0};
	ssize_t n = mux_produce(from->m, &buf, max);
	const char *why = NULL;

	assert_true(n >= 0 && (size_t)n == buf.len && buf.len <= max);
	for (size_t at = 0; at < buf.len; at += piece)
		assert_int_equal(mux_receive(to->m, buf.data + at, buf.len - at < piece ? buf.len - at : piece, &why),
				 0);
	wire_buf_free(&buf);
	return (size_t)n;
}

static void carry_all(void)
{
	while (carry(&host, &guest, 1 << 20, 1 << 20) + carry(&guest, &host, 1 << 20, 1 << 20))
		;
}

static void a_stream_opens_carries_bytes_both_ways_and_ends_once(void **state)
{
	(void)state;
	b.echo = true;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, (const uint8_t *)"args", 4, &user_events, &a);
	assert_int_equal(host.pendings, 1);
	assert_int_equal(mux_stream_write(a.s, "hello", 5), 5);
	carry_all();
	assert_int_equal(guest.kind, MUX_KIND_TCP);
	assert_memory_equal(guest.args, "args", 4);
	assert_int_equal(a.accepted, 1);
	assert_int_equal(b.got_len, 5);
	assert_memory_equal(a.got, "hello", 5);
	mux_stream_fin(a.s);
	carry_all();
	assert_int_equal(b.fins, 1);
	assert_int_equal(a.closed + b.closed, 0);
	assert_int_equal(mux_stream_write(b.s, "more", 4), 4);
	mux_stream_fin(b.s);
	carry_all();
	assert_int_equal(a.fins, 1);
	assert_memory_equal(a.got, "hellomore", 9);
	assert_int_equal(a.closed, 1);
	assert_int_equal(b.closed, 1);
	assert_int_equal(a.reason, MUX_REASON_NONE);
	assert_int_equal(mux_stats(host.m)->streams + mux_stats(guest.m)->streams, 0);
}

static void frames_may_come_byte_by_byte(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, (const uint8_t *)"args", 4, &user_events, &a);
	mux_stream_write(a.s, "hello", 5);
	mux_stream_fin(a.s);
	carry(&host, &guest, 1 << 20, 1);
	assert_memory_equal(guest.args, "args", 4);
	assert_memory_equal(b.got, "hello", 5);
	assert_int_equal(b.fins, 1);
	mux_stream_write(b.s, "yes", 3);
	carry(&guest, &host, 1 << 20, 1);
	assert_int_equal(a.accepted, 1);
	assert_memory_equal(a.got, "yes", 3);
	mux_stream_reset(a.s, MUX_REASON_CANCELLED);
	carry(&host, &guest, 1 << 20, 3);
	assert_int_equal(b.closed, 1);
}

/* Alone it would be a packet, and a wake-up of everybody on its way, that tells nobody anything. */
static void acceptance_waits_for_what_follows_it(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	assert_int_equal(guest.opens, 1);
	assert_int_equal(a.accepted, 0);
	assert_false(mux_pending(guest.m));
	mux_stream_write(b.s, "first", 5);
	carry_all();
	assert_int_equal(a.accepted, 1);
	assert_memory_equal(a.got, "first", 5);
	/* Credit and the end follow it too. */
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	mux_stream_write(c.s, block, MUX_CREDIT_INITIAL);
	carry_all();
	assert_int_equal(c.accepted, 1);
	guest.next = &f;
	e.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &e);
	carry_all();
	mux_stream_fin(f.s);
	carry_all();
	assert_int_equal(e.accepted, 1);
	assert_int_equal(e.fins, 1);
}

static void question_is_answered(void)
{
	guest.next = &b;
	b.echo = true;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	mux_stream_write(a.s, "question", 8);
	carry_all();
	assert_int_equal(a.got_len, 8);
}

/* A program that closes a connection mostly opens another: the end of the one rides behind the other. */
static void a_hang_up_goes_with_the_next_frames(void **state)
{
	(void)state;
	question_is_answered();
	mux_stream_fin(a.s);
	assert_true(mux_has_hangups(host.m));
	assert_false(mux_pending(host.m));
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	mux_stream_write(c.s, "next", 4);
	assert_true(mux_pending(host.m));
	/* Last: what has no space now goes later. */
	carry(&host, &guest, 8 + 1 + 8 + 4, SIZE_MAX);
	assert_memory_equal(d.got, "next", 4);
	assert_int_equal(b.fins, 0);
	carry(&host, &guest, 1 << 20, SIZE_MAX);
	assert_int_equal(b.fins, 1);
	/* Whoever hung up first does not wait either. */
	mux_stream_fin(b.s);
	assert_true(mux_has_hangups(guest.m));
	assert_false(mux_pending(guest.m));
	mux_hang_up(guest.m);
	assert_false(mux_has_hangups(guest.m));
	assert_true(mux_pending(guest.m));
	carry_all();
	assert_int_equal(a.closed + b.closed, 2);
	assert_int_equal(a.reason, MUX_REASON_NONE);
}

/* The other side may wait to see that it is whole. */
static void the_end_of_a_message_is_sent_at_once(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	mux_stream_write(b.s, "who is there?", 13);
	carry_all();
	mux_stream_write(a.s, "me", 2);
	carry_all();
	mux_stream_fin(a.s);
	assert_false(mux_has_hangups(host.m));
	assert_true(mux_pending(host.m));
	/* Also of one that has said nothing. */
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	mux_stream_fin(c.s);
	assert_true(mux_pending(host.m));
	carry_all();
	assert_int_equal(b.fins + d.fins, 2);
}

static void a_stream_that_hangs_up_can_be_reset(void **state)
{
	(void)state;
	question_is_answered();
	mux_stream_fin(a.s);
	mux_stream_reset(a.s, MUX_REASON_CANCELLED);
	assert_false(mux_has_hangups(host.m));
	carry_all();
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.fins, 0);
}

static void a_refused_stream_tells_why_and_is_gone(void **state)
{
	(void)state;
	guest.refuse = true;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	mux_stream_write(a.s, "early", 5);
	carry_all();
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.reason, MUX_REASON_REFUSED);
	assert_int_equal(mux_stats(host.m)->streams + mux_stats(guest.m)->streams, 0);
}

static void data_before_the_answer_wait_and_follow_it(void **state)
{
	(void)state;
	guest.next = &b;
	guest.later = true;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	assert_int_equal(mux_stream_write(a.s, block, MUX_QUEUE_MAX), MUX_QUEUE_MAX);
	mux_stream_fin(a.s);
	carry_all();
	assert_int_equal(mux_stats(host.m)->queued, MUX_QUEUE_MAX - MUX_CREDIT_INITIAL);
	mux_stream_accept(b.s, &user_events, &b);
	assert_int_equal(b.got_len, 0);
	mux_deliver(guest.m);
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);
	carry_all();
	assert_int_equal(b.got_len, MUX_QUEUE_MAX);
	assert_int_equal(b.fins, 1);
}

static void a_stream_given_up_before_its_answer_is_told_when_events_are_set(void **state)
{
	(void)state;
	guest.next = &b;
	guest.later = true;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	mux_stream_reset(a.s, MUX_REASON_CANCELLED);
	carry_all();
	assert_int_equal(mux_stats(guest.m)->streams, 1);
	mux_stream_accept(b.s, &user_events, &b);
	assert_int_equal(b.closed, 0);
	mux_deliver(guest.m);
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.reason, MUX_REASON_CANCELLED);
	assert_int_equal(mux_stats(guest.m)->streams, 0);
}

static void a_stream_reset_before_it_was_sent_is_never_heard_of(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	mux_stream_reset(a.s, MUX_REASON_CANCELLED);
	carry_all();
	assert_int_equal(guest.opens, 1);
	assert_non_null(b.s);
	assert_int_equal(a.closed, 0);
	mux_stream_reset(c.s, MUX_REASON_RESET);
	carry_all();
	assert_int_equal(b.reason, MUX_REASON_RESET);
}

static void a_slow_reader_stops_its_own_stream_only(void **state)
{
	size_t sent = 0;

	(void)state;
	b.hold = true;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	for (int i = 0; i < 100; i++) {
		sent += mux_stream_write(a.s, block, 100000);
		assert_int_equal(mux_stream_write(c.s, block, 100000), 100000);
		carry_all();
	}
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);
	assert_int_equal(sent, MUX_CREDIT_INITIAL + MUX_QUEUE_MAX);
	assert_int_equal(mux_stream_space(a.s), 0);
	assert_int_equal(a.writable, 0);
	assert_int_equal(d.got_len, 100 * 100000);
	b.hold = false;
	mux_stream_consumed(b.s, b.unread);
	carry_all();
	assert_int_equal(b.got_len, sent);
	assert_int_equal(a.writable, 1);
}

static void the_window_grows_for_a_reader_that_keeps_up(void **state)
{
	size_t got;

	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	for (int i = 0; i < 10; i++) {
		while (mux_stream_write_all(a.s, block, 1 << 20) == 0)
			;
		/* All that may go in one direction, before anything comes back: a long link. */
		while (carry(&host, &guest, 8 << 20, 1 << 16))
			;
		while (carry(&guest, &host, 8 << 20, 1 << 16))
			;
	}
	got = b.got_len;
	while (mux_stream_write_all(a.s, block, 1 << 20) == 0)
		;
	carry(&host, &guest, 8 << 20, 1 << 16);
	assert_in_range(b.got_len - got, (4u << 20) - 4096, 4u << 20);
}

static void small_messages_go_before_bulk_and_control_before_all(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	guest.next = &f;
	e.s = mux_open(host.m, MUX_KIND_CONTROL, NULL, 0, &user_events, &e);
	carry_all();
	mux_stream_write(a.s, block, 200000);
	mux_stream_write(c.s, "small", 5);
	mux_stream_write(e.s, "now", 3);
	carry(&host, &guest, 8 + 3, 100);
	assert_int_equal(f.got_len, 3);
	assert_int_equal(b.got_len + d.got_len, 0);
	carry(&host, &guest, 8 + 5, 100);
	assert_int_equal(d.got_len, 5);
	assert_int_equal(b.got_len, 0);
	carry_all();
	assert_int_equal(b.got_len, 200000);
}

static void held_bulk_stays_while_small_messages_overtake_it(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	assert_int_equal(mux_overtakes(host.m), 0);
	mux_stream_write(a.s, block, MUX_OVERTAKEN_MIN);
	carry_all();
	mux_hold_bulk(host.m, true);
	mux_stream_write(a.s, block, 200000);
	mux_stream_write(c.s, "small", 5);
	carry(&host, &guest, 8 + 5, 100);
	assert_int_equal(d.got_len, 5);
	assert_int_equal(b.got_len, MUX_OVERTAKEN_MIN);
	assert_int_equal(mux_overtakes(host.m), 1);
	assert_true(mux_pending(host.m));
	mux_hold_bulk(host.m, false);
	carry_all();
	assert_int_equal(b.got_len, MUX_OVERTAKEN_MIN + 200000);
}

/* Of a stream that asks and has bulk for an answer, nothing is in its own way. */
static void only_bulk_of_others_is_overtaken(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_SFTP, NULL, 0, &user_events, &a);
	for (int i = 0; i < 10; i++) {
		mux_stream_write(a.s, "read", 4);
		carry_all();
		mux_stream_write(b.s, block, 200000);
		carry_all();
	}
	assert_int_equal(mux_overtakes(host.m) + mux_overtakes(guest.m), 0);
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_SFTP, NULL, 0, &user_events, &c);
	mux_stream_write(c.s, "stat", 4);
	carry_all();
	/* What passed before it was there is not overtaken either. */
	assert_int_equal(mux_overtakes(host.m), 0);
	mux_stream_write(b.s, block, 200000);
	carry_all();
	mux_stream_write(c.s, "stat", 4);
	carry_all();
	assert_int_equal(mux_overtakes(host.m), 1);
}

static void bulk_and_a_small_stream(void)
{
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	a.has = 1u << 30;
	mux_stream_set_pullable(a.s);
}

/* Also before the turn of the bulk of which it was the last to overtake a part is over. */
static void a_stream_with_little_to_say_never_waits_for_bulk(void **state)
{
	(void)state;
	bulk_and_a_small_stream();
	for (size_t i = 1; i <= 200; i++) {
		mux_stream_write(c.s, "question", 8);
		carry(&host, &guest, 8 + 8 + 8 + 4000, SIZE_MAX);
		assert_int_equal(d.got_len, 8 * i);
		carry(&guest, &host, 1 << 20, SIZE_MAX);
	}
	assert_true(b.got_len > 100u * 4000);
}

static void a_stream_with_much_to_say_in_small_pieces_has_its_share_and_no_more(void **state)
{
	(void)state;
	bulk_and_a_small_stream();
	for (int i = 0; i < 2000; i++) {
		mux_stream_write(c.s, block, 1000);
		carry(&host, &guest, 8 + 1000 + 8 + 2000, SIZE_MAX);
		carry(&guest, &host, 1 << 20, SIZE_MAX);
	}
	/* It wrote a third of all, and the turns of a bulk stream are long. */
	assert_true(d.got_len > 500000);
	assert_true(b.got_len > 3000000);
}

static void bulk_streams_share_fairly(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		guest.next = &bs[i];
		as[i].s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &as[i]);
		carry_all();
	}
	/* Never without something to send, nor without credit. */
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 4; i++)
			mux_stream_write(as[i].s, block, 250000);
		carry(&host, &guest, 100000, 65536);
		carry(&guest, &host, 100000, 65536);
	}
	/* To a turn of a few frames, of which one may have been cut. */
	for (int i = 0; i < 4; i++)
		assert_in_range(bs[i].got_len, 1000000 - 5 * MUX_FRAME_MAX, 1000000 + 5 * MUX_FRAME_MAX);
}

static void a_chatty_stream_cannot_keep_bulk_from_its_turn(void **state)
{
	(void)state;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	mux_stream_write(a.s, block, 250000);
	/* Whenever its queue is empty it writes again, and space is short. */
	for (int i = 0; i < 40; i++) {
		mux_stream_write(c.s, block, 10000);
		carry(&host, &guest, 10008, 65536);
	}
	assert_true(b.got_len > 150000);
}

static void a_callback_may_reset_its_own_stream(void **state)
{
	(void)state;
	b.reset_on_data = true;
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	mux_stream_write(a.s, block, 100000);
	carry(&host, &guest, 1 << 20, 1000);
	assert_int_equal(b.got_len, 1000 - 9 - 8);
	assert_int_equal(b.closed, 0);
	carry_all();
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.reason, MUX_REASON_CANCELLED);
}

static void a_lost_session_tells_every_stream_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		as[i].s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &as[i]);
	carry_all();
	mux_free(host.m);
	host.m = NULL;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(as[i].closed, 1);
		assert_int_equal(as[i].reason, MUX_REASON_LOST);
	}
}

static void messages_are_taken_whole_or_not_at_all(void **state)
{
	(void)state;
	a.s = mux_open(host.m, MUX_KIND_CONTROL, NULL, 0, &user_events, &a);
	assert_int_equal(mux_stream_write_all(a.s, block, MUX_MESSAGE_MAX - 10), 0);
	assert_int_equal(mux_stream_write_all(a.s, block, 11), -EAGAIN);
	assert_int_equal(mux_stream_write_all(a.s, block, 10), 0);
	assert_int_equal(mux_stats(host.m)->queued, MUX_MESSAGE_MAX);
	mux_stream_fin(a.s);
	assert_int_equal(mux_stream_write_all(a.s, block, 1), -EPIPE);
}

static void the_number_of_streams_is_bounded_on_both_sides(void **state)
{
	const char *why;
	struct wire_buf buf = {0};

	(void)state;
	for (unsigned i = 0; i < MUX_STREAMS_MAX; i++)
		assert_non_null(mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a));
	assert_null(mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a));
	carry_all();
	assert_int_equal(mux_stats(guest.m)->streams, MUX_STREAMS_MAX);
	/* One more than it may: refused. Without end, and the answers not read: the session ends. */
	for (unsigned i = 0; i < 3 * MUX_STREAMS_MAX; i++) {
		wire_put_u32(&buf, 2 * MUX_STREAMS_MAX + 1 + 2 * i);
		wire_put_u32(&buf, 1u << 24 | 1);
		wire_put_u8(&buf, MUX_KIND_TCP);
	}
	assert_int_equal(mux_receive(guest.m, buf.data, 9, &why), 0);
	assert_int_equal(guest.opens, MUX_STREAMS_MAX);
	assert_int_equal(mux_receive(guest.m, buf.data + 9, buf.len - 9, &why), -EPROTO);
	wire_buf_free(&buf);
}

/* Frames as a hostile peer would write them: id, type, payload. */
static int violation(uint32_t id, uint8_t type, const char *payload, size_t len)
{
	struct wire_buf buf = {0};
	const char *why = NULL;
	int r;

	wire_put_u32(&buf, id);
	wire_put_u32(&buf, (uint32_t)type << 24 | (uint32_t)len);
	if (payload)
		wire_put_bytes(&buf, payload, len);
	r = mux_receive(guest.m, buf.data, buf.len, &why);
	assert_true(!r == !why);
	wire_buf_free(&buf);
	return r;
}

static void what_the_document_does_not_allow_ends_the_session(void **state)
{
	static const struct {
		uint32_t id;
		uint8_t type;
		const char *payload;
		size_t len;
	} bad[] = {
		{1, 0, NULL, 0},                 /* no such type */
		{1, 10, NULL, 0},                /* no such type */
		{1, 1, NULL, 0},                 /* OPEN without a kind */
		{1, 1, NULL, 2000},              /* OPEN with too much */
		{3, 1, "\3", 1},                 /* OPEN out of order */
		{2, 1, "\3", 1},                 /* OPEN of an id that is ours */
		{0, 4, "x", 1},                  /* no stream 0 */
		{1, 4, "x", 1},                  /* never opened */
		{5, 7, NULL, 0},                 /* nor this */
		{7, 9, NULL, 0},                 /* nor this */
		{1, 4, NULL, 0},                 /* DATA without any */
		{1, 4, NULL, MUX_FRAME_MAX + 1}, /* too long */
		{1, 3, "\0", 1},                 /* REFUSE of its own */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		mux_free(guest.m);
		guest.m = mux_new(false, &events, &guest);
		assert_int_equal(violation(bad[i].id, bad[i].type, bad[i].payload, bad[i].len), -EPROTO);
	}
}

static void what_a_stream_must_not_do_in_its_state_ends_the_session(void **state)
{
	static const struct {
		uint8_t type;
		const char *payload;
		size_t len;
	} bad[] = {
		{2, NULL, 0},               /* ACCEPT of its own stream */
		{3, "\3", 1},               /* REFUSE of it */
		{5, "\0\0\0\0", 4},         /* no credit */
		{5, "\xff\xff\xff\xff", 4}, /* more than a window can be */
		{5, "\0\0\0", 3},           /* short */
		{8, "\0", 1},               /* RESET for no reason */
		{8, "\12", 1},              /* LOST is never sent */
		{8, "\77", 1},              /* unknown */
		{7, "\0", 1},               /* FIN with something */
		{9, "\0", 1},               /* LEAVE with something */
	};

	(void)state;
	guest.next = &b;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		mux_free(guest.m);
		guest.m = mux_new(false, &events, &guest);
		assert_int_equal(violation(1, 1, "\3", 1), 0);
		assert_int_equal(violation(1, bad[i].type, bad[i].payload, bad[i].len), -EPROTO);
	}
}

static void data_beyond_the_credit_or_after_fin_end_the_session(void **state)
{
	static char full[MUX_FRAME_MAX];

	(void)state;
	b.hold = true;
	guest.next = &b;
	assert_int_equal(violation(1, 1, "\3", 1), 0);
	for (unsigned i = 0; i < MUX_CREDIT_INITIAL / MUX_FRAME_MAX; i++)
		assert_int_equal(violation(1, 4, full, sizeof(full)), 0);
	assert_int_equal(violation(1, 4, "x", 1), -EPROTO);
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);

	b.hold = false;
	b.got_len = 0;
	mux_free(guest.m);
	guest.m = mux_new(false, &events, &guest);
	assert_int_equal(violation(1, 1, "\3", 1), 0);
	assert_int_equal(violation(1, 7, NULL, 0), 0);
	assert_int_equal(violation(1, 4, "x", 1), -EPROTO);
}

static void what_comes_late_for_an_ended_stream_is_ignored(void **state)
{
	(void)state;
	guest.next = &b;
	assert_int_equal(violation(1, 1, "\3", 1), 0);
	mux_stream_reset(b.s, MUX_REASON_CANCELLED);
	assert_int_equal(violation(1, 4, "x", 1), 0);
	assert_int_equal(violation(1, 5, "\0\0\1\0", 4), 0);
	assert_int_equal(violation(1, 6, NULL, 0), 0);
	assert_int_equal(violation(1, 7, NULL, 0), 0);
	assert_int_equal(violation(1, 9, NULL, 0), 0);
	assert_int_equal(violation(1, 8, "\7", 1), 0);
	assert_int_equal(violation(1, 1, "\3", 1), -EPROTO);
}

static void open_pair(void)
{
	guest.next = &b;
	b.outlet = -1;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
}

/* What is queued has to be the bytes that the block begins with, behind the first `skipped`. */
static void expect_rest(struct fifo *rest, size_t skipped, size_t len)
{
	uint8_t *bytes = malloc(len);

	assert_int_equal(rest->len, len);
	fifo_take(rest, bytes, len);
	assert_memory_equal(bytes, block + skipped, len);
	free(bytes);
}

static void number_block(void)
{
	for (size_t i = 0; i < 1u << 20; i++)
		block[i] = (uint8_t)(i * 7 / 3);
}

/* Whoever reads or not: it is no part of what waits for credit. */
static void leaving_waits_for_nothing_and_gives_back_what_is_queued(void **state)
{
	struct fifo rest;

	(void)state;
	number_block();
	open_pair();
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	b.hold = true;
	assert_int_equal(mux_stream_write(a.s, block, MUX_QUEUE_MAX), MUX_QUEUE_MAX);
	carry_all();
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);
	assert_int_equal(mux_stream_write(c.s, block, 1000), 1000);
	assert_int_equal(mux_stats(host.m)->queued, MUX_QUEUE_MAX - MUX_CREDIT_INITIAL + 1000);
	assert_true(mux_stream_leave(a.s, &rest));
	/* The other's bytes are its own. */
	assert_int_equal(mux_stats(host.m)->queued, 1000);
	expect_rest(&rest, MUX_CREDIT_INITIAL, MUX_QUEUE_MAX - MUX_CREDIT_INITIAL);
	assert_true(mux_pending(host.m));
	assert_int_equal(carry(&host, &guest, MUX_HEADER, SIZE_MAX), MUX_HEADER);
	assert_int_equal(b.leaves, 1);
	assert_int_equal(b.fins, 0);
	carry_all();
	assert_int_equal(mux_stats(host.m)->queued, 0);
	assert_int_equal(d.got_len, 1000);
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);
	assert_memory_equal(b.got, block, MUX_CREDIT_INITIAL);
	assert_int_equal(b.leaves, 1);
	assert_int_equal(a.closed + b.closed + a.leaves + a.fins, 0);
}

static void who_leaves_says_no_more_and_hears_the_rest(void **state)
{
	struct fifo rest, again;

	(void)state;
	open_pair();
	assert_true(mux_stream_leave(a.s, &rest));
	assert_int_equal(rest.len, 0);
	assert_int_equal(mux_stream_space(a.s), 0);
	assert_int_equal(mux_stream_write(a.s, "x", 1), 0);
	assert_int_equal(mux_stream_write_all(a.s, "x", 1), -EPIPE);
	mux_stream_fin(a.s);
	carry_all();
	assert_false(mux_stream_leave(a.s, &again));
	assert_int_equal(again.len, 0);
	assert_int_equal(b.leaves, 1);
	/* More than a window: what is read is still credited. */
	assert_int_equal(mux_stream_write(b.s, block, MUX_QUEUE_MAX), MUX_QUEUE_MAX);
	carry_all();
	assert_int_equal(a.got_len, MUX_QUEUE_MAX);
	mux_stream_fin(b.s);
	carry_all();
	assert_int_equal(a.fins, 1);
	assert_int_equal(a.leaves, 0);
	assert_int_equal(a.closed + b.closed, 2);
}

static void a_stream_that_both_sides_leave_is_over_without_a_reason(void **state)
{
	struct fifo rest;

	(void)state;
	open_pair();
	b.answer_leave = true;
	assert_true(mux_stream_leave(a.s, &rest));
	carry(&host, &guest, 1 << 20, 1);
	assert_int_equal(b.leaves, 1);
	assert_int_equal(b.closed, 0);
	carry(&guest, &host, 1 << 20, 1);
	assert_int_equal(a.leaves, 1);
	assert_int_equal(a.closed + b.closed, 2);
	assert_int_equal(a.reason, MUX_REASON_NONE);
	assert_int_equal(b.reason, MUX_REASON_NONE);
	assert_int_equal(a.fins + b.fins, 0);
	assert_int_equal(mux_stats(host.m)->streams + mux_stats(guest.m)->streams, 0);
}

static void both_may_leave_at_the_same_time(void **state)
{
	struct fifo rest;

	(void)state;
	open_pair();
	mux_stream_write(b.s, "accepted", 8);
	carry_all();
	assert_true(mux_stream_leave(a.s, &rest));
	assert_true(mux_stream_leave(b.s, &rest));
	carry_all();
	assert_int_equal(a.leaves + b.leaves, 2);
	assert_int_equal(a.closed + b.closed, 2);
	assert_int_equal(a.reason + b.reason, 2 * MUX_REASON_NONE);
}

static void a_stream_that_one_side_leaves_and_the_other_finishes_is_over_without_a_reason(void **state)
{
	struct fifo rest;

	(void)state;
	/* FIN came first, */
	open_pair();
	mux_stream_write(b.s, "last", 4);
	mux_stream_fin(b.s);
	carry_all();
	assert_int_equal(a.fins, 1);
	assert_true(mux_stream_leave(a.s, &rest));
	carry_all();
	assert_int_equal(b.leaves, 1);
	assert_int_equal(b.fins + a.leaves, 0);
	assert_int_equal(a.closed + b.closed, 2);
	assert_int_equal(a.reason + b.reason, 2 * MUX_REASON_NONE);
	/* or LEAVE, with FIN queued behind what has no credit yet. */
	guest.next = &d;
	c.hold = true;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	assert_int_equal(mux_stream_write(d.s, block, MUX_QUEUE_MAX), MUX_QUEUE_MAX);
	mux_stream_fin(d.s);
	carry_all();
	assert_true(mux_stream_leave(c.s, &rest));
	carry_all();
	assert_int_equal(d.leaves, 1);
	assert_int_equal(c.closed + d.closed, 0);
	c.hold = false;
	mux_stream_consumed(c.s, c.unread);
	carry_all();
	assert_int_equal(c.got_len, MUX_QUEUE_MAX);
	assert_int_equal(c.fins, 1);
	assert_int_equal(c.closed + d.closed, 2);
	assert_int_equal(c.reason + d.reason, 2 * MUX_REASON_NONE);
}

static void a_stream_whose_user_cannot_go_elsewhere_is_reset_and_both_are_told(void **state)
{
	struct fifo rest;

	(void)state;
	open_pair();
	mux_stream_set_events(b.s, &settled_events, &b);
	mux_stream_write(a.s, "before", 6);
	carry_all();
	assert_true(mux_stream_leave(a.s, &rest));
	carry_all();
	assert_memory_equal(b.got, "before", 6);
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.reason, MUX_REASON_PROHIBITED);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.reason, MUX_REASON_PROHIBITED);
	assert_int_equal(b.fins + b.leaves + a.fins + a.leaves, 0);
	assert_int_equal(mux_stats(host.m)->streams + mux_stats(guest.m)->streams, 0);
	/* Nothing is left that would disturb the next. */
	guest.next = &d;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	mux_stream_write(c.s, "next", 4);
	carry_all();
	assert_memory_equal(d.got, "next", 4);
}

/* FIN goes where what is queued in front of it goes. Once it is sent there is nothing that could leave. */
static void who_is_about_to_finish_can_leave_and_who_has_cannot(void **state)
{
	struct fifo rest = {.len = 77};

	(void)state;
	open_pair();
	b.hold = true;
	assert_int_equal(mux_stream_write(a.s, block, MUX_QUEUE_MAX), MUX_QUEUE_MAX);
	mux_stream_fin(a.s);
	carry_all();
	assert_true(mux_stream_leave(a.s, &rest));
	expect_rest(&rest, MUX_CREDIT_INITIAL, MUX_QUEUE_MAX - MUX_CREDIT_INITIAL);
	assert_int_equal(mux_stats(host.m)->queued, 0);
	b.hold = false;
	mux_stream_consumed(b.s, b.unread);
	carry_all();
	assert_int_equal(b.got_len, MUX_CREDIT_INITIAL);
	assert_int_equal(b.fins, 0);
	assert_int_equal(b.leaves, 1);
	rest.len = 77;
	assert_false(mux_stream_leave(a.s, &rest));
	assert_int_equal(rest.len, 0);
	assert_null(rest.first);
	carry_all();
	assert_int_equal(b.leaves, 1);
}

/* Somebody waits for it: whoever goes on elsewhere. */
static void leaving_is_no_hang_up(void **state)
{
	struct fifo rest;

	(void)state;
	question_is_answered();
	assert_true(mux_stream_leave(a.s, &rest));
	assert_false(mux_has_hangups(host.m));
	assert_true(mux_pending(host.m));
	carry(&host, &guest, 1 << 20, SIZE_MAX);
	assert_int_equal(b.leaves, 1);
	/* The other's last word was LEAVE, too. */
	assert_true(mux_stream_leave(b.s, &rest));
	assert_false(mux_has_hangups(guest.m));
	assert_true(mux_pending(guest.m));
	carry(&guest, &host, 1 << 20, SIZE_MAX);
	assert_int_equal(a.closed + b.closed, 2);
}

static void who_was_left_can_hang_up(void **state)
{
	struct fifo rest;

	(void)state;
	question_is_answered();
	assert_true(mux_stream_leave(a.s, &rest));
	carry_all();
	mux_stream_fin(b.s);
	assert_true(mux_has_hangups(guest.m));
	assert_false(mux_pending(guest.m));
	mux_hang_up(guest.m);
	carry_all();
	assert_int_equal(a.fins, 1);
	assert_int_equal(a.closed + b.closed, 2);
}

static void a_stream_that_is_left_while_it_is_offered_tells_it_behind_what_was_stored(void **state)
{
	struct fifo rest;

	(void)state;
	guest.next = &b;
	guest.later = true;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	/* Nobody can have heard of it yet. */
	assert_int_equal(mux_stream_id(a.s), 0);
	mux_stream_write(a.s, "early", 5);
	carry_all();
	assert_int_equal(mux_stream_id(a.s), mux_stream_id(b.s));
	assert_int_not_equal(mux_stream_id(a.s), 0);
	assert_true(mux_stream_leave(a.s, &rest));
	assert_int_equal(rest.len, 0);
	carry_all();
	mux_stream_accept(b.s, &user_events, &b);
	mux_deliver(guest.m);
	assert_int_equal(b.got_len, 5);
	assert_int_equal(b.leaves, 1);
	assert_int_equal(b.fins, 0);
	assert_true(mux_stream_leave(b.s, &rest));
	carry_all();
	assert_int_equal(a.accepted, 1);
	assert_int_equal(a.leaves, 1);
	assert_int_equal(a.closed + b.closed, 2);
}

static void a_stream_can_be_left_before_it_was_sent(void **state)
{
	struct fifo rest;

	(void)state;
	number_block();
	guest.next = &b;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	mux_stream_write(a.s, block, 5000);
	assert_true(mux_stream_leave(a.s, &rest));
	expect_rest(&rest, 0, 5000);
	carry_all();
	assert_int_equal(guest.opens, 1);
	assert_int_equal(b.got_len, 0);
	assert_int_equal(b.leaves, 1);
}

static void who_leaves_is_not_asked_for_more(void **state)
{
	struct fifo rest;

	(void)state;
	number_block();
	open_pair();
	a.has = 1u << 30;
	mux_stream_write(a.s, block, 3000);
	mux_stream_set_pullable(a.s);
	assert_true(mux_stream_leave(a.s, &rest));
	expect_rest(&rest, 0, 3000);
	carry_all();
	assert_int_equal(a.pulls, 0);
	assert_int_equal(b.got_len, 0);
	assert_int_equal(b.leaves, 1);
}

static void a_stream_may_be_reset_because_it_is_left(void **state)
{
	struct fifo rest;

	(void)state;
	open_pair();
	b.reset_on_leave = true;
	assert_true(mux_stream_leave(a.s, &rest));
	carry_all();
	assert_int_equal(b.closed, 0);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.reason, MUX_REASON_CANCELLED);
}

static void what_must_not_follow_leave_or_fin_ends_the_session(void **state)
{
	static const struct {
		uint8_t first, second;
	} bad[] = {{9, 9}, {9, 7}, {7, 9}, {9, 4}, {9, 6}};

	(void)state;
	guest.next = &b;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bool has_data = bad[i].second == MUX_DATA;

		mux_free(guest.m);
		guest.m = mux_new(false, &events, &guest);
		b.fins = b.leaves = 0;
		assert_int_equal(violation(1, 1, "\3", 1), 0);
		assert_int_equal(violation(1, bad[i].first, NULL, 0), 0);
		assert_int_equal(b.fins + b.leaves, 1);
		assert_int_equal(violation(1, bad[i].second, has_data ? "x" : NULL, has_data), -EPROTO);
		assert_int_equal(b.fins + b.leaves, 1);
	}
}

static void a_stream_that_is_not_accepted_cannot_be_left_by_who_was_asked(void **state)
{
	static const uint8_t leave[] = {0, 0, 0, 1, MUX_LEAVE, 0, 0, 0};
	const char *why = NULL;

	(void)state;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	carry_all();
	assert_int_equal(mux_receive(host.m, leave, sizeof(leave), &why), -EPROTO);
	assert_non_null(why);
	assert_int_equal(a.leaves, 0);
}

static void what_is_pulled_follows_the_queue_and_is_asked_for_no_earlier_than_it_leaves(void **state)
{
	(void)state;
	open_pair();
	a.has = 100000;
	assert_int_equal(mux_stream_write(a.s, "first", 5), 5);
	mux_stream_set_pullable(a.s);
	assert_int_equal(a.pulls, 0);
	assert_int_equal(mux_stats(host.m)->queued, 5);
	carry(&host, &guest, 8 + 5 + 8 + 2000, SIZE_MAX);
	assert_int_equal(a.pulls, 1);
	assert_int_equal(a.pulled, 2000);
	carry_all();
	assert_int_equal(b.got_len, 5 + 100000);
	assert_memory_equal(b.got, "first", 5);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(b.got[5 + i], (uint8_t)i);
	/* It brought too little: now it is told when to read itself. */
	assert_int_equal(a.writable, 1);
	assert_false(mux_pending(host.m));
	assert_int_equal(mux_stream_write(a.s, "last", 4), 4);
	mux_stream_fin(a.s);
	carry_all();
	assert_memory_equal(b.got + 5 + 100000, "last", 4);
	assert_int_equal(b.fins, 1);
}

static void a_pull_that_brings_nothing_is_no_frame(void **state)
{
	(void)state;
	open_pair();
	mux_stream_set_pullable(a.s);
	assert_true(mux_pending(host.m));
	assert_int_equal(carry(&host, &guest, 1 << 20, SIZE_MAX), 0);
	assert_int_equal(a.pulls, 1);
	assert_int_equal(a.writable, 1);
	assert_int_equal(b.got_len, 0);
	assert_false(mux_pending(host.m));
}

static void no_more_is_pulled_than_there_is_credit_for(void **state)
{
	(void)state;
	open_pair();
	b.hold = true;
	a.has = 64u << 20;
	mux_stream_set_pullable(a.s);
	carry_all();
	/* The window grew while its reader seemed to keep up, and no further. */
	assert_int_equal(a.pulled, b.unread);
	assert_true(a.pulled <= MUX_CREDIT_MAX);
	assert_false(mux_pending(host.m));
	b.hold = false;
	mux_stream_consumed(b.s, b.unread);
	carry_all();
	assert_int_equal(b.got_len, 64u << 20);
}

static void small_messages_go_before_what_is_pulled(void **state)
{
	(void)state;
	open_pair();
	guest.next = &d;
	d.outlet = -1;
	c.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &c);
	carry_all();
	a.has = 200000;
	mux_stream_set_pullable(a.s);
	carry(&host, &guest, 50000, SIZE_MAX);
	assert_int_equal(mux_stream_write(c.s, "small", 5), 5);
	carry(&host, &guest, 8 + 5, SIZE_MAX);
	assert_int_equal(d.got_len, 5);
	assert_true(b.got_len < 60000);
	carry_all();
}

static void what_has_an_outlet_passes_the_mux_by(void **state)
{
	struct wire_buf buf = {0};
	const char *why;
	size_t max;

	(void)state;
	open_pair();
	b.outlet = 7;
	assert_int_equal(mux_outlet(guest.m, &max), -1);
	assert_int_equal(max, MUX_HEADER);
	mux_stream_write(a.s, block, 1000);
	assert_int_equal(mux_produce(host.m, &buf, 1 << 20), MUX_HEADER + 1000);
	assert_int_equal(mux_receive(guest.m, buf.data, 3, &why), 0);
	assert_int_equal(mux_outlet(guest.m, &max), -1);
	assert_int_equal(max, MUX_HEADER - 3);
	assert_int_equal(mux_receive(guest.m, buf.data + 3, MUX_HEADER - 3, &why), 0);
	assert_int_equal(mux_outlet(guest.m, &max), 7);
	assert_int_equal(max, 1000);
	mux_passed(guest.m, 400);
	assert_int_equal(mux_outlet(guest.m, &max), 7);
	assert_int_equal(max, 600);
	/* The two ways may be mixed. */
	assert_int_equal(mux_receive(guest.m, buf.data + MUX_HEADER + 400, 500, &why), 0);
	assert_int_equal(mux_outlet(guest.m, &max), 7);
	mux_passed(guest.m, 100);
	assert_int_equal(mux_outlet(guest.m, &max), -1);
	assert_int_equal(max, MUX_HEADER);
	assert_int_equal(b.passed, 500);
	assert_int_equal(b.got_len, 500);
	assert_int_equal(mux_stats(guest.m)->bytes_in, 1000);
	/* What it reads is credited as ever. */
	wire_buf_free(&buf);
	b.outlet = -1;
	a.has = 8u << 20;
	mux_stream_set_pullable(a.s);
	carry_all();
	assert_int_equal(b.got_len, 500 + (8u << 20));
}

static void what_waits_for_an_answer_has_no_outlet(void **state)
{
	struct wire_buf buf = {0};
	const char *why;
	size_t max, all;

	(void)state;
	guest.next = &b;
	guest.later = true;
	b.outlet = 7;
	a.s = mux_open(host.m, MUX_KIND_TCP, NULL, 0, &user_events, &a);
	mux_stream_write(a.s, "hello", 5);
	all = (size_t)mux_produce(host.m, &buf, 1 << 20);
	assert_int_equal(mux_receive(guest.m, buf.data, all - 3, &why), 0);
	assert_int_equal(mux_outlet(guest.m, &max), -1);
	mux_stream_accept(b.s, &user_events, &b);
	/* The first bytes have not been delivered yet: nothing may overtake them. */
	assert_int_equal(mux_outlet(guest.m, &max), -1);
	mux_deliver(guest.m);
	assert_int_equal(b.got_len, 2);
	assert_int_equal(mux_outlet(guest.m, &max), 7);
	assert_int_equal(max, 3);
	assert_int_equal(mux_receive(guest.m, buf.data + all - 3, 3, &why), 0);
	assert_memory_equal(b.got, "hello", 5);
	wire_buf_free(&buf);
}

static void each_reason_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(mux_reason_name(MUX_REASON_NOT_FOUND), "not found");
	assert_string_equal(mux_reason_name((enum mux_reason)77), "unknown");
}

/* Ids are used once: a peer that has used up all of its own does not begin anew, least of all with 0. */
static void a_peer_that_has_opened_all_its_streams_opens_no_more(void **state)
{
	static const uint8_t open[] = {0xff, 0xff, 0xff, 0xfe, MUX_OPEN, 0, 0, 1, MUX_KIND_SFTP};
	const char *why = NULL;

	(void)state;
	host.next = &b;
	host.m->peer_next_id = 0xfffffffe;
	assert_int_equal(mux_receive(host.m, open, sizeof(open), &why), -EPROTO);
	assert_non_null(why);
	assert_int_equal(host.opens, 0);
	assert_int_equal(mux_stats(host.m)->streams, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, two_sides, no_sides)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_peer_that_has_opened_all_its_streams_opens_no_more),
		TEST(a_stream_opens_carries_bytes_both_ways_and_ends_once),
		TEST(frames_may_come_byte_by_byte),
		TEST(acceptance_waits_for_what_follows_it),
		TEST(a_hang_up_goes_with_the_next_frames),
		TEST(the_end_of_a_message_is_sent_at_once),
		TEST(a_stream_that_hangs_up_can_be_reset),
		TEST(a_refused_stream_tells_why_and_is_gone),
		TEST(data_before_the_answer_wait_and_follow_it),
		TEST(a_stream_given_up_before_its_answer_is_told_when_events_are_set),
		TEST(a_stream_reset_before_it_was_sent_is_never_heard_of),
		TEST(a_slow_reader_stops_its_own_stream_only),
		TEST(the_window_grows_for_a_reader_that_keeps_up),
		TEST(small_messages_go_before_bulk_and_control_before_all),
		TEST(held_bulk_stays_while_small_messages_overtake_it),
		TEST(only_bulk_of_others_is_overtaken),
		TEST(a_stream_with_little_to_say_never_waits_for_bulk),
		TEST(a_stream_with_much_to_say_in_small_pieces_has_its_share_and_no_more),
		TEST(bulk_streams_share_fairly),
		TEST(a_chatty_stream_cannot_keep_bulk_from_its_turn),
		TEST(a_callback_may_reset_its_own_stream),
		TEST(a_lost_session_tells_every_stream_once),
		TEST(messages_are_taken_whole_or_not_at_all),
		TEST(the_number_of_streams_is_bounded_on_both_sides),
		TEST(what_the_document_does_not_allow_ends_the_session),
		TEST(what_a_stream_must_not_do_in_its_state_ends_the_session),
		TEST(data_beyond_the_credit_or_after_fin_end_the_session),
		TEST(what_comes_late_for_an_ended_stream_is_ignored),
		TEST(what_is_pulled_follows_the_queue_and_is_asked_for_no_earlier_than_it_leaves),
		TEST(a_pull_that_brings_nothing_is_no_frame),
		TEST(no_more_is_pulled_than_there_is_credit_for),
		TEST(small_messages_go_before_what_is_pulled),
		TEST(what_has_an_outlet_passes_the_mux_by),
		TEST(what_waits_for_an_answer_has_no_outlet),
		TEST(leaving_waits_for_nothing_and_gives_back_what_is_queued),
		TEST(who_leaves_says_no_more_and_hears_the_rest),
		TEST(a_stream_that_both_sides_leave_is_over_without_a_reason),
		TEST(both_may_leave_at_the_same_time),
		TEST(a_stream_that_one_side_leaves_and_the_other_finishes_is_over_without_a_reason),
		TEST(a_stream_whose_user_cannot_go_elsewhere_is_reset_and_both_are_told),
		TEST(who_is_about_to_finish_can_leave_and_who_has_cannot),
		TEST(leaving_is_no_hang_up),
		TEST(who_was_left_can_hang_up),
		TEST(a_stream_that_is_left_while_it_is_offered_tells_it_behind_what_was_stored),
		TEST(a_stream_can_be_left_before_it_was_sent),
		TEST(who_leaves_is_not_asked_for_more),
		TEST(a_stream_may_be_reset_because_it_is_left),
		TEST(what_must_not_follow_leave_or_fin_ends_the_session),
		TEST(a_stream_that_is_not_accepted_cannot_be_left_by_who_was_asked),
		TEST(each_reason_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
