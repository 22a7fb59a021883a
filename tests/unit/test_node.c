/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node.h"

#define DIR       0040755u
#define FILE_MODE 0100644u

/* What was given back to the server. */
static struct {
	uint64_t server, given;
	unsigned calls;
} forgotten;

static void on_forget(void *ctx, uint16_t share, uint64_t server, uint64_t given)
{
	(void)ctx;
	(void)share;
	forgotten.server = server;
	forgotten.given = given;
	forgotten.calls++;
}

static struct node_table *table(struct node **root)
{
	struct node_table *t = node_table_new(on_forget, NULL);

	memset(&forgotten, 0, sizeof(forgotten));
	*root = node_add_root(t, 0, NULL, NULL);
	node_bind(t, *root, NATIVE_ROOT);
	return t;
}

static struct sftp_attr attr_of(uint64_t ino, uint32_t mode, int64_t sec)
{
	return (struct sftp_attr){.ino = ino,
				  .mode = mode,
				  .size = 10,
				  .flags = SFTP_ATTR_BTIME,
				  .btime = {100, 5},
				  .mtime = {sec, 0},
				  .ctime = {sec, 0}};
}

static struct node *found(struct node_table *t, struct node *parent, const char *name, uint64_t server, uint64_t ino,
			  uint32_t mode)
{
	struct sftp_attr attr = attr_of(ino, mode, 1000);

	return node_found(t, parent, name, strlen(name), server, &attr);
}

static void a_node_lives_while_the_kernel_or_somebody_here_holds_it(void **state)
{
	struct node *root, *n;
	struct node_table *t = table(&root);
	uint64_t id;

	(void)state;
	assert_int_equal(root->id, 1);
	n = found(t, root, "a", 7, 70, FILE_MODE);
	id = n->id;
	node_told(n);
	node_unref(t, n);
	assert_ptr_equal(node_by_id(t, id), n);
	assert_ptr_equal(node_by_server(t, 0, 7), n);
	assert_ptr_equal(node_by_name(t, root, "a", 1), n);
	node_forget(t, n, 1);
	assert_null(node_by_id(t, id));
	assert_int_equal(forgotten.server, 7);
	assert_int_equal(forgotten.given, 1);
	n = found(t, root, "a", 8, 70, FILE_MODE);
	assert_true(n->id > id); /* never used again */
	node_unref(t, n);
	assert_int_equal(node_table_count(t), 1);
	node_table_free(t);
}

static void lookups_of_the_server_are_counted_and_given_back_together(void **state)
{
	struct node *root, *n;
	struct node_table *t = table(&root);

	(void)state;
	for (int i = 0; i < 3; i++) {
		n = found(t, root, i ? "a" : "b", 7, 70, FILE_MODE);
		node_told(n);
		node_unref(t, n);
	}
	node_forget(t, n, 2);
	assert_int_equal(forgotten.calls, 0);
	node_forget(t, n, 100); /* more than it was told: no harm */
	assert_int_equal(forgotten.given, 3);
	node_table_free(t);
}

static void children_keep_their_parents_and_deep_paths_go_at_once(void **state)
{
	struct node *root, *n;
	struct node_table *t = table(&root);
	struct node *at;

	(void)state;
	at = node_ref(root);
	for (uint64_t i = 0; i < 20000; i++) {
		n = found(t, at, "d", 100 + i, 1000 + i, DIR);
		node_unref(t, at);
		at = n;
	}
	assert_int_equal(node_table_count(t), 20001);
	node_unref(t, at);
	assert_int_equal(node_table_count(t), 1);
	assert_int_equal(root->refs, 0);
	assert_int_equal(forgotten.calls, 20000);
	node_table_free(t);
}

