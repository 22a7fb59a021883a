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
#include "session.h"
#include "wire.h"

/* Two sessions, and bytes carried between them by hand. */
struct end {
	struct session *s;
	uint8_t got[64 << 10];
	size_t got_len;
	int ups, resumed;
	char skipped[256];
};

static struct end host, guest;
static struct session_hello hello;
static uint64_t now = 1000000;

static void on_up(void *ctx, bool resumed, const struct session_hello *peer)
{
	struct end *e = ctx;

	e->ups++;
	e->resumed += resumed;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct end *e = ctx;

	/* The first of them are kept, the others counted. */
	if (e->got_len < sizeof(e->got))
		memcpy(e->got + e->got_len, data,
		       len < sizeof(e->got) - e->got_len ? len : sizeof(e->got) - e->got_len);
	e->got_len += len;
}

static void on_skipped(void *ctx, const uint8_t *data, size_t len)
{
	struct end *e = ctx;

	assert_true(len < sizeof(e->skipped));
	memcpy(e->skipped, data, len);
	e->skipped[len] = '\0';
}

static const struct session_events events = {.up = on_up, .data = on_data, .skipped = on_skipped};

static int setup(void **state)
{
	(void)state;
	memset(&host, 0, sizeof(host));
	memset(&guest, 0, sizeof(guest));
	hello = (struct session_hello){.timeout_s = 60, .agent_version = "1.0", .features = 5};
	memset(hello.id, 1, sizeof(hello.id));
	memset(hello.secret, 2, sizeof(hello.secret));
	host.s = session_new(SESSION_HOST, &hello, &events, &host);
	guest.s = session_new(SESSION_GUEST, &hello, &events, &guest);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	session_free(host.s);
	session_free(guest.s);
	return 0;
}

/* At most `max` bytes of what `e` has to send, appended to `out`. */
static size_t produce(struct end *e, struct wire_buf *out, size_t max)
{
	size_t total = 0;

	while (total < max) {
		const uint8_t *data;
		bool kept;
		size_t n = session_produce(e->s, &data, &kept);

		if (!n)
			break;
		if (n > max - total)
			n = max - total;
		wire_put_bytes(out, data, n);
		session_produced(e->s, n, now);
		total += n;
	}
	return total;
}

static int carry(struct end *from, struct end *to, size_t max)
{
	struct wire_buf b = {0};
	int r;

	produce(from, &b, max);
	r = session_receive(to->s, b.data, b.len, now);
	wire_buf_free(&b);
	return r;
}

/* A new connection up to the point where both are up. */
static void greet(void)
{
	struct session_hello seen;
	struct wire_buf b = {0};
	int n;

	assert_int_equal(session_attach(host.s, NULL, now), 0);
	assert_int_equal(session_state(host.s), SESSION_GREETING);
	produce(&host, &b, SIZE_MAX);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(session_parse_hello(b.data, i, &seen), 0);
	n = session_parse_hello(b.data, b.len, &seen);
	assert_int_equal(n, b.len);
	assert_true(session_matches(session_identity(guest.s), &seen));
	assert_int_equal(session_attach(guest.s, &seen, now), 0);
	wire_buf_free(&b);
	/* As little as makes the host go up, byte by byte. */
	while (session_state(host.s) == SESSION_GREETING)
		assert_int_equal(carry(&guest, &host, 1), 0);
	assert_int_equal(session_state(guest.s), SESSION_UP);
}

static void settle(void)
{
	for (int i = 0; i < 4; i++) {
		assert_int_equal(carry(&host, &guest, SIZE_MAX), 0);
		assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
	}
}

static void both_sides_come_up_and_carry_bytes(void **state)
{
	(void)state;
	greet();
	assert_int_equal(host.ups, 1);
	assert_int_equal(guest.ups, 1);
	assert_int_equal(session_send(host.s, (const uint8_t *)"down", 4), 0);
	assert_int_equal(session_send(guest.s, (const uint8_t *)"up", 2), 0);
	settle();
	assert_memory_equal(guest.got, "down", 4);
	assert_memory_equal(host.got, "up", 2);
}

