/* SPDX-License-Identifier: MIT */
/*
 * Two targets, by the first byte of the input: hostile bytes into a session (host or guest, in each state it can meet
 * them in), and two honest sessions over a connection that breaks.
 */
#include <errno.h>
#include <string.h>

#include "bounds.h"
#include "pair.h"
#include "session_priv.h"

/* ----------------------------------------------------------------------------------------------- a hostile peer */

static void hostile_up(void *ctx, bool resumed, const struct session_hello *peer)
{
}

static void hostile_data(void *ctx, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		input_touch(data[i]);
}

static const struct session_events hostile_events = {.up = hostile_up, .data = hostile_data, .skipped = hostile_data};

static void produce_some(struct session *s, size_t max, uint64_t now_us)
{
	const uint8_t *data;
	bool kept;
	size_t len = session_produce(s, &data, &kept);

	hostile_data(NULL, data, len);
	session_produced(s, len < max ? len : max, now_us);
	CHECK(s->control.len <= 4 * SESSION_HELLO_MAX);
}

/* Bytes in pieces whose sizes are part of the input. */
static void hostile_feed(struct session *s, struct input *in)
{
	uint64_t now_us = 1000;
	uint64_t next;

	while (in->left) {
		size_t n = input_size(in);
		uint8_t *copy;
		int r;

		if (n > in->left)
			n = in->left;
		copy = malloc(n ? n : 1);
		memcpy(copy, in->at, n);
		in->at += n;
		in->left -= n;
		now_us += 7000;
		r = session_receive(s, copy, n, now_us);
		free(copy);
		CHECK((r == 0 || r == -EPROTO || r == -ECONNRESET || r == -ECONNABORTED || r == -EBADMSG));
		CHECK((r == -EPROTO || r == -ECONNRESET) == (session_state(s) == SESSION_DEAD));
		if (r < 0)
			return;
		produce_some(s, n, now_us);
		if (session_tick(s, now_us, &next) < 0)
			return;
	}
}

static void fuzz_hostile(struct input *in, uint8_t how)
{
	struct session_hello hello = {.timeout_s = 60, .agent_version = "1", .epoch = 1};
	enum session_role role = how & 1 ? SESSION_GUEST : SESSION_HOST;
	struct session *s = session_new(role, &hello, &hostile_events, NULL);
	struct session_hello parsed;
	uint8_t block[3000] = {0};

	session_parse_hello(in->at, in->left, &parsed);
	CHECK(session_attach(s, &hello, 1000) == 0);
	if (how & 2 && role == SESSION_HOST) {
		/* Past the greeting, so that the fuzzer need not find it. */
		struct wire_buf b = {0};

		session_put_hello(&b, session_identity(s));
		CHECK(session_receive(s, b.data, b.len, 1000) == 0);
		wire_buf_free(&b);
	}
	CHECK(session_send(s, block, sizeof(block)) == 0);
	if (how & 4)
		produce_some(s, 2000, 1000);
	hostile_feed(s, in);
	session_free(s);
}

/* ------------------------------------------------------------------------------------------- a connection that breaks
 */

struct ends {
	uint64_t sent[2], got[2];
	size_t want[2]; /* bytes that are to be sent */
};

/* The byte at a place of a direction's stream. */
static uint8_t byte_at(int end, uint64_t i)
{
	return (uint8_t)((i * 2654435761u + (unsigned)end * 77) >> 7);
}

static void pair_data(struct pair *p, int end, const uint8_t *data, size_t len)
{
	struct ends *e = p->ctx;

	for (size_t i = 0; i < len; i++)
		CHECK(data[i] == byte_at(1 - end, e->got[end] + i));
	e->got[end] += len;
	CHECK(e->got[end] <= e->sent[1 - end]);
}

static void pair_fill(struct pair *p, int end)
{
	struct ends *e = p->ctx;

	while (e->want[end]) {
		size_t n;
		uint8_t *place = session_reserve(p->session[end], e->want[end], &n);

		if (!place)
			return;
		for (size_t i = 0; i < n; i++)
			place[i] = byte_at(end, e->sent[end] + i);
		session_commit(p->session[end], n);
		e->sent[end] += n;
		e->want[end] -= n;
	}
}

static const struct pair_user pair_user = {.data = pair_data, .fill = pair_fill};

static void fuzz_broken(struct input *in)
{
	struct ends e = {0};
	struct pair p;

	pair_init(&p, &pair_user, &e);
	while (in->left) {
		uint8_t op = input_u8(in);

		if (op & 0x10)
			e.want[op & 1] += input_size(in);
		else
			pair_step(&p, in, op);
	}
	pair_settle(&p);
	for (int end = 0; end < 2; end++)
		CHECK(!e.want[end] && e.got[end] == e.sent[1 - end]);
	pair_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = input_u8(&in);

	if (how & 0x80)
		fuzz_broken(&in);
	else
		fuzz_hostile(&in, how);
	return 0;
}