static void a_renamed_node_is_found_by_its_new_name_only(void **state)
{
	struct node *root, *d, *n;
	struct node_table *t = table(&root);

	(void)state;
	d = found(t, root, "d", 6, 60, DIR);
	n = found(t, root, "a", 7, 70, FILE_MODE);
	node_set_name(t, n, d, "b", 1);
	assert_null(node_by_name(t, root, "a", 1));
	assert_ptr_equal(node_by_name(t, d, "b", 1), n);
	assert_null(node_by_name(t, d, "bb", 2));
	node_unref(t, d); /* its child keeps it */
	assert_ptr_equal(node_by_name(t, root, "d", 1), d);
	node_unref(t, n);
	assert_int_equal(node_table_count(t), 1);
	node_table_free(t);
}

static void a_node_is_found_again_in_a_new_attachment_by_name_and_identity(void **state)
{
	struct node *root, *same, *other;
	struct node_table *t = table(&root);
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000), replaced = attr_of(99, FILE_MODE, 2000);
	struct node *n;

	(void)state;
	same = found(t, root, "same", 7, 70, FILE_MODE);
	other = found(t, root, "other", 8, 80, FILE_MODE);
	node_table_detach(t, 0);
	assert_int_equal(same->server, 0);
	assert_null(node_by_server(t, 0, 7));
	node_bind(t, root, NATIVE_ROOT);
	n = node_found(t, root, "same", 4, 7, &attr);
	assert_ptr_equal(n, same);
	assert_int_equal(n->server, 7);
	node_unref(t, n);
	n = node_found(t, root, "other", 5, 8, &replaced);
	assert_ptr_not_equal(n, other);
	node_unref(t, n);
	/* What the old attachment counted is not given back to the new one. */
	forgotten.calls = 0;
	node_unref(t, other);
	assert_int_equal(forgotten.calls, 0);
	node_unref(t, same);
	assert_int_equal(forgotten.calls, 1);
	node_table_free(t);
}

static void a_birth_time_tells_a_number_used_again(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000);
	struct node n = {0};

	(void)state;
	node_set_identity(&n, &attr);
	assert_true(node_is(&n, &attr));
	attr.btime.nsec++;
	assert_false(node_is(&n, &attr));
	attr.btime.nsec--;
	attr.mode = DIR;
	assert_false(node_is(&n, &attr));
}

static void the_first_open_drops_nothing_that_could_be_there(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000);
	struct node n = {0};
	struct node_opened o;

	(void)state;
	node_tell(&n, &attr, 0);
	o = node_opened(&n, &attr, 0);
	assert_true(o.drop);
	assert_false(o.tell);
	o = node_opened(&n, &attr, 0);
	assert_false(o.drop);
	assert_false(o.tell);
	free(n.more);
}

static void a_stat_in_between_does_not_hide_a_change(void **state)
{
	struct sftp_attr before = attr_of(70, FILE_MODE, 2000), after = attr_of(70, FILE_MODE, 2001);
	struct node n = {0};
	struct node_opened o;

	(void)state;
	node_tell(&n, &before, 0);
	node_opened(&n, &before, 0);
	node_tell(&n, &after, 0); /* the stat: the kernel knows the new time, and keeps the old pages */
	o = node_opened(&n, &after, 0);
	assert_true(o.drop);
	assert_true(o.tell);
	node_untold(&n, true);
	assert_false(node_opened(&n, &after, 0).drop);
	free(n.more);
}

/* Of two answers that overlapped the kernel may have taken the first alone, whichever of them that was. */
static void what_was_told_last_is_not_sure_while_something_else_was_told_before(void **state)
{
	struct sftp_attr empty = attr_of(70, FILE_MODE, 2000), whole = attr_of(70, FILE_MODE, 2001);
	struct node n = {0};
	struct node_opened o;

	(void)state;
	node_tell(&n, &empty, 0);
	node_tell(&n, &whole, 0);
	node_tell(&n, &whole, 0); /* as little */
	o = node_opened(&n, &whole, 0);
	assert_true(o.drop);
	assert_true(o.tell);
	node_untold(&n, true);
	/* Nothing was told since: it has nothing, and may just be asking. */
	o = node_opened(&n, &empty, 0);
	assert_true(o.drop);
	assert_false(o.tell);
	node_tell(&n, &empty, 0);
	o = node_opened(&n, &empty, 0);
	assert_false(o.drop);
	assert_false(o.tell);
	/* It did not know the node: it had not come to what it was told. */
	node_untold(&n, false);
	assert_true(node_opened(&n, &empty, 0).tell);
	free(n.more);
}

