/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <poll.h>
#include <pthread.h>

#include <cmocka.h>

#include "handoff.h"

#define SENDERS 4
#define ITEMS   2000

struct job {
	struct handoff_item item;
	int sender, number;
};

static bool readable(const struct handoff *q, int wait_ms)
{
	struct pollfd p = {.fd = handoff_fd(q), .events = POLLIN};

	return poll(&p, 1, wait_ms) == 1;
}

static void items_come_out_in_order_and_the_descriptor_tells(void **state)
{
	struct handoff *q = handoff_new();
	struct job jobs[3];
	struct handoff_item *it;

	(void)state;
	assert_false(readable(q, 0));
	assert_null(handoff_take_all(q));
	for (int i = 0; i < 3; i++)
		assert_true(handoff_push(q, &jobs[i].item));
	assert_true(readable(q, 0));
	it = handoff_take_all(q);
	assert_false(readable(q, 0));
	for (int i = 0; i < 3; i++, it = it->next)
		assert_ptr_equal(it, &jobs[i].item);
	assert_null(it);
	handoff_free(q);
}

static void the_last_item_waited_for_makes_the_descriptor_quiet(void **state)
{
	struct handoff *q = handoff_new();
	struct job jobs[2];

	(void)state;
	handoff_push(q, &jobs[0].item);
	handoff_push(q, &jobs[1].item);
	assert_ptr_equal(handoff_wait(q), &jobs[0].item);
	assert_true(readable(q, 0));
	assert_ptr_equal(handoff_wait(q), &jobs[1].item);
	assert_false(readable(q, 0));
	handoff_free(q);
}

static void a_closed_queue_gives_what_is_left_and_takes_nothing(void **state)
{
	struct handoff *q = handoff_new();
	struct job jobs[2];

	(void)state;
	handoff_push(q, &jobs[0].item);
	handoff_close(q);
	assert_false(handoff_push(q, &jobs[1].item));
	assert_ptr_equal(handoff_wait(q), &jobs[0].item);
	assert_null(handoff_wait(q));
	handoff_free(q);
}

struct sender {
	struct handoff *q;
	struct job *jobs;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (int i = 0; i < ITEMS; i++)
		handoff_push(s->q, &s->jobs[i].item);
	return NULL;
}

static void no_item_of_many_senders_is_lost_or_slept_on(void **state)
{
	struct handoff *q = handoff_new();
	struct job *jobs = calloc(SENDERS * ITEMS, sizeof(*jobs));
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	int next[SENDERS] = {0};
	int got = 0;

	(void)state;
	for (int s = 0; s < SENDERS; s++) {
		senders[s] = (struct sender){q, jobs + s * ITEMS};
		for (int i = 0; i < ITEMS; i++)
			jobs[s * ITEMS + i] = (struct job){.sender = s, .number = i};
		assert_int_equal(pthread_create(&threads[s], NULL, send_all, &senders[s]), 0);
	}
	while (got < SENDERS * ITEMS) {
		struct handoff_item *it;

		assert_true(readable(q, 5000));
		for (it = handoff_take_all(q); it; it = it->next, got++) {
			struct job *job = (struct job *)it;

			assert_int_equal(job->number, next[job->sender]++);
		}
	}
	for (int s = 0; s < SENDERS; s++)
		pthread_join(threads[s], NULL);
	assert_false(readable(q, 0));
	free(jobs);
	handoff_free(q);
}

static void *wait_all(void *arg)
{
	struct handoff *q = arg;
	intptr_t n = 0;

	while (handoff_wait(q))
		n++;
	return (void *)n;
}

static void waiting_threads_share_the_items_and_end_at_close(void **state)
{
	struct handoff *q = handoff_new();
	struct job *jobs = calloc(ITEMS, sizeof(*jobs));
	pthread_t threads[SENDERS];
	intptr_t total = 0;

	(void)state;
	for (int t = 0; t < SENDERS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, wait_all, q), 0);
	for (int i = 0; i < ITEMS; i++)
		handoff_push(q, &jobs[i].item);
	handoff_close(q);
	for (int t = 0; t < SENDERS; t++) {
		void *n;

		pthread_join(threads[t], &n);
		total += (intptr_t)n;
	}
	assert_int_equal(total, ITEMS);
	free(jobs);
	handoff_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_come_out_in_order_and_the_descriptor_tells),
		cmocka_unit_test(the_last_item_waited_for_makes_the_descriptor_quiet),
		cmocka_unit_test(a_closed_queue_gives_what_is_left_and_takes_nothing),
		cmocka_unit_test(no_item_of_many_senders_is_lost_or_slept_on),
		cmocka_unit_test(waiting_threads_share_the_items_and_end_at_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
