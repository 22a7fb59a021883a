/* SPDX-License-Identifier: MIT */
/* Which request may begin, and which waits: one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "sftp_order.h"

static const struct sftp_row alone = {.flags = ROW_NATIVE}, shared = {.flags = ROW_NATIVE | ROW_SHARED};

static struct sftp_order order;
static struct handle handle;
static struct sftp_job jobs[SFTP_THREADS_MAX + 8];

static int set_up(void **state)
{
	sftp_order_init(&order);
	handle = (struct handle){0};
	TAILQ_INIT(&handle.waiting);
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		jobs[i] = (struct sftp_job){.id = (uint32_t)i, .row = &alone};
	return 0;
}

static int tear_down(void **state)
{
	sftp_order_clear(&order);
	return 0;
}

static bool enter(unsigned i, const struct sftp_row *row, struct handle *h, uint32_t device)
{
	jobs[i].row = row;
	jobs[i].handle = h;
	jobs[i].device = device;
	return sftp_order_enter(&order, &jobs[i]);
}

/* The jobs that may run once this one has ended, as a number of decimal digits: 12 is job 1, then job 2. */
static unsigned leave(unsigned i)
{
	struct job_list ready = TAILQ_HEAD_INITIALIZER(ready);
	struct sftp_job *job;
	unsigned digits = 0;

	sftp_order_leave(&order, &jobs[i], &ready);
	TAILQ_FOREACH(job, &ready, link)
	digits = digits * 10 + job->id;
	return digits;
}

static void jobs_without_a_handle_run_at_once(void **state)
{
	for (unsigned i = 0; i < SFTP_THREADS_MAX; i++)
		assert_true(enter(i, &alone, NULL, 0));
}

static void jobs_on_one_handle_run_one_after_the_other_in_the_order_sent(void **state)
{
	assert_true(enter(1, &alone, &handle, 0));
	assert_false(enter(2, &alone, &handle, 0));
	assert_false(enter(3, &alone, &handle, 0));
	assert_true(enter(4, &alone, NULL, 0));
	assert_int_equal(leave(1), 2);
	assert_int_equal(leave(2), 3);
	assert_int_equal(leave(3), 0);
	assert_true(enter(5, &alone, &handle, 0));
}

static void reads_run_beside_each_other_and_do_not_overtake_a_write(void **state)
{
	assert_true(enter(1, &shared, &handle, 0));
	assert_true(enter(2, &shared, &handle, 0));
	assert_false(enter(3, &alone, &handle, 0));
	assert_false(enter(4, &shared, &handle, 0));
	assert_false(enter(5, &shared, &handle, 0));
	assert_int_equal(leave(2), 0);
	assert_int_equal(leave(1), 3);
	assert_int_equal(leave(3), 45);
}

static void another_device_takes_all_threads_but_two(void **state)
{
	const unsigned cap = SFTP_THREADS_MAX - 2;

	for (unsigned i = 0; i < cap; i++)
		assert_true(enter(i, &alone, NULL, 1));
	assert_false(enter(cap, &alone, NULL, 1));
	assert_false(enter(cap + 1, &alone, NULL, 1));
	assert_true(enter(cap + 2, &alone, NULL, 2));
	assert_true(enter(cap + 3, &alone, NULL, 0));
	assert_int_equal(leave(3), cap);
	assert_int_equal(leave(4), cap + 1);
	assert_int_equal(leave(5), 0);
}

static void a_job_may_wait_for_its_handle_and_then_for_its_device(void **state)
{
	const unsigned cap = SFTP_THREADS_MAX - 2;

	assert_true(enter(cap, &alone, &handle, 1));
	assert_false(enter(cap + 1, &alone, &handle, 1));
	for (unsigned i = 1; i < cap; i++)
		assert_true(enter(i, &alone, NULL, 1));
	assert_false(enter(cap + 2, &alone, NULL, 1));
	/* What waited for the device first goes first. */
	assert_int_equal(leave(cap), cap + 2);
	assert_int_equal(leave(2), cap + 1);
	assert_int_equal(leave(cap + 1), 0);
}

static void one_that_waits_can_be_cancelled_and_leaves_no_place_behind(void **state)
{
	assert_true(enter(1, &alone, &handle, 0));
	assert_false(enter(2, &alone, &handle, 0));
	assert_false(enter(3, &alone, &handle, 0));
	assert_null(sftp_order_cancel(&order, 1));
	assert_null(sftp_order_cancel(&order, 9));
	assert_ptr_equal(sftp_order_cancel(&order, 2), &jobs[2]);
	assert_true(jobs[2].cancelled);
	assert_null(sftp_order_cancel(&order, 2));
	assert_int_equal(leave(2), 0);
	assert_int_equal(leave(1), 3);
}

static void what_waits_is_counted_and_given_back(void **state)
{
	jobs[2].in.cap = 1000;
	assert_true(enter(1, &alone, &handle, 0));
	assert_false(enter(2, &alone, &handle, 0));
	assert_int_equal(order.waiting_bytes, 1000);
	leave(1);
	assert_int_equal(order.waiting_bytes, 0);
	for (unsigned i = 0; i < SFTP_REQUESTS_MAX; i++)
		sftp_order_count_in(&order);
	sftp_order_wait_for_room(&order);
	for (unsigned i = 0; i < SFTP_REQUESTS_MAX; i++)
		sftp_order_count_out(&order);
	assert_int_equal(order.under_way, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(jobs_without_a_handle_run_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(jobs_on_one_handle_run_one_after_the_other_in_the_order_sent, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(reads_run_beside_each_other_and_do_not_overtake_a_write, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_device_takes_all_threads_but_two, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_job_may_wait_for_its_handle_and_then_for_its_device, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_waits_can_be_cancelled_and_leaves_no_place_behind, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_waits_is_counted_and_given_back, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