static void what_an_open_found_outdates_a_listing(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000);
	struct node n = {0};

	(void)state;
	node_opened(&n, &attr, 5000000);
	assert_true(node_told_after(&n, 4999000));
	free(n.more);
}

static void a_racy_version_counts_as_changed_once_more(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000);
	struct node n = {0};

	(void)state;
	attr.flags |= SFTP_ATTR_RACY;
	node_tell(&n, &attr, 0);
	assert_true(node_opened(&n, &attr, 0).drop);
	attr.flags &= ~(uint32_t)SFTP_ATTR_RACY;
	assert_true(node_opened(&n, &attr, 0).drop);
	assert_false(node_opened(&n, &attr, 0).drop);
	free(n.more);
}

static void our_own_change_is_known_and_a_strangers_is_not(void **state)
{
	struct sftp_attr before = attr_of(70, FILE_MODE, 2000), own = attr_of(70, FILE_MODE, 2001),
			 later = attr_of(70, FILE_MODE, 2003);
	struct sftp_change change = {.size = before.size, .mtime = before.mtime, .ctime = before.ctime, .after = own};
	struct node n = {0};

	(void)state;
	node_tell(&n, &before, 0);
	node_opened(&n, &before, 0);
	node_changed(&n, &change, 5);
	assert_false(node_opened(&n, &own, 0).drop);
	assert_int_equal(n.changed, 5);
	/* Somebody wrote between: before our change it was not what we knew. */
	change.mtime.sec = 2002;
	change.after = later;
	node_changed(&n, &change, 6);
	assert_true(node_opened(&n, &later, 0).drop);
	free(n.more);
}

static void what_was_read_before_an_invalidation_stays_old(void **state)
{
	struct sftp_change change = {.after = {.size = 1}};
	struct node n = {0};

	node_outdated(&n, 9);
	assert_int_equal(n.changed, 8);
	/* A change of ours that was dispatched earlier makes nothing newer. */
	node_changed(&n, &change, 5);
	assert_int_equal(n.changed, 8);
	node_outdated(&n, 0);
	assert_int_equal(n.changed, 8);
	node_changed(&n, &change, 12);
	assert_int_equal(n.changed, 12);
}

static struct node *found_by_every_key(const struct node_table *t, const struct node *root, uint64_t i)
{
	struct node *n;
	char name[16];

	snprintf(name, sizeof(name), "f%u", (unsigned)i);
	n = node_by_name(t, root, name, strlen(name));
	assert_non_null(n);
	assert_ptr_equal(n, node_by_server(t, 0, 10 + i));
	assert_ptr_equal(n, node_by_id(t, n->id));
	return n;
}

static void many_nodes_are_found_by_every_key_and_the_few_that_are_left_too(void **state)
{
	enum { COUNT = 160000, LEFT = 16 };
	struct node *root, *n;
	struct node_table *t = table(&root);
	char name[16];

	(void)state;
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "f%u", (unsigned)i);
		n = found(t, root, name, 10 + i, i, FILE_MODE);
		node_told(n);
		node_unref(t, n);
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		n = found_by_every_key(t, root, i);
		if (i % LEFT)
			node_forget(t, n, 1);
	}
	assert_int_equal(node_table_count(t), 1 + COUNT / LEFT);
	for (uint64_t i = 0; i < COUNT; i += LEFT)
		found_by_every_key(t, root, i);
	node_table_free(t);
}

static void what_was_told_later_than_a_listing_is_known_to_the_millisecond(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 2000);
	struct node n = {0};
	const uint64_t day = 86400000000u;

	assert_false(node_told_after(&n, 0));
	node_tell(&n, &attr, 5000000);
	assert_false(node_told_after(&n, 5000000));
	assert_true(node_told_after(&n, 4999000));
	assert_false(node_told_after(&n, 5001000));
	node_tell(&n, &attr, 5000001); /* in doubt it was after */
	assert_true(node_told_after(&n, 5000900));
	node_tell(&n, &attr, 60 * day); /* the count of milliseconds has begun anew */
	assert_true(node_told_after(&n, 60 * day - 1000));
	assert_false(node_told_after(&n, 60 * day + 1000));
}

