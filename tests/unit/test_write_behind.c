/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "write_behind.h"

/* The other end: chunks as they were sent, answered when the test says so, and the file they make. */
struct host {
	struct write_behind *w;
	struct write_chunk *sent[4096];
	uint8_t *bytes[4096]; /* what was sent */
	unsigned count, answered;
	int refuse;
	size_t total;
	uint8_t file[1 << 20];
};

static int owner_a, owner_b;

static int on_send(void *ctx, struct write_chunk *chunk)
{
	struct host *h = ctx;

	if (h->refuse)
		return h->refuse;
	h->bytes[h->count] = malloc(chunk->len);
	memcpy(h->bytes[h->count], chunk->data, chunk->len);
	h->sent[h->count++] = chunk;
	return 0;
}

static int setup(void **state)
{
	struct host *h = calloc(1, sizeof(*h));

	h->w = write_behind_new(&h->total, on_send, h);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct host *h = *state;

	write_behind_free(h->w);
	assert_int_equal(h->total, 0);
	for (unsigned i = 0; i < h->count; i++)
		free(h->bytes[i]);
	free(h);
	return 0;
}

static void answer(struct host *h, int error)
{
	struct write_chunk *c = h->sent[h->answered];

	if (!error && c->offset + c->len <= sizeof(h->file))
		memcpy(h->file + c->offset, h->bytes[h->answered], c->len);
	h->answered++;
	write_behind_done(h->w, c, error);
}

static void answer_all(struct host *h)
{
	while (h->answered < h->count)
		answer(h, 0);
}

static void add(struct host *h, int *owner, uint64_t offset, const void *data, size_t len)
{
	assert_int_equal(write_behind_add(h->w, owner, false, offset, data, len), 0);
}

static void on_called(void *ctx)
{
	++*(int *)ctx;
}

static void the_first_write_goes_at_once_and_small_ones_join_behind_it(void **state)
{
	struct host *h = *state;
	uint8_t data[4096];

	for (unsigned i = 0; i < 64; i++) {
		memset(data, (int)i, sizeof(data));
		add(h, &owner_a, i * sizeof(data), data, sizeof(data));
	}
	assert_int_equal(h->count, 1);
	assert_int_equal(h->total, 64 * 4096);
	answer_all(h);
	assert_int_equal(h->count, 2);
	assert_true(write_behind_idle(h->w));
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(h->file[i * 4096 + 17], i);
}

static void large_chunks_do_not_wait_for_answers(void **state)
{
	struct host *h = *state;
	uint8_t *data = calloc(1, WRITE_CHUNK_MAX);

	for (unsigned i = 0; i < 6; i++)
		add(h, &owner_a, (uint64_t)i * WRITE_CHUNK_MAX, data, WRITE_CHUNK_MAX);
	assert_int_equal(h->count, WRITE_WINDOW / WRITE_CHUNK_MAX);
	answer(h, 0);
	assert_int_equal(h->count, WRITE_WINDOW / WRITE_CHUNK_MAX + 1);
	answer_all(h);
	assert_int_equal(h->count, 6);
	free(data);
}

static void who_waits_is_called_when_what_was_written_before_is_answered(void **state)
{
	struct host *h = *state;
	struct write_waiter waiter = {0};
	int called = 0;

	assert_false(write_behind_wait(h->w, &waiter, on_called, &called));
	add(h, &owner_a, 0, "a", 1);
	add(h, &owner_a, 1, "b", 1);
	assert_int_equal(h->count, 1);
	assert_true(write_behind_wait(h->w, &waiter, on_called, &called));
	assert_int_equal(h->count, 2); /* waited for: it does not wait for company */
	add(h, &owner_a, 10, "c", 1);
	answer(h, 0);
	assert_int_equal(called, 0);
	answer(h, 0);
	assert_int_equal(called, 1);
	assert_false(write_behind_idle(h->w));
	answer_all(h);
	assert_int_equal(called, 1);
}

static void who_has_left_is_not_called(void **state)
{
	struct host *h = *state;
	struct write_waiter waiter = {0};
	int called = 0;

	add(h, &owner_a, 0, "a", 1);
	write_behind_wait(h->w, &waiter, on_called, &called);
	write_behind_leave(&waiter);
	write_behind_leave(&waiter);
	answer_all(h);
	assert_int_equal(called, 0);
	assert_true(write_behind_idle(h->w));
}

static void room_is_waited_for_and_no_longer(void **state)
{
	struct host *h = *state;
	struct write_waiter waiter = {0};
	int called = 0;

	for (unsigned i = 0; i < 4; i++)
		add(h, &owner_a, i * 1000000, "0123456789", 10);
	assert_false(write_behind_wait_room(h->w, 40, &waiter, on_called, &called));
	assert_true(write_behind_wait_room(h->w, 25, &waiter, on_called, &called));
	answer(h, 0);
	assert_int_equal(called, 0);
	answer(h, 0);
	assert_int_equal(called, 1);
	answer_all(h);
}

