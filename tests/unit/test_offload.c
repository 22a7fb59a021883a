/* SPDX-License-Identifier: MIT */
/* Work on a thread: its result comes on the loop, and what is given up takes its memory with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"
#include "offload.h"

static atomic_int freed;

struct job {
	pthread_t ran_on;
	int wait_ms;
	int result;
};

static void run(void *job)
{
	struct job *j = job;

	j->ran_on = pthread_self();
	usleep((unsigned)j->wait_ms * 1000);
	j->result = 42;
}

static void done(void *ctx, void *job)
{
	struct job *j = job;

	assert_int_equal(j->result, 42);
	assert_false(pthread_equal(j->ran_on, pthread_self()));
	assert_int_equal(freed, 0);
	loop_stop(ctx);
}

static void release(void *job)
{
	free(job);
	freed++;
}

static void never(void *ctx, void *job)
{
	fail_msg("it was given up");
}

static struct job *new_job(int wait_ms)
{
	struct job *j = calloc(1, sizeof(*j));

	j->wait_ms = wait_ms;
	freed = 0;
	return j;
}

static void the_result_comes_on_the_loop(void **state)
{
	static const struct offload_work work = {"test", run, done, release};
	struct loop *loop = loop_new();

	assert_non_null(offload_start(loop, &work, new_job(5), loop));
	loop_run(loop);
	for (int i = 0; i < 1000 && !freed; i++)
		usleep(1000);
	assert_int_equal(freed, 1);
	loop_free(loop);
}

static void what_is_given_up_ends_by_itself(void **state)
{
	static const struct offload_work work = {"test", run, never, release};
	struct loop *loop = loop_new();
	struct offload *o = offload_start(loop, &work, new_job(20), NULL);

	assert_non_null(o);
	offload_cancel(o);
	offload_cancel(NULL);
	loop_free(loop);
	for (int i = 0; i < 1000 && !freed; i++)
		usleep(1000);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_result_comes_on_the_loop),
		cmocka_unit_test(what_is_given_up_ends_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