static void a_change_that_the_kernel_was_told_of_is_not_taken_back(void **state)
{
	struct sftp_attr told = attr_of(70, FILE_MODE, 2000), earlier = told, later = told;
	struct node n = {0};

	assert_false(node_told_later(&n, &told));
	earlier.ctime.sec--;
	later.ctime.sec++;
	node_tell(&n, &told, 0);
	assert_true(node_told_later(&n, &earlier));
	assert_false(node_told_later(&n, &told));
	assert_false(node_told_later(&n, &later));
}

static void counts_that_are_full_lose_nothing(void **state)
{
	struct node *root, *n;
	struct node_table *t = table(&root);
	uint64_t id;

	n = found(t, root, "a", 7, 70, FILE_MODE);
	id = n->id;
	n->given = UINT32_MAX - 1;
	found(t, root, "a", 7, 70, FILE_MODE);
	assert_true(forgotten.given == UINT32_MAX - 1 && n->given == 1);
	n->lookups = UINT32_MAX - 1;
	node_told(n);
	node_told(n);
	node_unref(t, n);
	node_unref(t, n);
	node_forget(t, n, UINT32_MAX);
	assert_ptr_equal(node_by_id(t, id), n); /* the kernel may have been told more often */
	node_table_free(t);
}

static void a_node_without_a_name_gets_one(void **state)
{
	struct sftp_attr attr = attr_of(70, FILE_MODE, 1000);
	struct node *root, *n, *again;
	struct node_table *t = table(&root);

	(void)state;
	n = node_found_nameless(t, 0, 7, &attr);
	assert_null(n->parent);
	assert_null(n->name);
	assert_ptr_equal(node_by_server(t, 0, 7), n);
	again = found(t, root, "a", 7, 70, FILE_MODE);
	assert_ptr_equal(again, n);
	assert_ptr_equal(node_by_name(t, root, "a", 1), n);
	assert_int_equal(n->given, 2);
	node_unref(t, n);
	node_unref(t, again);
	assert_int_equal(forgotten.given, 2);
	node_table_free(t);
}

static struct {
	unsigned named, renamed, gone;
	uint64_t last;
} watched;

static void on_watch(void *ctx, const struct node *n, enum node_event event)
{
	(void)ctx;
	watched.named += event == NODE_NAMED;
	watched.renamed += event == NODE_RENAMED;
	watched.gone += event == NODE_GONE;
	watched.last = n->id;
	assert_non_null(n->name);
}

static void a_watch_hears_of_directories_and_of_nothing_else(void **state)
{
	struct node *root, *dir, *file;
	struct node_table *t = table(&root);

	(void)state;
	memset(&watched, 0, sizeof(watched));
	node_table_watch(t, on_watch, NULL);
	dir = found(t, root, "d", 5, 50, DIR);
	file = found(t, root, "f", 6, 60, FILE_MODE);
	assert_int_equal(watched.named, 1);
	assert_int_equal(watched.last, dir->id);
	node_unref(t, found(t, root, "d", 5, 50, DIR));
	assert_int_equal(watched.named + watched.renamed, 1);
	node_set_name(t, dir, root, "e", 1);
	node_set_name(t, file, root, "g", 1);
	assert_int_equal(watched.renamed, 1);
	node_unref(t, file);
	assert_int_equal(watched.gone, 0);
	node_unref(t, dir);
	assert_int_equal(watched.gone, 1);
	node_table_free(t);
}

#define FIRST ((1ull << 48) + 1)

static uint64_t number_of(void *ctx, const struct node *n)
{
	(void)ctx;
	return n->share == 1 ? 77 : 0;
}

