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
#include "sftp_client.h"

/* A pipe whose other end is the test. */
struct server {
	struct sftp_client *client;
	struct wire_buf received; /* what the client has sent */
	size_t room;              /* how much the pipe takes at a time */
	size_t consumed;
	bool ready;
	unsigned invalidations;
	struct sftp_invalidation last;
};

static void on_ready(void *ctx)
{
	((struct server *)ctx)->ready = true;
}

static void on_invalidate(void *ctx, const struct sftp_invalidation *what)
{
	struct server *s = ctx;

	s->invalidations++;
	s->last = *what;
}

static const struct sftp_client_events events = {.ready = on_ready, .invalidate = on_invalidate};

static size_t pipe_write(void *ctx, const void *data, size_t len)
{
	struct server *s = ctx;
	size_t n = len < s->room ? len : s->room;

	wire_put_bytes(&s->received, data, n);
	s->room -= n;
	return n;
}

static void pipe_consumed(void *ctx, size_t n)
{
	((struct server *)ctx)->consumed += n;
}

static const struct sftp_pipe_ops pipe_ops = {.write = pipe_write, .consumed = pipe_consumed};

static int input(struct server *s, struct wire_buf *b)
{
	const char *why = NULL;
	int rc = sftp_client_input(s->client, b->data, b->len, &why);

	if (rc < 0)
		assert_non_null(why);
	wire_buf_free(b);
	return rc;
}

static void put_version(struct wire_buf *b, const char *name, const char *value)
{
	size_t mark = wire_put_length_begin(b);

	wire_put_u8(b, SSH_FXP_VERSION);
	wire_put_u32(b, 3);
	wire_put_cstring(b, "posix-rename@openssh.com");
	wire_put_cstring(b, "1");
	wire_put_cstring(b, name);
	wire_put_cstring(b, value);
	wire_put_length_end(b, mark);
}

static void put_reply(struct wire_buf *b, uint32_t id, uint32_t error, uint64_t body)
{
	size_t mark = wire_put_length_begin(b);

	wire_put_u8(b, NATIVE_REPLY);
	wire_put_u32(b, id);
	wire_put_u32(b, error);
	wire_put_u64(b, 77);
	if (!error)
		wire_put_u64(b, body);
	wire_put_length_end(b, mark);
}

static void attach(struct server *s)
{
	struct wire_buf b = {0};

	s->room = SIZE_MAX;
	assert_int_equal(sftp_client_attach(s->client, &pipe_ops, s), 0);
	sftp_client_flush(s->client, false);
	assert_int_equal(s->received.data[4], SSH_FXP_INIT);
	wire_buf_reset(&s->received);
	put_version(&b, NATIVE_EXTENSION, NATIVE_VERSION);
	assert_int_equal(input(s, &b), 0);
	assert_true(s->ready);
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));

	s->client = sftp_client_new(&events, s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;

	sftp_client_detach(s->client);
	sftp_client_free(s->client);
	wire_buf_free(&s->received);
	free(s);
	return 0;
}

/* What a request's `done` was told. */
struct asked {
	unsigned calls;
	struct sftp_reply reply;
	uint64_t body;
};

static void on_done(void *ctx, const struct sftp_reply *reply)
{
	struct asked *a = ctx;
	struct wire_reader r = reply->body;

	a->calls++;
	a->reply = *reply;
	a->body = wire_get_u64(&r);
}

static uint32_t ask(struct server *s, uint8_t type, struct asked *a)
{
	struct wire_buf *b = sftp_client_begin(s->client, type);

	wire_put_u64(b, 1);
	return sftp_client_end(s->client, a ? on_done : NULL, a);
}

static unsigned packets(const struct wire_buf *b)
{
	unsigned count = 0;

	for (size_t at = 0; at + 4 <= b->len; at += 4 + wire_peek_u32(b->data + at))
		count++;
	return count;
}

static void replies_find_their_requests_in_any_order_and_any_pieces(void **state)
{
	struct server *s = *state;
	static struct asked asked[3];
	struct wire_buf b = {0};
	uint32_t id[3];
	const char *why;

	attach(s);
	for (int i = 0; i < 3; i++)
		id[i] = ask(s, NATIVE_GETATTR, &asked[i]);
	sftp_client_flush(s->client, false);
	assert_int_equal(packets(&s->received), 3);
	put_reply(&b, id[2], 0, 102);
	put_reply(&b, id[0], ENOENT, 0);
	put_reply(&b, id[1], 0, 101);
	s->consumed = 0;
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(sftp_client_input(s->client, b.data + i, 1, &why), 0);
	assert_int_equal(s->consumed, b.len);
	assert_int_equal(asked[0].reply.error, ENOENT);
	assert_int_equal(asked[1].body, 101);
	assert_int_equal(asked[2].body, 102);
	assert_int_equal(asked[2].reply.stamp, 77);
	assert_int_equal(asked[0].calls + asked[1].calls + asked[2].calls, 3);
	wire_buf_free(&b);
}

