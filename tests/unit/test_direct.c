/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan.h"
#include "direct.h"
#include "loop.h"
#include "sock_address.h"

static const uint8_t key[DIRECT_KEY_SIZE] = "a key that both ends have, of 32";
static const uint8_t another[DIRECT_KEY_SIZE] = "a key that only one end has: 32.";

struct attempt {
	struct loop *loop;
	struct direct *direct;
	struct chan *chan;
	int done;
	char why[200];
};

static void on_done(void *ctx, struct chan *chan, const char *why)
{
	struct attempt *a = ctx;

	a->direct = NULL;
	a->chan = chan;
	a->done++;
	snprintf(a->why, sizeof(a->why), "%s", why ? why : "");
	assert_true(!chan == !!why);
	loop_stop(a->loop);
}

/* Runs turns for at most so long. */
static void run(struct loop *loop, unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
}

static struct sock_address loopback(uint16_t port)
{
	static const uint8_t addr[4] = {127, 0, 0, 1};
	struct sock_address a;

	sock_address_ip(&a, 4, addr, 0, port);
	return a;
}

static struct sock_address listens(struct attempt *a, struct loop *loop)
{
	struct sock_address at = loopback(22); /* the port is the kernel's choice all the same */
	uint64_t inode = 0;
	uint16_t port = 0;

	*a = (struct attempt){.loop = loop};
	assert_int_equal(direct_listen(loop, &at, key, on_done, a, &a->direct, &port, &inode), 0);
	assert_int_equal(a->done, 0);
	assert_true(port > 0 && inode > 0 && port != 22);
	return loopback(port);
}

static void connects(struct attempt *a, struct loop *loop, const struct sock_address *to, const uint8_t *with)
{
	*a = (struct attempt){.loop = loop};
	assert_int_equal(direct_connect(loop, to, with, on_done, a, &a->direct), 0);
	assert_int_equal(a->done, 0);
}

static int stranger(const struct sock_address *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, &to->any, to->len), 0);
	return fd;
}

/* Whether anything listens there. */
static bool is_open(const struct sock_address *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool open = connect(fd, &at->any, at->len) == 0;

	close(fd);
	return open;
}

static void the_two_that_have_the_key_find_each_other(void **state)
{
	struct loop *loop = loop_new();
	struct attempt one, other;
	struct sock_address at = listens(&one, loop);

	(void)state;
	connects(&other, loop, &at, key);
	for (int i = 0; i < 10 && (!one.done || !other.done); i++)
		run(loop, 300);
	assert_int_equal(one.done + other.done, 2);
	assert_non_null(one.chan);
	assert_non_null(other.chan);
	assert_false(is_open(&at));
	chan_free(one.chan);
	chan_free(other.chan);
	loop_free(loop);
}

static void strangers_do_not_keep_the_right_one_out(void **state)
{
	struct loop *loop = loop_new();
	struct attempt one, wrong, other;
	struct sock_address at = listens(&one, loop);
	int silent = stranger(&at), loud = stranger(&at);

	(void)state;
	assert_int_equal(write(loud, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	connects(&wrong, loop, &at, another);
	run(loop, 2000);
	assert_int_equal(wrong.done, 1);
	assert_null(wrong.chan);
	assert_int_equal(one.done, 0);
	connects(&other, loop, &at, key);
	for (int i = 0; i < 10 && (!one.done || !other.done); i++)
		run(loop, 300);
	assert_non_null(one.chan);
	assert_non_null(other.chan);
	chan_free(one.chan);
	chan_free(other.chan);
	close(silent);
	close(loud);
	loop_free(loop);
}

/* As many as there is room for, and more: it ends in its time, and nothing of it stays. */
static void a_crowd_costs_the_attempt_and_no_more(void **state)
{
	struct loop *loop = loop_new();
	int crowd[4 * DIRECT_CALLERS_MAX];
	struct attempt one, other;
	struct sock_address at = listens(&one, loop);
	int first = dup(0), after;

	(void)state;
	close(first);
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++) {
		crowd[i] = stranger(&at);
		run(loop, 5);
	}
	connects(&other, loop, &at, key);
	run(loop, 2000);
	assert_int_equal(other.done, 1);
	assert_null(other.chan);
	for (size_t i = 0; i < sizeof(crowd) / sizeof(crowd[0]); i++)
		close(crowd[i]);
	run(loop, 2 * DIRECT_PATIENCE_US / 1000);
	assert_int_equal(one.done, 1);
	assert_string_equal(one.why, "nobody answered");
	assert_false(is_open(&at));
	after = dup(0);
	close(after);
	assert_true(after <= first);
	loop_free(loop);
}

static void who_is_refused_is_told_so_at_once(void **state)
{
	struct loop *loop = loop_new();
	struct sock_address at = loopback(1);
	struct attempt one = {.loop = loop};

	(void)state;
	if (direct_connect(loop, &at, key, on_done, &one, &one.direct) == 0) {
		run(loop, 1000);
		assert_int_equal(one.done, 1);
		assert_non_null(strstr(one.why, "Connection refused"));
	}
	assert_null(one.chan);
	loop_free(loop);
}

static void an_attempt_can_be_given_up(void **state)
{
	struct loop *loop = loop_new();
	struct attempt one, other;
	struct sock_address at = listens(&one, loop);

	(void)state;
	connects(&other, loop, &at, key);
	direct_free(one.direct);
	direct_free(other.direct);
	run(loop, 100);
	assert_int_equal(one.done + other.done, 0);
	assert_false(is_open(&at));
	loop_free(loop);
}

static void an_address_of_somebody_else_is_none_to_listen_at(void **state)
{
	static const uint8_t addr[4] = {192, 0, 2, 1};
	struct loop *loop = loop_new();
	struct direct *direct = NULL;
	struct sock_address at;
	uint64_t inode;
	uint16_t port;

	(void)state;
	sock_address_ip(&at, 4, addr, 0, 22);
	assert_int_equal(direct_listen(loop, &at, key, on_done, NULL, &direct, &port, &inode), -EADDRNOTAVAIL);
	assert_null(direct);
	loop_free(loop);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_two_that_have_the_key_find_each_other),
	cmocka_unit_test(strangers_do_not_keep_the_right_one_out),
	cmocka_unit_test(a_crowd_costs_the_attempt_and_no_more),
	cmocka_unit_test(who_is_refused_is_told_so_at_once),
	cmocka_unit_test(an_attempt_can_be_given_up),
	cmocka_unit_test(an_address_of_somebody_else_is_none_to_listen_at),
};

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