static void a_connection_cut_at_any_byte_loses_and_doubles_nothing(void **state)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";
	size_t want = 0;

	(void)state;
	for (size_t cut = 0; cut < 120; cut++) {
		greet();
		assert_int_equal(session_send(host.s, (const uint8_t *)text, sizeof(text)), 0);
		assert_int_equal(session_send(host.s, (const uint8_t *)text, sizeof(text)), 0);
		want += 2 * sizeof(text);
		/* What does not fit on this connection comes on the next. */
		assert_int_equal(carry(&host, &guest, cut), 0);
		assert_int_equal(carry(&guest, &host, cut % 50), 0);
		session_detach(host.s, now);
		if (cut % 3)
			session_detach(guest.s, now);
	}
	greet();
	settle();
	assert_int_equal(guest.got_len, want);
	for (size_t i = 0; i < want; i++)
		assert_int_equal(guest.got[i], text[i % sizeof(text)]);
	assert_int_equal(guest.ups, 121);
	assert_int_equal(guest.resumed, 120);
}

static void what_is_unacknowledged_is_bounded_and_room_comes_back(void **state)
{
	static uint8_t block[SESSION_UNACKED_MIN];

	(void)state;
	greet();
	assert_int_equal(session_room(host.s), SESSION_UNACKED_MIN);
	assert_int_equal(session_send(host.s, block, SESSION_CROWDED_MIN - 1), 0);
	assert_false(session_crowded(host.s));
	assert_int_equal(session_send(host.s, block, 1), 0);
	assert_true(session_crowded(host.s));
	assert_int_equal(session_send(host.s, block, sizeof(block) - SESSION_CROWDED_MIN), 0);
	assert_int_equal(session_room(host.s), 0);
	settle();
	assert_int_equal(guest.got_len, sizeof(block));
	assert_int_equal(session_room(host.s), SESSION_UNACKED_MIN);
}

static void a_long_link_gets_more_under_way(void **state)
{
	static uint8_t block[SESSION_UNACKED_MAX];

	(void)state;
	greet();
	/* The round trip is 200 ms, and whatever is sent arrives within one. */
	for (int i = 0; i < 12; i++) {
		size_t room = session_room(host.s);

		assert_int_equal(session_send(host.s, block, room), 0);
		assert_int_equal(carry(&host, &guest, SIZE_MAX), 0);
		now += 200000;
		assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
	}
	settle();
	assert_true(session_room(host.s) > 8 * SESSION_UNACKED_MIN);
	assert_true(session_room(host.s) <= SESSION_UNACKED_MAX);
	assert_int_equal(session_send(host.s, block, SESSION_UNACKED_MIN), 0);
	assert_false(session_crowded(host.s));
	assert_int_equal(session_send(host.s, block, 3 * SESSION_UNACKED_MIN), 0);
	assert_true(session_crowded(host.s));
	/* And a fast one stays with the least. */
	greet();
	for (int i = 0; i < 50; i++) {
		assert_int_equal(session_send(host.s, block, session_room(host.s)), 0);
		now += 100;
		settle();
		now += 1500;
	}
	assert_int_equal(session_room(host.s), SESSION_UNACKED_MIN);
}

static void acknowledgements_wait_but_not_for_long(void **state)
{
	struct wire_buf b = {0};
	uint64_t next;

	(void)state;
	greet();
	settle();
	session_send(host.s, (const uint8_t *)"x", 1);
	assert_int_equal(carry(&host, &guest, SIZE_MAX), 0);
	assert_int_equal(produce(&guest, &b, SIZE_MAX), 0);
	assert_int_equal(session_tick(guest.s, now, &next), 0);
	assert_int_equal(next, now + SESSION_ACK_DELAY_US);
	now = next;
	assert_int_equal(session_tick(guest.s, now, &next), 0);
	assert_int_equal(produce(&guest, &b, SIZE_MAX), 4 + 8);
	wire_buf_free(&b);
}