static void a_table_goes_on_with_the_numbers_of_another(void **state)
{
	struct node *root, *second, *third, *known, *ours, *below, *n;
	struct node_table *t = table(&root);

	(void)state;
	second = node_add_root(t, 1, root, "src");
	third = node_add_root(t, 2, NULL, NULL);
	below = node_add_synthetic(t, second, "below");
	node_table_continue(t, FIRST, number_of, NULL);
	assert_int_equal(root->id, 1);
	assert_ptr_equal(node_by_id(t, 77), second);
	assert_true(third->id >= FIRST && below->id >= FIRST && third->id != below->id);
	assert_ptr_equal(node_by_name(t, root, "src", 3), second);
	assert_ptr_equal(node_by_name(t, second, "below", 5), below);

	known = node_add_known(t, 5, 0, true);
	ours = node_add_known(t, 6, NODE_NO_SHARE, true);
	assert_null(node_add_known(t, 5, 0, true));
	assert_int_equal(known->id, 5);
	assert_true(ours->flags & NODE_SYNTHETIC);
	node_set_name(t, known, root, "d", 1);
	assert_ptr_equal(node_by_id(t, 5), known);
	/* Found by its name and identity, it is the same; and never forgotten. */
	known->ino = 50;
	known->btime = 100000000005;
	n = found(t, root, "d", 9, 50, DIR);
	assert_ptr_equal(n, known);
	node_unref(t, n);
	node_forget(t, n, 1000);
	assert_ptr_equal(node_by_id(t, 5), known);
	/* No new number is one of that table's. */
	n = found(t, root, "f", 10, 60, FILE_MODE);
	assert_true(n->id > FIRST);
	node_unref(t, n);
	node_table_free(t);
}

static void a_root_goes_when_it_is_told_to_and_its_number_is_never_anothers(void **state)
{
	struct node *root, *other;
	struct node_table *t = table(&root);
	uint64_t id;

	(void)state;
	other = node_add_root(t, 3, NULL, NULL);
	id = other->id;
	node_bind(t, other, 9);
	assert_ptr_equal(node_by_server(t, 3, 9), other);
	node_remove_root(t, other);
	assert_null(node_by_id(t, id));
	assert_null(node_by_server(t, 3, 9));
	assert_int_equal(node_table_count(t), 1);
	other = node_add_root(t, 3, NULL, NULL);
	assert_true(other->id > id);
	node_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_lives_while_the_kernel_or_somebody_here_holds_it),
		cmocka_unit_test(lookups_of_the_server_are_counted_and_given_back_together),
		cmocka_unit_test(children_keep_their_parents_and_deep_paths_go_at_once),
		cmocka_unit_test(a_renamed_node_is_found_by_its_new_name_only),
		cmocka_unit_test(a_node_is_found_again_in_a_new_attachment_by_name_and_identity),
		cmocka_unit_test(a_birth_time_tells_a_number_used_again),
		cmocka_unit_test(the_first_open_drops_nothing_that_could_be_there),
		cmocka_unit_test(a_stat_in_between_does_not_hide_a_change),
		cmocka_unit_test(what_was_told_last_is_not_sure_while_something_else_was_told_before),
		cmocka_unit_test(what_an_open_found_outdates_a_listing),
		cmocka_unit_test(a_racy_version_counts_as_changed_once_more),
		cmocka_unit_test(our_own_change_is_known_and_a_strangers_is_not),
		cmocka_unit_test(what_was_read_before_an_invalidation_stays_old),
		cmocka_unit_test(many_nodes_are_found_by_every_key_and_the_few_that_are_left_too),
		cmocka_unit_test(what_was_told_later_than_a_listing_is_known_to_the_millisecond),
		cmocka_unit_test(a_change_that_the_kernel_was_told_of_is_not_taken_back),
		cmocka_unit_test(counts_that_are_full_lose_nothing),
		cmocka_unit_test(a_node_without_a_name_gets_one),
		cmocka_unit_test(a_watch_hears_of_directories_and_of_nothing_else),
		cmocka_unit_test(a_table_goes_on_with_the_numbers_of_another),
		cmocka_unit_test(a_root_goes_when_it_is_told_to_and_its_number_is_never_anothers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
