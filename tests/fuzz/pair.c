/* SPDX-License-Identifier: MIT */
/* See pair.h. */
#include "pair.h"

#include <string.h>

#include "bounds.h"
#include "session_priv.h"

_Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

uint8_t input_u8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

size_t input_size(struct input *in)
{
	uint8_t shift = input_u8(in);

	return ((size_t)input_u8(in) + 1) << shift % 9;
}

void input_touch(uint8_t byte)
{
	__asm__ volatile("" : : "r"(byte));
}

static void on_up(void *ctx, bool resumed, const struct session_hello *peer)
{
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct pair_end *e = ctx;

	CHECK(len > 0);
	e->pair->user->data(e->pair, e->end, data, len);
}

static int on_outlet(void *ctx, size_t *max)
{
	struct pair_end *e = ctx;

	*max = 0;
	return e->pair->user->outlet ? e->pair->user->outlet(e->pair, e->end, max) : -1;
}

static void on_passed(void *ctx, size_t n)
{
	struct pair_end *e = ctx;

	e->pair->user->passed(e->pair, e->end, e->pair->moved, n);
}

static const struct session_events session_events = {
	.up = on_up, .data = on_data, .outlet = on_outlet, .passed = on_passed};

void pair_init(struct pair *p, const struct pair_user *user, void *ctx)
{
	struct session_hello hello = {.timeout_s = 60, .agent_version = "1"};

	*p = (struct pair){.user = user, .ctx = ctx, .now_us = 1000000};
	memset(hello.id, 1, sizeof(hello.id));
	memset(hello.secret, 2, sizeof(hello.secret));
	for (int end = 0; end < 2; end++) {
		p->ends[end] = (struct pair_end){p, end};
		p->session[end] = session_new(end == PAIR_HOST ? SESSION_HOST : SESSION_GUEST, &hello, &session_events,
					      &p->ends[end]);
	}
}

void pair_free(struct pair *p)
{
	for (int end = 0; end < 2; end++) {
		session_free(p->session[end]);
		wire_buf_free(&p->wire[end]);
	}
}

void pair_connect(struct pair *p)
{
	for (int end = 0; end < 2; end++) {
		p->here[end] = end == PAIR_HOST;
		wire_buf_reset(&p->wire[end]);
	}
	p->greeting_len = 0;
	CHECK(session_attach(p->session[PAIR_HOST], NULL, p->now_us) == 0);
}

void pair_cut(struct pair *p, int end)
{
	session_detach(p->session[end], p->now_us);
	p->here[end] = false;
	/* A guest that has not heard of it yet never will. */
	p->greeting_len = sizeof(p->greeting);
	wire_buf_reset(&p->wire[0]);
	wire_buf_reset(&p->wire[1]);
}

static void pair_check(const struct pair *p)
{
	for (int end = 0; end < 2; end++) {
		const struct session *s = p->session[end];

		CHECK(s->state != SESSION_DEAD);
		CHECK(s->retain.acked <= s->retain.out_seq && s->retain.out_seq <= s->retain.end);
		CHECK(s->retain.end - s->retain.acked <= SESSION_UNACKED_MAX);
		CHECK(s->control.len <= 2 * SESSION_HELLO_MAX);
	}
	CHECK(p->session[0]->received <= p->session[1]->retain.end);
	CHECK(p->session[1]->received <= p->session[0]->retain.end);
	CHECK(p->session[0]->retain.acked <= p->session[1]->received);
	CHECK(p->session[1]->retain.acked <= p->session[0]->received);
}

size_t pair_produce(struct pair *p, int end, size_t max)
{
	const uint8_t *data;
	size_t len;
	bool kept;

	if (session_state(p->session[end]) == SESSION_UP)
		p->user->fill(p, end);
	len = session_produce(p->session[end], &data, &kept);
	if (len > max)
		len = max;
	/* An end that still has the old connection talks to nobody. */
	if (p->here[end])
		wire_put_bytes(&p->wire[end], data, len);
	session_produced(p->session[end], len, p->now_us);
	pair_check(p);
	return len;
}

