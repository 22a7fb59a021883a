/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan_fd.h"
#include "loop.h"

struct owner {
	struct loop *loop;
	struct chan *chan;
	char got[64];
	size_t bytes;
	int closed, error, writable;
	bool free_on_data, stop_on_data, stop_on_writable;
	/* Each `header` bytes, `payload` more may be moved to `outlet`. */
	int outlet;
	size_t header, payload, moved;
	uint8_t *stream, *moved_bytes; /* what comes; of that, what was moved, as it should be */
};

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct owner *o = ctx;

	if (o->bytes + len < sizeof(o->got))
		memcpy(o->got + o->bytes, data, len);
	o->bytes += len;
	if (o->free_on_data) {
		chan_free(o->chan);
		o->chan = NULL;
	}
	if (o->stop_on_data)
		loop_stop(o->loop);
}

static void on_writable(void *ctx)
{
	struct owner *o = ctx;

	o->writable++;
	if (o->stop_on_writable)
		loop_stop(o->loop);
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct owner *o = ctx;

	assert_non_null(why);
	o->closed++;
	o->error = error;
	chan_free(o->chan);
	o->chan = NULL;
	loop_stop(o->loop);
}

static int on_outlet(void *ctx, size_t *max)
{
	struct owner *o = ctx;
	size_t at;

	*max = 0;
	if (!o->header)
		return -1;
	at = (o->bytes + o->moved) % (o->header + o->payload);
	*max = (at < o->header ? o->header : o->header + o->payload) - at;
	return at < o->header ? -1 : o->outlet;
}

static void on_passed(void *ctx, size_t n)
{
	struct owner *o = ctx;

	memcpy(o->moved_bytes + o->moved, o->stream + o->bytes + o->moved, n);
	o->moved += n;
}

static const struct chan_events events = {
	.data = on_data, .writable = on_writable, .outlet = on_outlet, .passed = on_passed, .closed = on_closed};

/* Runs turns for at most so long. */
static void run(struct loop *loop, unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
}

static void bytes_then_end_of_file_arrive(void **state)
{
	struct owner o = {.loop = loop_new()};
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	o.chan = chan_fd_new(o.loop, sv[0], sv[0]);
	chan_set_owner(o.chan, &events, &o);
	assert_int_equal(chan_write(o.chan, (const uint8_t *)"ping", 4), 4);
	assert_int_equal(write(sv[1], "hello", 5), 5);
	close(sv[1]);
	run(o.loop, 2000);
	assert_string_equal(o.got, "hello");
	assert_int_equal(o.closed, 1);
	loop_free(o.loop);
}

static void nothing_is_read_without_an_owner(void **state)
{
	struct owner o = {.loop = loop_new(), .stop_on_data = true};
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	o.chan = chan_fd_new(o.loop, sv[0], sv[0]);
	assert_int_equal(write(sv[1], "early", 5), 5);
	run(o.loop, 20);
	assert_int_equal(o.bytes, 0);
	chan_set_owner(o.chan, &events, &o);
	run(o.loop, 2000);
	assert_string_equal(o.got, "early");
	chan_set_owner(o.chan, NULL, NULL);
	assert_int_equal(write(sv[1], "more", 4), 4);
	run(o.loop, 20);
	assert_int_equal(o.bytes, 5);
	chan_free(o.chan);
	close(sv[1]);
	loop_free(o.loop);
}

static void a_turn_reads_no_more_than_its_owner_wishes(void **state)
{
	static uint8_t much[50000];
	struct owner o = {.loop = loop_new(), .stop_on_data = true};
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	o.chan = chan_fd_new(o.loop, sv[0], sv[0]);
	chan_set_owner(o.chan, &events, &o);
	assert_int_equal(write(sv[1], much, sizeof(much)), sizeof(much));
	for (size_t i = 1; i <= 3; i++) {
		chan_set_turn(o.chan, 1000);
		run(o.loop, 2000);
		assert_int_equal(o.bytes, 1000 * i);
	}
	chan_set_turn(o.chan, 0);
	run(o.loop, 2000);
	assert_int_equal(o.bytes, sizeof(much));
	chan_free(o.chan);
	close(sv[1]);
	loop_free(o.loop);
}

static void a_full_pipe_takes_no_more_and_tells_when_it_does(void **state)
{
	struct owner o = {.loop = loop_new(), .stop_on_writable = true};
	static uint8_t block[1 << 20];
	int in[2], out[2];
	size_t n;

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	o.chan = chan_fd_new(o.loop, in[0], out[1]);
	chan_set_owner(o.chan, &events, &o);
	n = chan_write(o.chan, block, sizeof(block));
	assert_true(n > 0 && n < sizeof(block));
	run(o.loop, 20);
	assert_int_equal(o.writable, 0);
	assert_int_equal(read(out[0], block, n), n);
	run(o.loop, 2000);
	assert_int_equal(o.writable, 1);
	chan_free(o.chan);
	close(in[1]);
	close(out[0]);
	loop_free(o.loop);
}

static void a_broken_pipe_is_told_later_and_after_the_last_words(void **state)
{
	struct owner o = {.loop = loop_new()};
	int in[2], out[2];

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	o.chan = chan_fd_new(o.loop, in[0], out[1]);
	chan_set_owner(o.chan, &events, &o);
	assert_int_equal(write(in[1], "goodbye", 7), 7);
	close(out[0]);
	assert_int_equal(chan_write(o.chan, (const uint8_t *)"x", 1), 0);
	assert_int_equal(o.closed, 0);
	run(o.loop, 2000);
	assert_string_equal(o.got, "goodbye");
	assert_int_equal(o.closed, 1);
	assert_int_equal(o.error, -EPIPE);
	close(in[1]);
	loop_free(o.loop);
}

