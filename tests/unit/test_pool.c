/* SPDX-License-Identifier: MIT */
/* Threads that take turns reading: one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

#define THREADS 6u

enum kind { QUICK, HANGS, YIELDS, PUSHES };

struct script {
	struct pool *pool;
	const enum kind *jobs;
	unsigned count, given;
	sem_t go_on; /* what hangs waits for this */
	sem_t quick; /* one for each quick job done */
	sem_t end;   /* next() says NULL after this, where it waits */
	bool waits_at_end;
	atomic_uint running, reading, done;
	atomic_bool read_twice;
};

static const enum kind quick = QUICK;
static struct script *volatile not_freed;

static void *on_next(void *ctx)
{
	struct script *s = ctx;
	void *job = NULL;

	if (atomic_fetch_add(&s->reading, 1) != 0)
		s->read_twice = true;
	if (s->given < s->count)
		job = (void *)&s->jobs[s->given++];
	else if (s->waits_at_end)
		sem_wait(&s->end);
	atomic_fetch_sub(&s->reading, 1);
	return job;
}

static void on_run(void *ctx, void *job)
{
	struct script *s = ctx;

	switch (*(const enum kind *)job) {
	case YIELDS:
		pool_yield(s->pool);
		pool_yield(s->pool);
		/* fallthrough */
	case HANGS:
		sem_wait(&s->go_on);
		break;
	case PUSHES:
		pool_push(s->pool, (void *)&quick);
		break;
	case QUICK:
		break;
	}
	atomic_fetch_add(&s->done, 1);
	/* Only now: who waits for it looks at the count next. */
	if (*(const enum kind *)job == QUICK)
		sem_post(&s->quick);
}

static const struct pool_ops ops = {.next = on_next, .run = on_run};

static struct script *script_new(const enum kind *jobs, unsigned count, bool waits_at_end)
{
	struct script *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->jobs = jobs;
	s->count = count;
	s->waits_at_end = waits_at_end;
	sem_init(&s->go_on, 0, 0);
	sem_init(&s->quick, 0, 0);
	sem_init(&s->end, 0, 0);
	s->pool = pool_new(&ops, s, THREADS);
	assert_non_null(s->pool);
	return s;
}

static void script_free(struct script *s)
{
	assert_false(s->read_twice);
	pool_free(s->pool);
	sem_destroy(&s->go_on);
	sem_destroy(&s->quick);
	sem_destroy(&s->end);
	free(s);
}

static bool wait_for(sem_t *sem, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return sem_timedwait(sem, &until) == 0;
}

static void *run(void *arg)
{
	struct script *s = arg;

	return (void *)(intptr_t)pool_run(s->pool, 20000);
}

/* Runs it in a thread of its own, so that the test can watch. */
static pthread_t start(struct script *s)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, run, s), 0);
	return thread;
}

static void finish(struct script *s, pthread_t thread, unsigned done)
{
	void *r;

	sem_post(&s->end);
	pthread_join(thread, &r);
	assert_int_equal((intptr_t)r, 0);
	assert_int_equal(s->done, done);
	script_free(s);
}

static void every_job_is_done_once_and_the_pool_ends_with_its_input(void **state)
{
	static enum kind jobs[5000]; /* all quick */
	struct script *s = script_new(jobs, 5000, false);

	assert_int_equal(pool_run(s->pool, 20000), 0);
	assert_int_equal(s->done, 5000);
	script_free(s);
}

static void jobs_that_hang_do_not_keep_the_others_from_being_read(void **state)
{
	const enum kind jobs[] = {HANGS, QUICK, YIELDS, HANGS, QUICK, QUICK};
	struct script *s = script_new(jobs, 6, true);
	pthread_t thread = start(s);

	for (int i = 0; i < 3; i++)
		assert_true(wait_for(&s->quick, 10000));
	assert_int_equal(s->done, 3);
	for (int i = 0; i < 3; i++)
		sem_post(&s->go_on);
	finish(s, thread, 6);
}

static void with_every_thread_in_a_job_that_hangs_nothing_is_read_until_one_ends(void **state)
{
	const enum kind jobs[] = {HANGS, HANGS, HANGS, HANGS, HANGS, HANGS, QUICK};
	struct script *s = script_new(jobs, 7, true);
	pthread_t thread = start(s);

	assert_false(wait_for(&s->quick, 100));
	assert_int_equal(s->given, THREADS);
	sem_post(&s->go_on);
	assert_true(wait_for(&s->quick, 10000));
	for (int i = 0; i < 5; i++)
		sem_post(&s->go_on);
	finish(s, thread, 7);
}

static void a_job_put_aside_is_done_though_nothing_more_is_read(void **state)
{
	const enum kind jobs[] = {PUSHES, PUSHES};
	struct script *s = script_new(jobs, 2, true);
	pthread_t thread = start(s);

	for (int i = 0; i < 2; i++)
		assert_true(wait_for(&s->quick, 10000));
	finish(s, thread, 4);
}

static void jobs_put_aside_are_done_before_the_pool_ends(void **state)
{
	const enum kind jobs[] = {PUSHES, PUSHES, PUSHES};
	struct script *s = script_new(jobs, 3, false);

	assert_int_equal(pool_run(s->pool, 20000), 0);
	assert_int_equal(s->done, 6);
	script_free(s);
}

static void an_input_that_ends_while_a_call_hangs_is_not_waited_for_for_ever(void **state)
{
	static const enum kind jobs[] = {YIELDS};
	struct script *s = script_new(jobs, 1, false);

	assert_int_equal(pool_run(s->pool, 50), -EBUSY);
	sem_post(&s->go_on);
	while (s->done == 0)
		usleep(1000);
	/* Its thread may still be in the pool, so that it is never freed; the sanitizer is to find it here. */
	not_freed = s;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_is_done_once_and_the_pool_ends_with_its_input),
		cmocka_unit_test(jobs_that_hang_do_not_keep_the_others_from_being_read),
		cmocka_unit_test(with_every_thread_in_a_job_that_hangs_nothing_is_read_until_one_ends),
		cmocka_unit_test(a_job_put_aside_is_done_though_nothing_more_is_read),
		cmocka_unit_test(jobs_put_aside_are_done_before_the_pool_ends),
		cmocka_unit_test(an_input_that_ends_while_a_call_hangs_is_not_waited_for_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