static void an_overlapping_write_through_another_handle_waits(void **state)
{
	struct host *h = *state;

	add(h, &owner_a, 0, "aaaa", 4);
	add(h, &owner_b, 2, "bbbb", 4);
	add(h, &owner_b, 100, "cccc", 4);
	add(h, &owner_b, 200, "cccc", 4);
	assert_int_equal(h->count, 1); /* nothing overtakes what waits, either */
	answer_all(h);
	assert_memory_equal(h->file, "aabbbb", 6);
}

static void the_file_is_what_the_writes_make_in_their_order(void **state)
{
	struct host *h = *state;
	static uint8_t want[1 << 16];

	srandom(11);
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t data[600];
		size_t len = 1 + (size_t)random() % sizeof(data), at = (size_t)random() % (sizeof(want) - len);

		memset(data, (int)random(), len);
		add(h, random() % 2 ? &owner_a : &owner_b, at, data, len);
		memcpy(want + at, data, len);
		while (random() % 3 == 0 && h->answered < h->count)
			answer(h, 0);
	}
	answer_all(h);
	assert_memory_equal(h->file, want, sizeof(want));
}

static void appends_join_and_keep_their_order(void **state)
{
	struct host *h = *state;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(write_behind_add(h->w, &owner_a, true, 12345, "xy", 2), 0);
	answer(h, 0);
	assert_int_equal(h->count, 2);
	assert_int_equal(h->sent[1]->len, 8);
	assert_true(h->sent[1]->append);
	answer_all(h);
}

static void an_error_is_told_once_to_each_that_was_there(void **state)
{
	struct host *h = *state;
	uint64_t a = WRITE_ERRORS_NONE, b = WRITE_ERRORS_NONE, later;

	add(h, &owner_a, 0, "a", 1);
	answer(h, ENOSPC);
	later = h->w->errors;
	assert_int_equal(write_behind_take_error(h->w, &a), ENOSPC);
	assert_int_equal(write_behind_take_error(h->w, &a), 0);
	assert_int_equal(write_behind_take_error(h->w, &later), 0);
	add(h, &owner_a, 0, "a", 1);
	answer(h, EDQUOT);
	assert_int_equal(write_behind_take_error(h->w, &a), EDQUOT);
	assert_int_equal(write_behind_take_error(h->w, &b), EDQUOT);
	assert_int_equal(write_behind_take_error(h->w, &b), 0);
}

static void what_can_not_be_sent_fails_and_lets_go_of_who_waits(void **state)
{
	struct host *h = *state;
	struct write_waiter waiter = {0};
	uint64_t seen = WRITE_ERRORS_NONE;
	int called = 0;

	add(h, &owner_a, 0, "a", 1);
	add(h, &owner_a, 1, "b", 1);
	h->refuse = EIO;
	assert_true(write_behind_wait(h->w, &waiter, on_called, &called));
	answer(h, 0);
	assert_int_equal(called, 1);
	assert_int_equal(write_behind_take_error(h->w, &seen), EIO);
	assert_true(write_behind_idle(h->w));
}

static void with_the_pipe_all_of_it_ends(void **state)
{
	struct host *h = *state;
	struct write_waiter waiter = {0};
	uint64_t seen = WRITE_ERRORS_NONE;
	int called = 0;

	add(h, &owner_a, 0, "a", 1);
	add(h, &owner_b, 0, "b", 1);
	write_behind_wait(h->w, &waiter, on_called, &called);
	h->refuse = EIO;
	write_behind_fail(h->w, EIO);
	assert_int_equal(called, 0);
	answer(h, EIO);
	assert_int_equal(called, 1);
	assert_int_equal(write_behind_take_error(h->w, &seen), EIO);
	assert_true(write_behind_idle(h->w));
}

static void a_request_may_follow_the_writes_of_one_handle(void **state)
{
	struct host *h = *state;

	assert_null(write_behind_push(h->w));
	add(h, &owner_a, 0, "a", 1);
	add(h, &owner_a, 1, "b", 1);
	assert_int_equal(h->count, 1);
	assert_ptr_equal(write_behind_push(h->w), &owner_a);
	assert_int_equal(h->count, 2);
	add(h, &owner_b, 50, "c", 1);
	assert_null(write_behind_push(h->w));
	answer_all(h);
	assert_null(write_behind_push(h->w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_write_goes_at_once_and_small_ones_join_behind_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(large_chunks_do_not_wait_for_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(who_waits_is_called_when_what_was_written_before_is_answered, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_has_left_is_not_called, setup, teardown),
		cmocka_unit_test_setup_teardown(room_is_waited_for_and_no_longer, setup, teardown),
		cmocka_unit_test_setup_teardown(an_overlapping_write_through_another_handle_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(the_file_is_what_the_writes_make_in_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(appends_join_and_keep_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(an_error_is_told_once_to_each_that_was_there, setup, teardown),
		cmocka_unit_test_setup_teardown(what_can_not_be_sent_fails_and_lets_go_of_who_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(with_the_pipe_all_of_it_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_may_follow_the_writes_of_one_handle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