static void an_answer_and_its_acknowledgement_are_one_piece(void **state)
{
	const uint8_t *data;
	bool kept;

	(void)state;
	greet();
	settle();
	session_send(host.s, (const uint8_t *)"question", 8);
	assert_int_equal(carry(&host, &guest, SIZE_MAX), 0);
	session_send(guest.s, (const uint8_t *)"answer", 6);
	assert_int_equal(session_produce(guest.s, &data, &kept), 4 + 8 + 4 + 6);
	assert_false(kept);
}

static void the_round_trip_is_measured_and_loss_is_noticed(void **state)
{
	uint64_t next;

	(void)state;
	greet();
	assert_int_equal(carry(&host, &guest, SIZE_MAX), 0);
	now += 30000;
	assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
	assert_int_equal(session_rtt_us(host.s), 30000);
	for (int i = 0; i < 4; i++)
		assert_int_equal(session_tick(host.s, now + (uint64_t)i * 999999, &next), 0);
	assert_int_equal(session_tick(host.s, now + SESSION_LOST_US, &next), -ETIMEDOUT);
	assert_int_equal(session_state(host.s), SESSION_UP);
}

static void a_greeting_that_does_not_come_is_noticed(void **state)
{
	uint64_t next;

	(void)state;
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	assert_int_equal(session_tick(host.s, now + SESSION_LOST_US, &next), 0);
	assert_int_equal(session_tick(host.s, now + SESSION_GREETING_US, &next), -ETIMEDOUT);
}

static void a_detached_session_expires(void **state)
{
	const char *text;
	uint64_t next;

	(void)state;
	greet();
	session_detach(host.s, now);
	assert_int_equal(session_tick(host.s, now + 59999999, &next), 0);
	assert_int_equal(next, now + 60000000);
	assert_int_equal(session_tick(host.s, next, &next), -ETIME);
	assert_int_equal(session_reason(host.s, &text), SESSION_REASON_EXPIRED);
}

static void goodbye_ends_both(void **state)
{
	const char *text;

	(void)state;
	greet();
	settle();
	session_send(guest.s, (const uint8_t *)"unheard", 7);
	session_goodbye(guest.s, SESSION_REASON_REPLACED, "another one\ncame");
	assert_int_equal(carry(&guest, &host, SIZE_MAX), -ECONNRESET);
	assert_int_equal(session_state(guest.s), SESSION_DEAD);
	assert_int_equal(session_reason(host.s, &text), SESSION_REASON_REPLACED);
	assert_string_equal(text, "another one\\x0acame");
	assert_int_equal(session_attach(host.s, NULL, now), -EPROTO);
}

static void a_frame_that_was_begun_is_finished_before_goodbye(void **state)
{
	struct wire_buf b = {0};

	(void)state;
	greet();
	settle();
	session_send(host.s, (const uint8_t *)"hello", 5);
	produce(&host, &b, 6);
	session_goodbye(host.s, SESSION_REASON_STOPPED, "");
	produce(&host, &b, SIZE_MAX);
	assert_int_equal(session_receive(guest.s, b.data, b.len, now), -ECONNRESET);
	assert_memory_equal(guest.got, "hello", 5);
	wire_buf_free(&b);
}

static void a_new_guest_does_not_know_an_old_session(void **state)
{
	struct session_hello seen;
	struct wire_buf b = {0};
	const char *text;

	(void)state;
	greet();
	session_free(guest.s);
	guest.s = session_new(SESSION_GUEST, &hello, &events, &guest);
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	produce(&host, &b, SIZE_MAX);
	assert_true(session_parse_hello(b.data, b.len, &seen) > 0);
	assert_true(seen.resume);
	assert_int_equal(session_attach(guest.s, &seen, now), -EPROTO);
	wire_buf_reset(&b);
	session_put_refusal(&b, SESSION_REASON_UNKNOWN, "restarted");
	assert_int_equal(session_receive(host.s, b.data, b.len, now), -ECONNRESET);
	assert_int_equal(session_reason(host.s, &text), SESSION_REASON_UNKNOWN);
	wire_buf_free(&b);
}

