/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "busy_poll.h"
#include "loop.h"

static struct loop *loop;
static struct loop_fd *watch;
static struct loop_hook *hooks[3];
static struct loop_timer *timer;
static char order[64];
static int calls;

static int setup(void **state)
{
	(void)state;
	loop = loop_new();
	order[0] = '\0';
	calls = 0;
	return loop ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* A context that is a letter. */
#define LETTER(c) ((void *)(intptr_t)(c))

static void note(void *ctx)
{
	char letter[] = {(char)(intptr_t)ctx, '\0'};

	strncat(order, letter, sizeof(order) - strlen(order) - 1);
}

static void stop(void *ctx)
{
	loop_stop(loop);
}

static void note_later(void *ctx)
{
	note(LETTER('d'));
	loop_defer(loop, note, LETTER('e'));
}

static void on_first_timer(void *ctx)
{
	note(LETTER('t'));
	loop_defer(loop, note_later, NULL);
	loop_stop(loop);
}

static uint64_t turns[4];

/* Of a descriptor that stays readable: in each turn, its hook's included. */
static void note_turn(void *ctx, int fd, unsigned what)
{
	turns[calls++] = loop_turn(loop);
	if (calls == 3)
		loop_stop(loop);
}

static void note_turn_at_its_end(void *ctx)
{
	if (calls == 1)
		turns[calls++] = loop_turn(loop);
}

static void turns_are_counted(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], "x", 1), 1);
	watch = loop_fd_new(loop, sv[0], LOOP_READ, note_turn, NULL);
	hooks[0] = loop_hook_new(loop, note_turn_at_its_end, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(turns[1], turns[0]);
	assert_int_equal(turns[2], turns[0] + 1);
	loop_hook_free(hooks[0]);
	loop_fd_free(watch);
	close(sv[0]);
	close(sv[1]);
}

static void a_turn_is_callbacks_then_hooks_then_what_was_deferred(void **state)
{
	(void)state;
	hooks[0] = loop_hook_new(loop, note, LETTER('1'));
	hooks[1] = loop_hook_new(loop, note, LETTER('2'));
	timer = loop_timer_new(loop, on_first_timer, NULL);
	loop_timer_set(timer, 1000);
	assert_true(loop_timer_is_set(timer));
	assert_int_equal(loop_run(loop), 0);
	assert_false(loop_timer_is_set(timer));
	/* The first two are for what was made before the first turn. */
	assert_string_equal(order, "12t12de");
	loop_hook_free(hooks[0]);
	loop_hook_free(hooks[1]);
	loop_timer_free(timer);
}

static void free_next_hook(void *ctx)
{
	note(LETTER('a'));
	loop_hook_free(hooks[1]);
	hooks[1] = NULL;
}

static void a_hook_may_free_the_next_one(void **state)
{
	(void)state;
	hooks[0] = loop_hook_new(loop, free_next_hook, NULL);
	hooks[1] = loop_hook_new(loop, note, LETTER('b'));
	hooks[2] = loop_hook_new(loop, note, LETTER('c'));
	timer = loop_timer_new(loop, stop, NULL);
	loop_timer_set(timer, 0);
	assert_int_equal(loop_run(loop), 0);
	assert_memory_equal(order, "ac", 2);
	assert_null(strchr(order, 'b'));
	loop_hook_free(hooks[0]);
	loop_hook_free(hooks[2]);
	loop_timer_free(timer);
}

static void on_fd(void *ctx, int fd, unsigned what)
{
	calls++;
	note(LETTER(what == LOOP_READ ? 'r' : 'w'));
	loop_fd_free(watch);
	watch = NULL;
	loop_stop(loop);
}

static void a_callback_may_free_its_watch_and_is_not_called_again(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], "x", 1), 1);
	watch = loop_fd_new(loop, sv[0], LOOP_READ | LOOP_WRITE, on_fd, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(calls, 1);
	close(sv[0]);
	close(sv[1]);
}

static void interest_can_be_taken_away(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], "x", 1), 1);
	watch = loop_fd_new(loop, sv[0], LOOP_READ, on_fd, NULL);
	assert_int_equal(loop_fd_set(watch, 0), 0);
	timer = loop_timer_new(loop, stop, NULL);
	loop_timer_set(timer, 10000);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(loop_fd_set(watch, LOOP_READ), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "r");
	loop_timer_free(timer);
	close(sv[0]);
	close(sv[1]);
}

static void a_stopped_timer_does_not_fire(void **state)
{
	struct loop_timer *other = loop_timer_new(loop, stop, NULL);
	uint64_t before = loop_now_us(loop);

	(void)state;
	timer = loop_timer_new(loop, note, LETTER('x'));
	loop_timer_set(timer, 1000);
	loop_timer_stop(timer);
	loop_timer_set(other, 20000);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "");
	assert_true(loop_now_us(loop) - before >= 19000);
	loop_timer_free(timer);
	loop_timer_free(other);
}

static void on_signal(void *ctx, int signo)
{
	calls = signo;
	loop_stop(loop);
}

static void a_signal_is_a_callback_like_others(void **state)
{
	struct loop_signal *sig = loop_signal_new(loop, SIGUSR1, on_signal, NULL);

	(void)state;
	assert_non_null(sig);
	kill(getpid(), SIGUSR1);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(calls, SIGUSR1);
	loop_signal_free(sig);
}

/* As many waits as it takes to have tried both ways, and to have taken each in turn. */
#define ANSWERS (2 * (BUSY_POLL_TRIAL + BUSY_POLL_CHOSEN))

static void *answer_each(void *arg)
{
	int fd = *(int *)arg;
	char byte;

	while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
		;
	return NULL;
}

static void on_answer(void *ctx, int fd, unsigned what)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal((uint8_t)byte, (uint8_t)calls);
	if (++calls == ANSWERS) {
		loop_stop(loop);
		return;
	}
	byte = (char)calls;
	assert_int_equal(write(fd, &byte, 1), 1);
}

/* Polling, and messages without end, keep no timer waiting. */
static void on_tick(void *ctx)
{
	(*(int *)ctx)++;
	loop_timer_set(timer, 1000);
}

static void polled_or_slept_every_message_and_timer_comes(void **state)
{
	int sv[2], ticks = 0;
	pthread_t other;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pthread_create(&other, NULL, answer_each, &sv[1]), 0);
	watch = loop_fd_new(loop, sv[0], LOOP_READ, on_answer, NULL);
	timer = loop_timer_new(loop, on_tick, &ticks);
	loop_timer_set(timer, 1000);
	assert_int_equal(write(sv[0], "", 1), 1);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(calls, ANSWERS);
	assert_true(ticks >= 5);
	loop_timer_free(timer);
	loop_fd_free(watch);
	close(sv[0]);
	pthread_join(other, NULL);
	close(sv[1]);
}

static void what_was_deferred_outside_of_a_turn_still_runs(void **state)
{
	(void)state;
	loop_defer(loop, note, LETTER('f'));
	loop_free(loop);
	loop = NULL;
	assert_string_equal(order, "f");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(turns_are_counted),
		TEST(a_turn_is_callbacks_then_hooks_then_what_was_deferred),
		TEST(a_hook_may_free_the_next_one),
		TEST(a_callback_may_free_its_watch_and_is_not_called_again),
		TEST(interest_can_be_taken_away),
		TEST(a_stopped_timer_does_not_fire),
		TEST(a_signal_is_a_callback_like_others),
		TEST(polled_or_slept_every_message_and_timer_comes),
		TEST(what_was_deferred_outside_of_a_turn_still_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
