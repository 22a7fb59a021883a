/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dir_listing.h"
#include "graft.h"

#define DIR       0040755u
#define FILE_MODE 0100644u

/* Lookups the server has counted and not got back. */
static int64_t owed;

static void on_forget(void *ctx, uint16_t share, uint64_t server, uint64_t given)
{
	(void)ctx;
	(void)share;
	(void)server;
	owed -= (int64_t)given;
}

struct world {
	struct node_table *nodes;
	struct node *root;
	struct listing_memory memory;
};

static struct world *world_new(void)
{
	static struct world w;

	owed = 0;
	w.nodes = node_table_new(on_forget, NULL);
	w.root = node_add_root(w.nodes, 0, NULL, NULL);
	node_bind(w.nodes, w.root, NATIVE_ROOT);
	listing_memory_init(&w.memory, w.nodes);
	return &w;
}

static void world_free(struct world *w)
{
	listing_memory_clear(&w->memory);
	assert_int_equal(node_table_count(w->nodes), 1);
	assert_int_equal(owed, 0);
	node_table_free(w->nodes);
}

static void put_entry(struct wire_buf *b, const char *name, uint64_t cookie, uint64_t server)
{
	struct sftp_entry e = {.cookie = cookie,
			       .ino = 100 + cookie,
			       .name = (const uint8_t *)name,
			       .name_len = strlen(name),
			       .flags = server ? NATIVE_ENTRY_NODE : 0,
			       .node = server,
			       .attr = {.ino = 100 + cookie, .mode = FILE_MODE}};

	owed += server != 0;
	sftp_entry_put(b, &e);
}

/* A listing of ".", "a", "b" (server numbers 10, 11) of the root, asked for at stamp 5 and come at 1000 us. */
static struct listing *listing_ab(struct world *w, bool end)
{
	struct listing_told told = {
		.count = 3, .generation = 1, .stamp = 5, .now_us = 1000, .begins = true, .end = end, .plus = true};
	struct wire_buf b = {0};
	struct listing *l = NULL;

	put_entry(&b, ".", 1, 0);
	put_entry(&b, "a", 2, 10);
	put_entry(&b, "b", 3, 11);
	assert_int_equal(listing_new(w->nodes, w->root, &told, wire_reader(b.data, b.len), &l), 0);
	wire_buf_free(&b);
	return l;
}

static enum listing_answer look(struct world *w, const char *name, uint64_t now_us)
{
	struct listing *l;
	uint32_t index;

	return listing_memory_look_up(&w->memory, w->root, name, now_us, &l, &index);
}

static void what_is_listed_is_found_and_what_is_not_is_absent(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, true);
	uint32_t index;

	(void)state;
	assert_int_equal(look(w, "a", 1000), LISTING_UNKNOWN);
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_int_equal(look(w, "a", 1000), LISTING_FOUND);
	assert_int_equal(look(w, "aa", 1000), LISTING_ABSENT);
	assert_int_equal(look(w, "", 1000), LISTING_ABSENT);
	assert_true(listing_find(l, "b", 1, &index));
	assert_int_equal(index, 2);
	assert_int_equal(listing_entry(l, index).cookie, 3);
	assert_ptr_equal(l->slots[index].node, node_by_server(w->nodes, 0, 11));
	listing_unref(w->nodes, l);
	world_free(w);
}

static void a_part_of_a_directory_says_nothing_of_the_rest(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, false);

	(void)state;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_int_equal(look(w, "a", 1000), LISTING_FOUND);
	assert_int_equal(look(w, "c", 1000), LISTING_UNKNOWN);
	listing_unref(w->nodes, l);
	world_free(w);
}

static void a_directory_that_folds_names_has_no_absent_ones(void **state)
{
	struct world *w = world_new();
	struct listing_told told = {.generation = 1, .stamp = 5, .begins = true, .end = true, .folds = true};
	struct listing *l;

	(void)state;
	assert_int_equal(listing_new(w->nodes, w->root, &told, wire_reader("", 0), &l), 0);
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_int_equal(look(w, "A", 0), LISTING_UNKNOWN);
	listing_unref(w->nodes, l);
	world_free(w);
}