static void no_more_are_under_way_than_the_server_reads(void **state)
{
	struct server *s = *state;
	static struct asked asked[SFTP_REQUESTS_MAX + 10];
	static uint32_t id[SFTP_REQUESTS_MAX + 10];
	struct wire_buf b = {0};

	memset(asked, 0, sizeof(asked));
	attach(s);
	for (unsigned i = 0; i < SFTP_REQUESTS_MAX + 10; i++)
		id[i] = ask(s, NATIVE_GETATTR, &asked[i]);
	sftp_client_flush(s->client, false);
	assert_int_equal(packets(&s->received), SFTP_REQUESTS_MAX);
	assert_int_equal(sftp_client_stats(s->client)->queued, 10);
	for (unsigned i = 0; i < 4; i++)
		put_reply(&b, id[i], 0, i);
	assert_int_equal(input(s, &b), 0);
	sftp_client_flush(s->client, false);
	assert_int_equal(packets(&s->received), SFTP_REQUESTS_MAX + 4);
	assert_int_equal(sftp_client_stats(s->client)->queued, 6);
	assert_int_equal(sftp_client_stats(s->client)->under_way, SFTP_REQUESTS_MAX);
}

static void a_slow_pipe_gets_every_byte_once(void **state)
{
	struct server *s = *state;
	static struct asked asked;
	uint8_t block[30000];

	attach(s);
	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < 200; i++) {
		struct wire_buf *b = sftp_client_begin(s->client, NATIVE_WRITE);

		block[0] = (uint8_t)i;
		wire_put_bytes(b, block, sizeof(block));
		assert_int_not_equal(sftp_client_end(s->client, on_done, &asked), 0);
	}
	assert_true(sftp_client_stats(s->client)->queued > 0);
	s->room = 0;
	for (unsigned i = 0; i < 2000; i++) {
		s->room += 7001;
		sftp_client_flush(s->client, true);
	}
	assert_int_equal(packets(&s->received), 200);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(s->received.data[i * (9 + sizeof(block)) + 9], (uint8_t)i);
}

/* Request number i of a mixture: with a long string behind it, a short one, or none. */
static const uint8_t *ask_mixed(struct server *s, unsigned i, const uint8_t *blocks, size_t *len, struct asked *a)
{
	static const size_t lengths[] = {100000, 0, 10, 70000, 16384, 16383};
	const uint8_t *data = blocks + (size_t)i * 131;
	struct wire_buf *b = sftp_client_begin(s->client, NATIVE_WRITE);

	*len = lengths[i % 6];
	wire_put_u64(b, i);
	assert_int_not_equal(sftp_client_end_string(s->client, data, *len, on_done, a), 0);
	return data;
}

static void strings_that_are_not_copied_go_where_they_belong(void **state)
{
	enum { COUNT = 400, SIZE = COUNT * 131 + 100000 };
	struct server *s = *state;
	static struct asked asked;
	static const uint8_t *data[COUNT];
	static size_t len[COUNT];
	uint8_t *blocks = malloc(SIZE);
	struct wire_reader r;

	for (size_t i = 0; i < SIZE; i++)
		blocks[i] = (uint8_t)random();
	attach(s);
	s->room = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		struct wire_buf b = {0};

		data[i] = ask_mixed(s, i, blocks, &len[i], &asked);
		s->room += (size_t)random() % 60000;
		sftp_client_flush(s->client, false);
		/* What has gone may be answered. */
		if (i == SFTP_REQUESTS_MAX / 2)
			put_reply(&b, 1, 0, 0);
		assert_int_equal(input(s, &b), 0);
	}
	assert_true(sftp_client_stats(s->client)->queued > 0);
	for (uint32_t id = 2; id <= COUNT; id++) {
		struct wire_buf b = {0};

		s->room = SIZE_MAX;
		sftp_client_flush(s->client, true);
		put_reply(&b, id, 0, 0);
		assert_int_equal(input(s, &b), 0);
	}
	assert_int_equal(asked.calls, COUNT);
	r = wire_reader(s->received.data, s->received.len);
	for (unsigned i = 0; i < COUNT; i++) {
		size_t n;
		const uint8_t *string;

		assert_int_equal(wire_get_u32(&r), 1 + 4 + 8 + 4 + len[i]);
		assert_int_equal(wire_get_u8(&r), NATIVE_WRITE);
		assert_int_equal(wire_get_u32(&r), i + 1);
		assert_int_equal(wire_get_u64(&r), i);
		string = wire_get_string(&r, &n, SIZE);
		assert_int_equal(n, len[i]);
		assert_memory_equal(string, data[i], n);
	}
	assert_true(wire_read_done(&r));
	free(blocks);
}

