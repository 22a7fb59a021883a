/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "recall.h"

/* As if the process that had it were dead: another maps what it left. */
static struct recall *next_of(struct recall *r)
{
	int fd = dup(recall_fd(r));

	recall_free(r);
	return recall_take(fd);
}

static void the_next_agent_finds_what_was_agreed_on(void **state)
{
	struct recall *r = recall_new();

	(void)state;
	assert_non_null(r);
	recall_set_init_request(r, "INIT", 4);
	recall_set_init_answer(r, 38, 1 << 20, 3, 5);
	assert_int_equal(recall_incarnation(r), 0);
	r = next_of(r);
	assert_int_equal(recall_incarnation(r), 1);
	assert_int_equal(recall_init(r)->request_len, 4);
	assert_memory_equal(recall_init(r)->request, "INIT", 4);
	assert_int_equal(recall_init(r)->flags, 3);
	assert_int_equal(recall_init(r)->flags2, 5);
	assert_int_equal(recall_init(r)->minor, 38);
	r = next_of(r);
	assert_int_equal(recall_incarnation(r), 2);
	recall_free(r);
}

static void requests_without_an_answer_are_found_and_no_others(void **state)
{
	struct recall *r = recall_new();
	const struct recall_request *q;
	uint8_t long_one[1000] = {7};
	unsigned at = 0;

	(void)state;
	recall_began(r, 2, "two", 3);
	recall_began(r, 4, "four", 4);
	recall_began(r, 6, long_one, sizeof(long_one));
	recall_asked(r, 6);
	recall_answered(r, 2);
	r = next_of(r);
	assert_null(recall_request(r, 2));
	assert_false(recall_request(r, 4)->asked);
	assert_int_equal(recall_request(r, 4)->len, 4);
	assert_memory_equal(recall_request(r, 4)->bytes, "four", 4);
	assert_true(recall_request(r, 6)->asked);
	assert_int_equal(recall_request(r, 6)->len, sizeof(long_one));
	/* It comes once more, and what was known of it is not forgotten. */
	recall_began(r, 6, long_one, sizeof(long_one));
	assert_true(recall_request(r, 6)->asked);
	q = recall_request_next(r, &at);
	assert_int_equal(q->unique, 4);
	q = recall_request_next(r, &at);
	assert_int_equal(q->unique, 6);
	assert_null(recall_request_next(r, &at));
	recall_free(r);
}

static void what_is_read_is_known_before_it_was_looked_at(void **state)
{
	struct recall *r = recall_new();
	const uint8_t none[RECALL_REQUEST_MAX] = {0};

	(void)state;
	assert_null(recall_arrival(NULL));
	memcpy(recall_arrival(r), "GETATTR", 8);
	r = next_of(r);
	assert_string_equal(recall_arrival_left(r), "GETATTR");
	recall_began(r, 2, "GETATTR", 8);
	assert_memory_equal(recall_arrival_left(r), none, 40);
	memcpy(recall_arrival(r), "FORGET", 7);
	recall_arrived(r);
	assert_memory_equal(recall_arrival_left(r), none, 40);
	recall_free(r);
}

static void more_requests_than_there_is_room_for_do_no_harm(void **state)
{
	struct recall *r = recall_new();
	unsigned count = 0, at = 0;

	(void)state;
	for (uint64_t i = 1; i <= 5000; i++)
		recall_began(r, 2 * i, "x", 1);
	while (recall_request_next(r, &at))
		count++;
	assert_true(count > 900 && count <= 1024);
	r = next_of(r);
	assert_true(recall_misses_requests(r));
	for (uint64_t i = 1; i <= 5000; i++)
		recall_answered(r, 2 * i);
	at = 0;
	assert_null(recall_request_next(r, &at));
	assert_false(recall_misses_requests(r));
	recall_free(r);
}

static void open_files_and_writes_that_may_be_lost_are_found(void **state)
{
	struct recall *r = recall_new();
	const struct recall_open *o;
	unsigned slot, again;

	(void)state;
	recall_opened(r, 0x7f0000001010, 5, 3);
	recall_opened(r, 0x7f0000001020, 5, 1);
	recall_closed(r, 0x7f0000001020);
	recall_set_dirty(r, 5, true);
	recall_set_dirty(r, 5, true);
	recall_set_dirty(r, 6, true);
	recall_set_dirty(r, 6, false);
	r = next_of(r);
	o = recall_open(r, 0x7f0000001010, &slot);
	assert_non_null(o);
	assert_int_equal(o->node, 5);
	assert_int_equal(o->flags, 3);
	assert_true(slot < RECALL_OPENS);
	assert_null(recall_open(r, 0x7f0000001020, &again));
	assert_null(recall_open(r, 0, &again));
	assert_true(recall_is_dirty(r, 5) && !recall_is_dirty(r, 6));
	recall_set_dirty(r, 5, false);
	assert_false(recall_is_dirty(r, 5));
	/* Too many to be told apart: each may be one. */
	for (uint64_t node = 1; node <= 5000; node++)
		recall_set_dirty(r, node, true);
	for (uint64_t node = 1; node <= 5000; node++)
		assert_true(recall_is_dirty(r, node));
	recall_free(r);
}

struct seen {
	unsigned names, gone;
	uint64_t last;
	char name[64];
};