static size_t take_all(int fd, uint8_t *to, size_t size)
{
	size_t got = 0;
	ssize_t n;

	while (got < size && (n = recv(fd, to + got, size - got, MSG_DONTWAIT)) > 0)
		got += (size_t)n;
	return got;
}

/* What is moved and what is read are, together, every byte once; and the outlet has its own in order. */
static void what_has_an_outlet_is_moved_there(void **state)
{
	enum { HEADER = 10, PAYLOAD = 3000, FRAMES = 100 };
	static uint8_t sent[FRAMES * (HEADER + PAYLOAD)], came[FRAMES * PAYLOAD], moved[FRAMES * PAYLOAD];
	struct owner o = {
		.loop = loop_new(), .header = HEADER, .payload = PAYLOAD, .stream = sent, .moved_bytes = moved};
	int in[2], out[2], sv[2];
	size_t got = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i / (HEADER + PAYLOAD) + i);
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	assert_true(fcntl(in[1], F_SETPIPE_SZ, 1 << 20) >= (int)sizeof(sent));
	o.outlet = sv[0];
	o.chan = chan_fd_new(o.loop, in[0], out[1]);
	chan_set_owner(o.chan, &events, &o);
	/* Nothing was moved so far, so all that is there is read: here, half a payload. */
	assert_int_equal(write(in[1], sent, HEADER + PAYLOAD / 2), HEADER + PAYLOAD / 2);
	run(o.loop, 20);
	assert_int_equal(o.bytes, HEADER + PAYLOAD / 2);
	assert_int_equal(write(in[1], sent + o.bytes, sizeof(sent) - o.bytes), sizeof(sent) - o.bytes);
	/* The outlet is full, now and then: what it does not take is read. */
	for (int i = 0; i < 50 && o.bytes + o.moved < sizeof(sent); i++) {
		run(o.loop, 10);
		got += take_all(sv[1], came + got, sizeof(came) - got);
	}
	assert_int_equal(o.bytes + o.moved, sizeof(sent));
	assert_int_equal(o.moved, got);
	assert_true(o.moved > sizeof(came) / 4);
	assert_memory_equal(came, moved, got);
	chan_free(o.chan);
	close(in[1]);
	close(out[0]);
	close(sv[0]);
	close(sv[1]);
	loop_free(o.loop);
}

/* A pipe is lent pages, and what becomes of them when they are unmapped is not seen by its reader. */
static void kept_bytes_arrive_also_when_their_memory_has_gone(void **state)
{
	enum { LEN = 512 << 10 };
	struct owner o = {.loop = loop_new()};
	uint8_t *kept = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static uint8_t came[LEN + 1];
	int in[2], out[2];
	size_t got = 0;
	ssize_t n;

	(void)state;
	assert_true(kept != MAP_FAILED);
	for (size_t i = 0; i < LEN; i++)
		kept[i] = (uint8_t)(i * 7 + (i >> 12));
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	assert_true(fcntl(out[1], F_SETPIPE_SZ, 1 << 20) > LEN);
	o.chan = chan_fd_new(o.loop, in[0], out[1]);
	chan_set_owner(o.chan, &events, &o);
	assert_int_equal(chan_write_kept(o.chan, kept, LEN), LEN);
	/* Shows that it was not copied: the one thing an owner must not do. */
	kept[LEN - 1] ^= 1;
	assert_int_equal(chan_write(o.chan, (const uint8_t *)"z", 1), 1);
	munmap(kept, LEN);
	chan_free(o.chan);
	while ((n = read(out[0], came + got, sizeof(came) - got)) > 0)
		got += (size_t)n;
	assert_int_equal(got, LEN + 1);
	for (size_t i = 0; i < LEN - 1; i++)
		assert_int_equal(came[i], (uint8_t)(i * 7 + (i >> 12)));
	assert_int_equal(came[LEN - 1], (uint8_t)((LEN - 1) * 7 + ((LEN - 1) >> 12)) ^ 1);
	assert_int_equal(came[LEN], 'z');
	close(in[1]);
	close(out[0]);
	loop_free(o.loop);
}

static void a_callback_may_free_the_chan(void **state)
{
	struct owner o = {.loop = loop_new(), .free_on_data = true};
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	o.chan = chan_fd_new(o.loop, sv[0], sv[0]);
	chan_set_owner(o.chan, &events, &o);
	assert_int_equal(write(sv[1], "x", 1), 1);
	run(o.loop, 20);
	assert_null(o.chan);
	assert_int_equal(o.closed, 0);
	close(sv[1]);
	loop_free(o.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_then_end_of_file_arrive),
		cmocka_unit_test(nothing_is_read_without_an_owner),
		cmocka_unit_test(a_turn_reads_no_more_than_its_owner_wishes),
		cmocka_unit_test(a_full_pipe_takes_no_more_and_tells_when_it_does),
		cmocka_unit_test(a_broken_pipe_is_told_later_and_after_the_last_words),
		cmocka_unit_test(what_has_an_outlet_is_moved_there),
		cmocka_unit_test(kept_bytes_arrive_also_when_their_memory_has_gone),
		cmocka_unit_test(a_callback_may_free_the_chan),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