static void a_listing_is_forgotten_in_time_with_the_nodes_only_it_held(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, true);
	uint64_t next;

	(void)state;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	listing_unref(w->nodes, l);
	assert_int_equal(look(w, "a", 1000 + LISTING_KEEP_US - 1), LISTING_FOUND);
	assert_int_equal(look(w, "a", 1000 + LISTING_KEEP_US), LISTING_UNKNOWN);
	assert_int_equal(listing_memory_expire(&w->memory, 1000, &next), 0);
	assert_int_equal(next, 1000 + LISTING_KEEP_US);
	assert_int_equal(node_table_count(w->nodes), 3);
	node_told(node_by_server(w->nodes, 0, 10)); /* the kernel knows one of them */
	listing_memory_expire(&w->memory, next, &next);
	assert_int_equal(next, 0);
	assert_int_equal(node_table_count(w->nodes), 2);
	assert_int_equal(owed, 1);
	node_forget(w->nodes, node_by_server(w->nodes, 0, 10), 1);
	world_free(w);
}

static void a_name_we_change_is_doubted_until_the_next_listing(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, true);

	(void)state;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_true(listing_is_sound(l));
	for (int i = 0; i < 2; i++) {
		listing_memory_doubt(&w->memory, w->root, "a");
		listing_memory_doubt(&w->memory, w->root, "new");
	}
	assert_int_equal(look(w, "a", 1000), LISTING_UNKNOWN);
	assert_int_equal(look(w, "new", 1000), LISTING_UNKNOWN);
	assert_int_equal(look(w, "b", 1000), LISTING_FOUND);
	assert_int_equal(look(w, "c", 1000), LISTING_ABSENT);
	assert_false(listing_is_sound(l));
	assert_int_equal(l->count, 3);
	listing_unref(w->nodes, l);
	world_free(w);
}

static void too_many_doubts_end_a_listing(void **state)
{
	struct world *w = world_new();
	struct listing_told told = {.generation = 1, .stamp = 5, .begins = true, .end = true};
	struct listing *l = listing_new_empty(&told);
	char name[16];

	(void)state;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	listing_unref(w->nodes, l);
	for (unsigned i = 0; i < LISTING_DOUBTS_MAX; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		listing_memory_doubt(&w->memory, w->root, name);
	}
	assert_int_equal(look(w, "f0", 0), LISTING_UNKNOWN);
	assert_int_equal(look(w, "f8191", 0), LISTING_UNKNOWN);
	assert_int_equal(look(w, "g", 0), LISTING_ABSENT);
	listing_memory_doubt(&w->memory, w->root, "one too many");
	assert_int_equal(look(w, "g", 0), LISTING_UNKNOWN);
	world_free(w);
}

static void a_listing_that_a_change_of_ours_overtook_is_not_remembered(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, true);

	(void)state;
	w->root->changed = 5;
	assert_false(listing_memory_put(&w->memory, w->root, l));
	assert_null(node_listing(w->root));
	w->root->changed = 4;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	listing_unref(w->nodes, l);
	world_free(w);
}

static void malformed_entries_are_refused_and_nothing_is_taken(void **state)
{
	struct listing_told told = {.count = 1, .generation = 1};
	static const char *const bad[] = {"", "a/b", "..."};
	struct world *w = world_new();
	struct listing *l = NULL;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct wire_buf b = {0};

		put_entry(&b, bad[i], 1, 10);
		owed--;
		/* The last of them is a name, with a byte behind it. */
		if (i == 2)
			wire_put_u8(&b, 0);
		assert_int_equal(listing_new(w->nodes, w->root, &told, wire_reader(b.data, b.len), &l), -71);
		assert_int_equal(listing_new(w->nodes, w->root, &told, wire_reader(b.data, b.len / 2), &l), -71);
		wire_buf_free(&b);
	}
	assert_null(l);
	assert_int_equal(node_table_count(w->nodes), 1);
	world_free(w);
}