static void a_host_that_never_heard_the_guest_may_begin_again(void **state)
{
	struct session_hello seen;
	struct wire_buf b = {0};

	(void)state;
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	produce(&host, &b, SIZE_MAX);
	assert_true(session_parse_hello(b.data, b.len, &seen) > 0);
	assert_int_equal(session_attach(guest.s, &seen, now), 0);
	session_send(guest.s, (const uint8_t *)"early", 5);
	wire_buf_free(&b);
	session_detach(host.s, now);
	greet();
	settle();
	assert_memory_equal(host.got, "early", 5);
	assert_int_equal(host.resumed, 0);
	assert_int_equal(guest.resumed, 1);
}

static void an_old_epoch_and_a_count_that_cannot_be_are_refused(void **state)
{
	struct session_hello seen = hello;

	(void)state;
	greet();
	seen.epoch = 1;
	seen.resume = true;
	assert_int_equal(session_attach(guest.s, &seen, now), -ESTALE);
	seen.epoch = 2;
	seen.received = 1;
	assert_int_equal(session_attach(guest.s, &seen, now), -EPROTO);
	assert_int_equal(session_state(guest.s), SESSION_UP);
	seen.received = 0;
	assert_int_equal(session_attach(guest.s, &seen, now), 0);
}

static void a_wrong_secret_does_not_match(void **state)
{
	struct session_hello other = hello;

	(void)state;
	assert_true(session_matches(session_identity(guest.s), &other));
	other.secret[31] ^= 1;
	assert_false(session_matches(session_identity(guest.s), &other));
	other = hello;
	other.id[0] ^= 0x80;
	assert_false(session_matches(session_identity(guest.s), &other));
}

static void text_before_the_banner_is_skipped_up_to_a_limit(void **state)
{
	static uint8_t noise[1000];
	struct session_hello seen;
	struct wire_buf b = {0};
	int r = 0;

	(void)state;
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	produce(&host, &b, SIZE_MAX);
	assert_true(session_parse_hello(b.data, b.len, &seen) > 0);
	assert_int_equal(session_attach(guest.s, &seen, now), 0);
	/* NULs and the beginnings of a banner are noise as well. */
	assert_int_equal(session_receive(host.s, (const uint8_t *)"hi\r\n\0home\0\0", 11, now), 0);
	assert_int_equal(carry(&guest, &host, SIZE_MAX), 0);
	assert_int_equal(session_state(host.s), SESSION_UP);
	assert_memory_equal(host.skipped, "hi\r\n", 4);
	wire_buf_free(&b);

	assert_int_equal(session_attach(host.s, NULL, now), 0);
	for (int i = 0; i < 70 && !r; i++)
		r = session_receive(host.s, noise, sizeof(noise), now);
	assert_int_equal(r, -EBADMSG);
	assert_string_equal(session_trouble(host.s), "what answers is not homeport-guest: it prints without end");
	assert_int_equal(session_state(host.s), SESSION_GREETING);
}

static void another_version_is_told_by_name(void **state)
{
	uint8_t banner[12] = "\0homeport\r\n\x07";
	struct session_hello seen;
	const char *text;

	(void)state;
	assert_int_equal(session_parse_hello(banner, 12, &seen), -EPROTONOSUPPORT);
	assert_int_equal(seen.version, 7);
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	assert_int_equal(session_receive(host.s, banner, 12, now), -EPROTO);
	assert_int_equal(session_reason(host.s, &text), SESSION_REASON_VERSION);
	assert_string_equal(text, "homeport on the host speaks version 1 of the protocol, homeport-guest version 7");
}