static void with_the_pipe_a_string_half_sent_ends_too(void **state)
{
	struct server *s = *state;
	static struct asked asked[2];
	uint8_t *data = calloc(1, 100000);
	size_t len;

	memset(asked, 0, sizeof(asked));
	attach(s);
	s->room = 50000;
	ask_mixed(s, 0, data, &len, &asked[0]);
	ask_mixed(s, 0, data, &len, &asked[1]);
	sftp_client_flush(s->client, false);
	assert_int_equal(s->received.len, 50000);
	sftp_client_detach(s->client);
	assert_int_equal(asked[0].calls + asked[1].calls, 2);
	assert_true(asked[0].reply.lost && asked[1].reply.lost);
	free(data);
	wire_buf_reset(&s->received);
	s->ready = false;
	attach(s);
	ask(s, NATIVE_GETATTR, &asked[0]);
	sftp_client_flush(s->client, false);
	assert_int_equal(packets(&s->received), 1);
}

static void what_nobody_waits_for_travels_with_the_next_request(void **state)
{
	struct server *s = *state;
	static struct asked asked;

	attach(s);
	ask(s, NATIVE_RELEASE, NULL);
	assert_true(sftp_client_flush(s->client, false));
	assert_int_equal(packets(&s->received), 0);
	ask(s, NATIVE_GETATTR, &asked);
	assert_false(sftp_client_flush(s->client, false));
	assert_int_equal(packets(&s->received), 2);
	ask(s, NATIVE_RELEASE, NULL);
	assert_false(sftp_client_flush(s->client, true));
	assert_int_equal(packets(&s->received), 3);
}

static void a_release_does_not_overtake_what_waits(void **state)
{
	struct server *s = *state;
	static struct asked asked;
	struct wire_buf answers = {0};
	uint32_t id[SFTP_REQUESTS_MAX + 2];

	attach(s);
	for (unsigned i = 0; i < SFTP_REQUESTS_MAX + 2; i++)
		id[i] = ask(s, NATIVE_WRITE, &asked);
	ask(s, NATIVE_RELEASE, NULL);
	ask(s, NATIVE_FORGET, NULL);
	sftp_client_flush(s->client, false);
	assert_int_equal(packets(&s->received), SFTP_REQUESTS_MAX + 1);
	assert_int_equal(sftp_client_stats(s->client)->queued, 3);
	put_reply(&answers, id[0], 0, 0);
	put_reply(&answers, id[1], 0, 0);
	assert_int_equal(input(s, &answers), 0);
	sftp_client_flush(s->client, false);
	assert_int_equal(sftp_client_stats(s->client)->queued, 1);
	put_reply(&answers, id[2], 0, 0);
	assert_int_equal(input(s, &answers), 0);
	sftp_client_flush(s->client, false);
	/* It went, and is not waited for. */
	assert_int_equal(packets(&s->received), SFTP_REQUESTS_MAX + 4);
	assert_int_equal(sftp_client_stats(s->client)->queued, 0);
	assert_int_equal(sftp_client_stats(s->client)->under_way, SFTP_REQUESTS_MAX - 1);
}

static void with_the_pipe_each_request_ends_and_says_whether_it_may_be_repeated(void **state)
{
	struct server *s = *state;
	static struct asked look, make, late;

	attach(s);
	ask(s, NATIVE_LOOKUP, &look);
	ask(s, NATIVE_MKDIR, &make);
	for (unsigned i = 2; i < SFTP_REQUESTS_MAX; i++)
		ask(s, NATIVE_GETATTR, &look);
	ask(s, NATIVE_MKDIR, &late); /* never sent */
	sftp_client_detach(s->client);
	assert_int_equal(look.calls, SFTP_REQUESTS_MAX - 1);
	assert_int_equal(look.reply.error, ENOTCONN);
	assert_int_equal(make.reply.error, EIO);
	assert_int_equal(late.reply.error, ENOTCONN);
	assert_true(make.reply.lost && late.reply.lost);
	assert_false(sftp_client_ready(s->client));
	s->ready = false;
	wire_buf_reset(&s->received);
	attach(s);
	assert_int_equal(sftp_client_stats(s->client)->under_way, 0);
}

