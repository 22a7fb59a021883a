/* SPDX-License-Identifier: MIT */
/* Datagrams in a stream: whole, in pieces of any size, too long, and where a stream has no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "datagram.h"
#include "loop.h"
#include "mux_pair.h"
#include "wire.h"

struct heard {
	size_t count;
	size_t lens[8];
	uint8_t first[8]; /* byte of each, 0 of an empty one */
	int answer;
};

static int on_datagram(void *ctx, const uint8_t *data, size_t len)
{
	struct heard *h = ctx;

	assert_true(h->count < 8);
	for (size_t i = 1; i < len; i++)
		assert_int_equal(data[i], data[0]);
	h->first[h->count] = len ? data[0] : 0;
	h->lens[h->count++] = len;
	return h->answer;
}

static size_t put(uint8_t *at, size_t len, uint8_t byte)
{
	wire_poke_u16(at, (uint16_t)len);
	memset(at + DATAGRAM_HEAD, byte, len);
	return DATAGRAM_HEAD + len;
}

static void any_piece_of_the_stream_gives_the_same_datagrams(void **state)
{
	static const size_t lens[] = {0, 1, 300, 0, UDP_DATAGRAM_MAX, 2};
	static const size_t pieces[] = {1, 2, 3, 301, 4096, 65529, 200000};
	static uint8_t stream[200000];
	size_t total = 0;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		total += put(stream + total, lens[i], (uint8_t)(i + 1));
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		struct datagram_reader r = {0};
		struct heard h = {0};

		for (size_t at = 0; at < total; at += pieces[p]) {
			size_t n = total - at < pieces[p] ? total - at : pieces[p];

			assert_int_equal(datagram_read(&r, stream + at, n, on_datagram, &h), 0);
		}
		assert_int_equal(h.count, 6);
		assert_memory_equal(h.lens, lens, sizeof(lens));
		assert_int_equal(h.first[4], 5);
		assert_null(r.part);
	}
}

static void one_too_long_is_an_error_however_it_comes(void **state)
{
	uint8_t head[DATAGRAM_HEAD];

	(void)state;
	wire_poke_u16(head, UDP_DATAGRAM_MAX + 1);
	for (size_t piece = 1; piece <= 2; piece++) {
		struct datagram_reader r = {0};
		struct heard h = {0};
		int rc = 0;

		for (size_t at = 0; at < 2 && rc == 0; at += piece)
			rc = datagram_read(&r, head + at, piece, on_datagram, &h);
		assert_int_equal(rc, -EPROTO);
		assert_int_equal(h.count, 0);
		datagram_reader_clear(&r);
	}
}

static void who_hears_one_may_end_it(void **state)
{
	struct datagram_reader r = {0};
	struct heard h = {.answer = -ECONNREFUSED};
	uint8_t stream[16];
	size_t len = put(stream, 3, 7);

	(void)state;
	len += put(stream + len, 3, 8);
	assert_int_equal(datagram_read(&r, stream, len, on_datagram, &h), -ECONNREFUSED);
	assert_int_equal(h.count, 1);
	h.count = 0;
	assert_int_equal(datagram_read(&r, stream, 4, on_datagram, &h), 0);
	assert_int_equal(datagram_read(&r, stream + 4, 1, on_datagram, &h), -ECONNREFUSED);
	assert_int_equal(h.count, 1);
	assert_null(r.part);
}

static void on_no_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	(void)ctx;
	(void)kind;
	(void)args;
	(void)len;
	(void)stream; /* never answered */
}

static void on_no_data(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)data;
	(void)len;
}

static void on_no_closed(void *ctx, enum mux_reason reason)
{
	(void)ctx;
	(void)reason;
}

static void what_a_stream_has_no_room_for_is_not_begun(void **state)
{
	static const struct mux_stream_events events = {.data = on_no_data, .closed = on_no_closed};
	static struct datagram d;
	struct loop *loop = loop_new();
	struct mux_pair *pair = mux_pair_new(loop, on_no_open, NULL);
	struct mux_stream *s = mux_open(mux_pair_host(pair), MUX_KIND_UDP, NULL, 0, &events, NULL);
	size_t taken = 0, left;

	(void)state;
	while (datagram_write(s, &d, 60000))
		taken++;
	assert_in_range(taken, 1, MUX_QUEUE_MAX / 60000);
	left = mux_stream_space(s);
	assert_true(left < 60000 + DATAGRAM_HEAD);
	assert_true(datagram_write(s, &d, left - DATAGRAM_HEAD));
	assert_int_equal(mux_stream_space(s), 0);
	assert_false(datagram_write(s, &d, 0));
	mux_pair_free(pair);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_piece_of_the_stream_gives_the_same_datagrams),
		cmocka_unit_test(one_too_long_is_an_error_however_it_comes),
		cmocka_unit_test(who_hears_one_may_end_it),
		cmocka_unit_test(what_a_stream_has_no_room_for_is_not_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
