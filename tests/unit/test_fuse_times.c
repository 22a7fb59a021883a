/* SPDX-License-Identifier: MIT */
/* The kernel's requests: counted by kind, told apart by whether they waited, timed while somebody asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/fuse.h>
#include <stdlib.h>

#include "fuse_times.h"
#include "loop.h"
#include "op_meter.h"

struct world {
	struct loop *loop;
	struct op_meter *meter;
	struct fuse_times *times;
};

static struct world world_new(void)
{
	struct world w = {.loop = loop_new()};

	w.meter = op_meter_new(w.loop);
	w.times = calloc(1, sizeof(*w.times));
	w.times->meter = w.meter;
	return w;
}

static void world_free(struct world *w)
{
	fuse_times_end(w->times);
	assert_int_equal(w->meter->waiting, 0);
	free(w->times);
	op_meter_free(w->meter);
	loop_free(w->loop);
}

static uint64_t timed(const struct world *w, enum op_kind kind)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += w->meter->counters.kinds[kind].times[i];
	return n;
}

static void an_answer_within_its_own_turn_was_given_at_once(void **state)
{
	struct world w = world_new();
	const struct op_counter *stat = &w.meter->counters.kinds[OP_STAT];

	op_meter_time(w.meter, 10);
	fuse_times_begin(w.times, 2, FUSE_GETATTR);
	fuse_times_answer(w.times, 2);
	fuse_times_handled(w.times);
	fuse_times_begin(w.times, 4, FUSE_GETATTR);
	fuse_times_handled(w.times);
	assert_int_equal(w.meter->waiting, 1);
	/* Answered in another one's turn. */
	fuse_times_begin(w.times, 6, FUSE_READ);
	fuse_times_answer(w.times, 4);
	fuse_times_handled(w.times);
	assert_int_equal(stat->count, 2);
	assert_int_equal(stat->at_once, 1);
	assert_int_equal(timed(&w, OP_STAT), 2);
	assert_int_equal(w.meter->counters.kinds[OP_READ].count, 1);
	assert_int_equal(timed(&w, OP_READ), 0);
	assert_int_equal(w.meter->waiting, 1);
	world_free(&w);
}

static void no_time_is_taken_while_nobody_asks(void **state)
{
	struct world w = world_new();

	fuse_times_begin(w.times, 2, FUSE_LOOKUP);
	fuse_times_handled(w.times);
	op_meter_time(w.meter, 10);
	fuse_times_answer(w.times, 2);
	assert_int_equal(w.meter->counters.kinds[OP_LOOKUP].count, 1);
	assert_int_equal(timed(&w, OP_LOOKUP), 0);
	world_free(&w);
}

static void on_look(void *ctx)
{
	loop_stop(ctx);
}

static void time_is_taken_no_longer_than_was_asked_for(void **state)
{
	struct world w = world_new();
	struct loop_timer *look = loop_timer_new(w.loop, on_look, w.loop);

	op_meter_time(w.meter, UINT32_MAX);
	assert_true(w.meter->timed);
	op_meter_time(w.meter, 0);
	loop_timer_set(look, 20000);
	loop_run(w.loop);
	assert_false(w.meter->timed);
	loop_timer_free(look);
	world_free(&w);
}

static void what_has_no_answer_does_not_wait(void **state)
{
	struct world w = world_new();

	fuse_times_begin(w.times, 2, FUSE_FORGET);
	fuse_times_handled(w.times);
	fuse_times_begin(w.times, 4, FUSE_BATCH_FORGET);
	fuse_times_handled(w.times);
	fuse_times_answer(w.times, 0); /* a notice */
	assert_int_equal(w.meter->waiting, 0);
	fuse_times_begin(w.times, 6, FUSE_INIT);
	fuse_times_handled(w.times);
	fuse_times_begin(w.times, 8, 4096);
	fuse_times_handled(w.times);
	assert_int_equal(w.meter->counters.kinds[OP_OTHER].count, 2);
	assert_int_equal(w.meter->waiting, 2);
	world_free(&w);
}

/* Thousands at once, as of a mount whose link is down: all are counted, and the place they take is what it was. */
static void more_than_are_remembered_are_counted_all_the_same(void **state)
{
	struct world w = world_new();

	op_meter_time(w.meter, 10);
	for (uint64_t i = 1; i <= 4 * FUSE_TIMES_SLOTS; i++) {
		fuse_times_begin(w.times, 2 * i, FUSE_OPEN);
		fuse_times_handled(w.times);
	}
	assert_int_equal(w.meter->waiting, 4 * FUSE_TIMES_SLOTS);
	for (uint64_t i = 1; i <= 4 * FUSE_TIMES_SLOTS; i++)
		fuse_times_answer(w.times, 2 * i);
	assert_int_equal(w.meter->waiting, 0);
	assert_int_equal(w.meter->counters.kinds[OP_OPEN].count, 4 * FUSE_TIMES_SLOTS);
	assert_int_equal(timed(&w, OP_OPEN), FUSE_TIMES_SLOTS);
	world_free(&w);
}

static void a_mount_without_a_meter_counts_nothing(void **state)
{
	struct fuse_times *times = calloc(1, sizeof(*times));

	fuse_times_begin(times, 2, FUSE_OPEN);
	fuse_times_answer(times, 2);
	fuse_times_handled(times);
	fuse_times_end(times);
	assert_int_equal(times->waiting, 0);
	free(times);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_within_its_own_turn_was_given_at_once),
		cmocka_unit_test(no_time_is_taken_while_nobody_asks),
		cmocka_unit_test(time_is_taken_no_longer_than_was_asked_for),
		cmocka_unit_test(what_has_no_answer_does_not_wait),
		cmocka_unit_test(more_than_are_remembered_are_counted_all_the_same),
		cmocka_unit_test(a_mount_without_a_meter_counts_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