static void a_greeter_takes_nothing_but_banner_and_hello(void **state)
{
	struct session_hello seen;
	struct wire_buf b = {0};

	(void)state;
	assert_int_equal(session_parse_hello((const uint8_t *)"SSH-2.0", 7, &seen), -EPROTO);
	assert_int_equal(session_parse_hello((const uint8_t *)"\0homeport\n", 10, &seen), -EPROTO);
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	produce(&host, &b, SIZE_MAX);
	b.data[12] = 2; /* DATA */
	assert_int_equal(session_parse_hello(b.data, b.len, &seen), -EPROTO);
	b.data[12] = 1;
	b.data[14] = 0x7f; /* 32 KiB of HELLO */
	assert_int_equal(session_parse_hello(b.data, b.len, &seen), -EPROTO);
	wire_buf_free(&b);
}

static void what_the_document_does_not_allow_ends_the_session(void **state)
{
	static const struct {
		const char *frame;
		size_t len;
	} bad[] = {
		{"\0\0\0\0", 4},                    /* no such type */
		{"\7\0\0\0", 4},                    /* no such type */
		{"\2\0\0\0", 4},                    /* DATA without any */
		{"\2\1\0\1", 4},                    /* too much */
		{"\3\0\0\7", 4},                    /* ACK of 7 bytes */
		{"\3\0\0\10\0\0\0\0\0\0\0\1", 12},  /* ACK of what was not sent */
		{"\1\0\0\1x", 5},                   /* a second HELLO */
		{"\6\0\0\10\0\0\0\0\0\0\0\0", 12},  /* GOODBYE for no reason */
		{"\6\0\0\11\0\0\0\1\0\0\0\0x", 13}, /* with leftovers */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		greet();
		assert_int_equal(session_receive(guest.s, (const uint8_t *)bad[i].frame, bad[i].len, now), -EPROTO);
		assert_int_equal(session_state(guest.s), SESSION_DEAD);
		teardown(state);
		setup(state);
	}
	/* Before HELLO nothing else may come. */
	assert_int_equal(session_attach(host.s, NULL, now), 0);
	assert_int_equal(session_receive(host.s, (const uint8_t *)"\0homeport\r\n\1\2\0\0\1x", 17, now), -EPROTO);
}

static void a_newer_connection_ends_the_connection_only(void **state)
{
	(void)state;
	greet();
	assert_int_equal(session_receive(host.s, (const uint8_t *)"\6\0\0\10\0\0\0\5\0\0\0\0", 12, now), -ECONNABORTED);
	assert_int_equal(session_state(host.s), SESSION_UP);
}

static void each_reason_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(session_reason_name(SESSION_REASON_EXPIRED), "expired");
	assert_string_equal(session_reason_name((enum session_reason)99), "unknown");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_sides_come_up_and_carry_bytes),
		TEST(a_connection_cut_at_any_byte_loses_and_doubles_nothing),
		TEST(what_is_unacknowledged_is_bounded_and_room_comes_back),
		TEST(a_long_link_gets_more_under_way),
		TEST(acknowledgements_wait_but_not_for_long),
		TEST(an_answer_and_its_acknowledgement_are_one_piece),
		TEST(the_round_trip_is_measured_and_loss_is_noticed),
		TEST(a_greeting_that_does_not_come_is_noticed),
		TEST(a_detached_session_expires),
		TEST(goodbye_ends_both),
		TEST(a_frame_that_was_begun_is_finished_before_goodbye),
		TEST(a_new_guest_does_not_know_an_old_session),
		TEST(a_host_that_never_heard_the_guest_may_begin_again),
		TEST(an_old_epoch_and_a_count_that_cannot_be_are_refused),
		TEST(a_wrong_secret_does_not_match),
		TEST(text_before_the_banner_is_skipped_up_to_a_limit),
		TEST(another_version_is_told_by_name),
		TEST(a_greeter_takes_nothing_but_banner_and_hello),
		TEST(what_the_document_does_not_allow_ends_the_session),
		TEST(a_newer_connection_ends_the_connection_only),
		TEST(each_reason_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