static void one_that_waits_is_cancelled_here_and_one_under_way_there(void **state)
{
	struct server *s = *state;
	static struct asked sent, waits;
	uint32_t first, last = 0;
	struct wire_buf b = {0};

	attach(s);
	first = ask(s, NATIVE_READ, &sent);
	for (unsigned i = 0; i < SFTP_REQUESTS_MAX; i++)
		last = ask(s, NATIVE_READ, &waits);
	assert_true(sftp_client_cancel(s->client, last));
	assert_int_equal(waits.calls, 0);
	sftp_client_flush(s->client, false);
	wire_buf_reset(&s->received);
	assert_false(sftp_client_cancel(s->client, first));
	sftp_client_flush(s->client, false);
	assert_int_equal(s->received.data[4], NATIVE_CANCEL);
	assert_int_equal(wire_peek_u32(s->received.data + 9), first);
	put_reply(&b, first, EINTR, 0);
	assert_int_equal(input(s, &b), 0);
	assert_int_equal(sent.reply.error, EINTR);
}

static void an_invalidation_arrives_in_order_with_replies(void **state)
{
	struct server *s = *state;
	struct wire_buf b = {0};
	size_t mark;

	attach(s);
	mark = wire_put_length_begin(&b);
	wire_put_u8(&b, NATIVE_INVALIDATE);
	wire_put_u8(&b, NATIVE_INVALIDATE_ENTRY);
	wire_put_u64(&b, 9);
	wire_put_u64(&b, 4);
	wire_put_cstring(&b, "name");
	wire_put_u64(&b, 0);
	wire_put_u64(&b, 0);
	wire_put_length_end(&b, mark);
	assert_int_equal(input(s, &b), 0);
	assert_int_equal(s->invalidations, 1);
	assert_int_equal(s->last.node, 4);
	assert_int_equal(s->last.name_len, 4);
}

/* Each of these ends the pipe with -EPROTO. */
static void refused(struct server *s, struct wire_buf *b)
{
	assert_int_equal(input(s, b), -EPROTO);
	sftp_client_detach(s->client);
}

static void a_server_that_breaks_the_protocol_is_refused(void **state)
{
	struct server *s = *state;
	static struct asked asked;
	static const uint8_t string[100000];
	struct wire_buf b = {0};
	size_t len;
	uint32_t id;

	s->room = SIZE_MAX;
	sftp_client_attach(s->client, &pipe_ops, s);
	put_version(&b, "other@example.org", "1");
	refused(s, &b);
	sftp_client_attach(s->client, &pipe_ops, s);
	put_version(&b, NATIVE_EXTENSION, "2");
	refused(s, &b);
	sftp_client_attach(s->client, &pipe_ops, s);
	wire_put_cstring(&b, "");
	refused(s, &b);
	sftp_client_attach(s->client, &pipe_ops, s);
	wire_put_bytes(&b, "Welcome to this machine", 23);
	refused(s, &b);
	wire_buf_reset(&s->received);
	attach(s);
	put_reply(&b, 4711, 0, 0);
	refused(s, &b);
	wire_buf_reset(&s->received);
	attach(s);
	id = ask(s, NATIVE_GETATTR, &asked);
	put_reply(&b, id, 0x10000, 0);
	refused(s, &b);
	wire_buf_reset(&s->received);
	attach(s);
	id = ask(s, NATIVE_GETATTR, &asked);
	put_reply(&b, id, 0, 0);
	put_reply(&b, id, 0, 0); /* answered twice */
	refused(s, &b);
	wire_buf_reset(&s->received);
	attach(s);
	s->room = 1000;
	ask_mixed(s, 0, string, &len, &asked);
	sftp_client_flush(s->client, false);
	id++;
	put_reply(&b, id, 0, 0); /* before it had the request */
	refused(s, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replies_find_their_requests_in_any_order_and_any_pieces, setup,
						teardown),
		cmocka_unit_test_setup_teardown(no_more_are_under_way_than_the_server_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slow_pipe_gets_every_byte_once, setup, teardown),
		cmocka_unit_test_setup_teardown(strings_that_are_not_copied_go_where_they_belong, setup, teardown),
		cmocka_unit_test_setup_teardown(with_the_pipe_a_string_half_sent_ends_too, setup, teardown),
		cmocka_unit_test_setup_teardown(what_nobody_waits_for_travels_with_the_next_request, setup, teardown),
		cmocka_unit_test_setup_teardown(a_release_does_not_overtake_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(with_the_pipe_each_request_ends_and_says_whether_it_may_be_repeated,
						setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_waits_is_cancelled_here_and_one_under_way_there, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_invalidation_arrives_in_order_with_replies, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_breaks_the_protocol_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