static void pair_greet(struct pair *p, const uint8_t *data, size_t len)
{
	struct session_hello hello;
	size_t room = sizeof(p->greeting) - p->greeting_len;
	size_t n = len < room ? len : room;
	size_t had = p->greeting_len;
	int used;

	memcpy(p->greeting + had, data, n);
	p->greeting_len += n;
	used = session_parse_hello(p->greeting, p->greeting_len, &hello);
	CHECK(used >= 0);
	if (!used)
		return;
	CHECK(session_matches(session_identity(p->session[PAIR_GUEST]), &hello));
	CHECK(session_attach(p->session[PAIR_GUEST], &hello, p->now_us) == 0);
	p->here[PAIR_GUEST] = true;
	/* What came behind it. */
	CHECK(session_receive(p->session[PAIR_GUEST], data + ((size_t)used - had), len - ((size_t)used - had),
			      p->now_us) == 0);
}

/* As a chan does that can move bytes: what has an outlet goes there, and the rest is received. */
static void pair_receive(struct pair *p, int to, const uint8_t *data, size_t len)
{
	while (len) {
		size_t max;
		int fd = session_outlet(p->session[to], &max);
		size_t n = max && max < len ? max : len;

		CHECK(fd < 0 || max > 0);
		p->moved = data;
		if (fd >= 0)
			session_passed(p->session[to], n, p->now_us);
		else
			CHECK(session_receive(p->session[to], data, n, p->now_us) == 0);
		data += n;
		len -= n;
	}
}

size_t pair_deliver(struct pair *p, int end, size_t max)
{
	int to = 1 - end;
	size_t len = p->wire[end].len < max ? p->wire[end].len : max;
	uint8_t *copy;

	if (!len || (!p->here[to] && (to == PAIR_HOST || p->greeting_len == sizeof(p->greeting))))
		return 0;
	/* A copy of exactly this size, so that a read past the end is seen. */
	copy = malloc(len);
	memcpy(copy, p->wire[end].data, len);
	wire_buf_consume(&p->wire[end], len);
	if (p->here[to])
		pair_receive(p, to, copy, len);
	else
		pair_greet(p, copy, len);
	free(copy);
	pair_check(p);
	return len;
}

void pair_wait(struct pair *p, uint64_t us)
{
	p->now_us += us;
	for (int end = 0; end < 2; end++) {
		uint64_t next;

		if (session_tick(p->session[end], p->now_us, &next) < 0)
			pair_cut(p, end);
	}
}

void pair_step(struct pair *p, struct input *in, uint8_t op)
{
	int end = op & 1;

	switch (op >> 1 & 7) {
	case 0:
		pair_connect(p);
		break;
	case 1:
		pair_cut(p, end);
		break;
	case 2:
		pair_wait(p, (uint64_t)input_u8(in) * 1000);
		break;
	case 3:
	case 4:
		pair_produce(p, end, input_size(in));
		break;
	case 5:
		/* Whole conversations, or short inputs would never get past HELLO. */
		for (int i = 0; i < 4; i++) {
			pair_produce(p, i & 1, SIZE_MAX);
			pair_deliver(p, i & 1, SIZE_MAX);
		}
		break;
	default:
		pair_deliver(p, end, input_size(in));
	}
}

void pair_settle(struct pair *p)
{
	int quiet = 0;

	pair_connect(p);
	/* Quiet for longer than any ACK waits; PINGs are not noise but end with the time. */
	for (int i = 0; quiet < 3; i++) {
		uint64_t before = p->session[0]->received + p->session[1]->received;

		CHECK(i < 100000);
		for (int end = 0; end < 2; end++) {
			pair_produce(p, end, SIZE_MAX);
			pair_deliver(p, end, SIZE_MAX);
		}
		pair_wait(p, SESSION_ACK_DELAY_US);
		quiet = before == p->session[0]->received + p->session[1]->received ? quiet + 1 : 0;
	}
	for (int end = 0; end < 2; end++) {
		CHECK(session_state(p->session[end]) == SESSION_UP);
		CHECK(p->session[1 - end]->received == p->session[end]->retain.end);
		CHECK(p->session[end]->retain.acked == p->session[end]->retain.end);
	}
}