static void see(void *ctx, const struct recall_name *name, bool gone)
{
	struct seen *s = ctx;

	s->names += !gone;
	s->gone += gone;
	s->last = name->id;
	snprintf(s->name, sizeof(s->name), "%s", name->name);
}

static void name_it(struct recall *r, uint64_t id, const char *name, bool renamed)
{
	recall_name(r, &(struct recall_name){.id = id, .parent = 1, .share = 1, .ino = 9, .btime = -5, .name = name},
		    renamed);
}

static void names_are_told_in_their_order(void **state)
{
	struct recall *r = recall_new();
	struct seen s = {0};

	(void)state;
	name_it(r, 5, "five", false);
	name_it(r, 6, "", false);
	recall_name_gone(r, 5);
	name_it(r, 7, "seven-of-them", false);
	r = next_of(r);
	recall_each_name(r, see, &s);
	assert_int_equal(s.names, 3);
	assert_int_equal(s.gone, 1);
	assert_int_equal(s.last, 7);
	assert_string_equal(s.name, "seven-of-them");
	recall_free(r);
}

static void a_log_that_is_mostly_old_is_written_anew(void **state)
{
	struct recall *r = recall_new();
	struct seen s = {0};
	struct stat st;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; !recall_is_long(r); i++) {
			assert_true(i < 100000);
			name_it(r, 5, i % 2 ? "odd" : "even", i > 0 || round > 0);
		}
		recall_rewrite_begin(r);
		name_it(r, 5, "anew", false);
		recall_rewrite_end(r);
	}
	recall_each_name(r, see, &s);
	assert_int_equal(s.names, 1);
	assert_string_equal(s.name, "anew");
	/* What is old was given back. */
	assert_return_code(fstat(recall_fd(r), &st), errno);
	assert_true(st.st_blocks * 512 < 2 * 1024 * 1024);
	recall_free(r);
}

static void one_that_dies_while_it_writes_it_anew_leaves_the_old_one(void **state)
{
	struct recall *r = recall_new();
	struct seen s = {0};

	(void)state;
	name_it(r, 5, "five", false);
	recall_rewrite_begin(r);
	name_it(r, 6, "six", false);
	r = next_of(r);
	recall_each_name(r, see, &s);
	assert_int_equal(s.names, 1);
	assert_string_equal(s.name, "five");
	recall_free(r);
}

static int refused(const void *bytes, size_t at, size_t len, off_t size)
{
	struct recall *r = recall_new();
	int fd = dup(recall_fd(r));

	recall_free(r);
	assert_int_equal(pwrite(fd, bytes, len, (off_t)at), len);
	if (size >= 0)
		assert_return_code(ftruncate(fd, size), errno);
	r = recall_take(fd);
	assert_null(r);
	return errno;
}

static void what_is_not_known_here_is_refused(void **state)
{
	const uint32_t version = 99, often = 0x7fff;

	(void)state;
	assert_int_equal(refused("something", 0, 8, -1), EINVAL);
	assert_int_equal(refused(&version, 8, 4, -1), EPROTO);
	assert_int_equal(refused(&often, 12, 4, -1), EOVERFLOW);
	assert_int_equal(refused("", 0, 0, 0), EINVAL);
	assert_int_equal(refused("", 0, 0, 100), EINVAL);
	assert_int_equal(refused("", 0, 0, 5000), EINVAL);
}

static void a_damaged_log_ends_where_it_is_damaged(void **state)
{
	struct recall *r = recall_new();
	const uint32_t long_record = 0x7fffffff;
	struct seen s = {0};
	struct stat st;

	(void)state;
	assert_return_code(fstat(recall_fd(r), &st), errno);
	name_it(r, 5, "five", false);
	assert_int_equal(pwrite(recall_fd(r), &long_record, 4, st.st_size), 4);
	recall_each_name(r, see, &s);
	assert_int_equal(s.names, 0);
	recall_free(r);
}

static void without_one_nothing_is_done(void **state)
{
	unsigned at = 0;

	(void)state;
	recall_began(NULL, 2, "x", 1);
	recall_asked(NULL, 2);
	recall_answered(NULL, 2);
	recall_name_gone(NULL, 2);
	assert_null(recall_request(NULL, 2));
	assert_null(recall_request_next(NULL, &at));
	assert_int_equal(recall_incarnation(NULL), 0);
	assert_false(recall_is_long(NULL));
	recall_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_agent_finds_what_was_agreed_on),
		cmocka_unit_test(requests_without_an_answer_are_found_and_no_others),
		cmocka_unit_test(what_is_read_is_known_before_it_was_looked_at),
		cmocka_unit_test(more_requests_than_there_is_room_for_do_no_harm),
		cmocka_unit_test(open_files_and_writes_that_may_be_lost_are_found),
		cmocka_unit_test(names_are_told_in_their_order),
		cmocka_unit_test(a_log_that_is_mostly_old_is_written_anew),
		cmocka_unit_test(one_that_dies_while_it_writes_it_anew_leaves_the_old_one),
		cmocka_unit_test(what_is_not_known_here_is_refused),
		cmocka_unit_test(a_damaged_log_ends_where_it_is_damaged),
		cmocka_unit_test(without_one_nothing_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