static void names_of_nested_shares_are_hidden_and_their_lookups_given_back(void **state)
{
	static const char *const points[] = {"", "a"};
	struct graft *grafts = graft_new(points, 2);
	struct world *w = world_new();
	struct listing *l;
	uint32_t index;

	(void)state;
	assert_true(node_set_graft(w->root, grafts));
	l = listing_ab(w, true);
	assert_true(listing_find(l, "a", 1, &index));
	assert_true(l->slots[index].hidden);
	assert_null(l->slots[index].node);
	assert_int_equal(owed, 1);
	listing_unref(w->nodes, l);
	world_free(w);
	graft_free(grafts);
}

static void the_oldest_go_when_there_are_too_many(void **state)
{
	enum { DIRS = 40, NAMES = 1000 };
	struct world *w = world_new();
	struct node *dirs[DIRS];
	char name[16];

	(void)state;
	for (unsigned d = 0; d < DIRS; d++) {
		struct sftp_attr attr = {.ino = 10 + d, .mode = DIR};
		struct listing_told told = {.count = NAMES, .generation = 1, .stamp = 5, .begins = true, .end = true};
		struct wire_buf b = {0};
		struct listing *l;

		snprintf(name, sizeof(name), "d%u", d);
		owed++;
		dirs[d] = node_found(w->nodes, w->root, name, strlen(name), 10 + d, &attr);
		for (unsigned i = 0; i < NAMES; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			put_entry(&b, name, i + 1, 0);
		}
		assert_int_equal(listing_new(w->nodes, dirs[d], &told, wire_reader(b.data, b.len), &l), 0);
		assert_true(listing_memory_put(&w->memory, dirs[d], l));
		listing_unref(w->nodes, l);
		wire_buf_free(&b);
		assert_true(w->memory.entries <= LISTING_ENTRIES_MAX);
	}
	assert_null(node_listing(dirs[0]));
	assert_non_null(node_listing(dirs[DIRS - 1]));
	for (unsigned d = 0; d < DIRS; d++)
		node_unref(w->nodes, dirs[d]);
	world_free(w);
}

static void what_was_asked_for_ahead_is_counted_until_it_is_used(void **state)
{
	struct world *w = world_new();
	struct listing *l = listing_ab(w, true);
	uint64_t next;

	(void)state;
	l->ahead = true;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_int_equal(w->memory.ahead, 1);
	assert_true(listing_memory_use(&w->memory, l));
	assert_false(listing_memory_use(&w->memory, l));
	assert_int_equal(w->memory.ahead, 0);
	assert_int_equal(listing_memory_expire(&w->memory, 10 * LISTING_KEEP_US, &next), 0);
	listing_unref(w->nodes, l);
	l = listing_ab(w, true);
	l->ahead = true;
	assert_true(listing_memory_put(&w->memory, w->root, l));
	assert_int_equal(listing_memory_expire(&w->memory, 10 * LISTING_KEEP_US, &next), 1);
	assert_int_equal(w->memory.ahead, 0);
	listing_unref(w->nodes, l);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_listed_is_found_and_what_is_not_is_absent),
		cmocka_unit_test(a_part_of_a_directory_says_nothing_of_the_rest),
		cmocka_unit_test(a_directory_that_folds_names_has_no_absent_ones),
		cmocka_unit_test(a_listing_is_forgotten_in_time_with_the_nodes_only_it_held),
		cmocka_unit_test(a_name_we_change_is_doubted_until_the_next_listing),
		cmocka_unit_test(too_many_doubts_end_a_listing),
		cmocka_unit_test(a_listing_that_a_change_of_ours_overtook_is_not_remembered),
		cmocka_unit_test(malformed_entries_are_refused_and_nothing_is_taken),
		cmocka_unit_test(names_of_nested_shares_are_hidden_and_their_lookups_given_back),
		cmocka_unit_test(the_oldest_go_when_there_are_too_many),
		cmocka_unit_test(what_was_asked_for_ahead_is_counted_until_it_is_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
