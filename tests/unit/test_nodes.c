/* SPDX-License-Identifier: MIT */
/* Nodes: identities and their names, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "nodes.h"
#include "sftp_wire.h"

#define ROOT NATIVE_ROOT

static struct node_identity id_of(uint64_t ino)
{
	return (struct node_identity){.ino = ino, .version = 7};
}

static struct nodes *table(void)
{
	struct node_identity root = id_of(1);
	struct nodes *nodes = nodes_new(&root, SFTP_NODES_MAX);

	assert_non_null(nodes);
	return nodes;
}

static uint64_t look(struct nodes *nodes, uint64_t parent, const char *name, uint64_t ino)
{
	struct node_identity identity = id_of(ino);
	uint64_t node = 0;

	assert_int_equal(nodes_look_up(nodes, parent, name, &identity, DT_REG, 0, &node), 0);
	return node;
}

/* The nth path of a node, or "-" where there is none. */
static const char *path_of(struct nodes *nodes, uint64_t node, unsigned nth)
{
	static char text[4096];
	struct wire_buf path = {0};
	int r = nodes_path(nodes, node, nth, &path);

	snprintf(text, sizeof(text), "%s", r == 0 ? (const char *)path.data : "-");
	if (r < 0)
		assert_int_equal(r, -ESTALE);
	wire_buf_free(&path);
	return text;
}

static void the_same_identity_is_the_same_node_under_any_name(void **state)
{
	struct nodes *nodes = table();
	uint64_t a = look(nodes, ROOT, "a", 10), d = look(nodes, ROOT, "d", 11);

	assert_int_equal(look(nodes, d, "b", 10), a);
	assert_int_not_equal(a, d);
	assert_string_equal(path_of(nodes, a, 0), "d/b");
	assert_string_equal(path_of(nodes, a, 1), "a");
	assert_string_equal(path_of(nodes, a, 2), "-");
	nodes_free(nodes);
}

static void names_are_told_one_by_one_with_their_folder(void **state)
{
	struct nodes *nodes = table();
	uint64_t a = look(nodes, ROOT, "a", 10), d = look(nodes, ROOT, "d", 11), folder = 0;
	char name[SFTP_NAME_MAX + 1] = "";

	look(nodes, d, "b", 10);
	assert_int_equal(nodes_name(nodes, a, 0, &folder, name), 0);
	assert_true(folder == d && strcmp(name, "b") == 0);
	assert_int_equal(nodes_name(nodes, a, 1, &folder, name), 0);
	assert_true(folder == ROOT && strcmp(name, "a") == 0);
	assert_int_equal(nodes_name(nodes, a, 2, &folder, name), -ESTALE);
	assert_int_equal(nodes_name(nodes, ROOT, 0, &folder, name), -ESTALE);
	assert_int_equal(nodes_name(nodes, 99, 0, &folder, name), -ESTALE);
	nodes_free(nodes);
}

static void an_identity_leads_to_the_node_the_client_still_knows(void **state)
{
	struct nodes *nodes = table();
	struct node_identity root = id_of(1), file = id_of(10);
	uint64_t a = look(nodes, ROOT, "a", 10);

	assert_int_equal(nodes_find(nodes, &root), ROOT);
	assert_int_equal(nodes_find(nodes, &file), a);
	nodes_open(nodes, a);
	nodes_forget(nodes, a, 1);
	assert_int_equal(nodes_find(nodes, &file), 0);
	nodes_close(nodes, a);
	assert_int_equal(nodes_find(nodes, &file), 0);
	nodes_free(nodes);
}

static void another_version_or_device_is_another_node(void **state)
{
	struct nodes *nodes = table();
	struct node_identity identity = id_of(10);
	uint64_t a = look(nodes, ROOT, "a", 10), b, c;

	identity.version++;
	assert_int_equal(nodes_look_up(nodes, ROOT, "a", &identity, DT_REG, 0, &b), 0);
	identity.device++;
	assert_int_equal(nodes_look_up(nodes, ROOT, "a", &identity, DT_REG, 0, &c), 0);
	assert_true(a != b && b != c && a != c);
	nodes_free(nodes);
}

static void a_node_goes_when_as_many_lookups_were_given_back(void **state)
{
	struct nodes *nodes = table();
	struct node_info info;
	uint64_t a = look(nodes, ROOT, "a", 10);

	look(nodes, ROOT, "a", 10);
	assert_false(nodes_forget(nodes, a, 1));
	assert_int_equal(nodes_info(nodes, a, &info), 0);
	assert_true(nodes_forget(nodes, a, 1));
	assert_int_equal(nodes_info(nodes, a, &info), -ESTALE);
	assert_false(nodes_forget(nodes, a, 1));
	assert_true(look(nodes, ROOT, "a", 10) > a);
	nodes_free(nodes);
}

static void forgetting_more_than_was_looked_up_is_no_harm(void **state)
{
	struct nodes *nodes = table();
	uint64_t a = look(nodes, ROOT, "a", 10);

	assert_true(nodes_forget(nodes, a, UINT64_MAX));
	assert_false(nodes_forget(nodes, ROOT, UINT64_MAX));
	assert_string_equal(path_of(nodes, look(nodes, ROOT, "b", 10), 0), "b");
	nodes_free(nodes);
}

static void a_forgotten_folder_leaves_what_is_below_without_a_path(void **state)
{
	struct nodes *nodes = table();
	struct node_info info;
	uint64_t d = look(nodes, ROOT, "d", 10), f = look(nodes, d, "f", 11);

	assert_false(nodes_forget(nodes, d, 1));
	assert_string_equal(path_of(nodes, f, 0), "-");
	assert_int_equal(nodes_info(nodes, f, &info), 0);
	assert_int_equal(look(nodes, ROOT, "d", 10), d);
	assert_string_equal(path_of(nodes, f, 0), "d/f");
	assert_false(nodes_forget(nodes, d, 1));
	assert_true(nodes_forget(nodes, f, 1));
	assert_int_equal(nodes_count(nodes), 1);
	nodes_free(nodes);
}

static void an_open_node_stays_whatever_is_forgotten(void **state)
{
	struct nodes *nodes = table();
	struct node_info info;
	uint64_t a = look(nodes, ROOT, "a", 10);

	assert_int_equal(nodes_open(nodes, a), 0);
	assert_false(nodes_forget(nodes, a, 1));
	assert_int_equal(nodes_info(nodes, a, &info), 0);
	assert_int_equal(info.opens, 1);
	assert_true(nodes_close(nodes, a));
	assert_int_equal(nodes_open(nodes, a), -ESTALE);
	nodes_free(nodes);
}

static void folders_moved_into_each_other_have_no_path_and_do_not_keep_each_other(void **state)
{
	struct nodes *nodes = table();
	uint64_t a = look(nodes, ROOT, "a", 10), b = look(nodes, a, "b", 11);

	look(nodes, b, "a", 10);
	assert_string_equal(path_of(nodes, a, 0), "-");
	assert_string_equal(path_of(nodes, a, 1), "a");
	assert_string_equal(path_of(nodes, b, 0), "-");
	nodes_forget(nodes, a, 2);
	nodes_forget(nodes, b, 1);
	assert_int_equal(nodes_count(nodes), 1);
	nodes_free(nodes);
}

static void a_folder_bound_into_itself_can_be_forgotten(void **state)
{
	struct nodes *nodes = table();
	uint64_t a = look(nodes, ROOT, "a", 10);

	assert_int_equal(look(nodes, a, "a", 10), a);
	assert_int_equal(look(nodes, a, "root", 1), ROOT);
	assert_true(nodes_forget(nodes, a, 2));
	assert_int_equal(nodes_count(nodes), 1);
	nodes_free(nodes);
}

static void names_follow_renames_links_and_unlinks_of_our_own(void **state)
{
	struct nodes *nodes = table();
	struct node_identity identity = id_of(10);
	uint64_t a = look(nodes, ROOT, "a", 10), d = look(nodes, ROOT, "d", 11);

	nodes_name_remove(nodes, &identity, ROOT, "a");
	assert_string_equal(path_of(nodes, a, 0), "-");
	nodes_name_add(nodes, &identity, d, "b");
	assert_string_equal(path_of(nodes, a, 0), "d/b");
	nodes_name_remove(nodes, &identity, ROOT, "b");
	assert_string_equal(path_of(nodes, a, 0), "d/b");
	identity.ino = 99;
	nodes_name_add(nodes, &identity, d, "c");
	nodes_name_remove(nodes, &identity, 12345, "c");
	nodes_free(nodes);
}

static void a_file_with_many_names_keeps_the_latest(void **state)
{
	struct nodes *nodes = table();
	char name[16];
	uint64_t node = 0;

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		node = look(nodes, ROOT, name, 10);
	}
	assert_string_equal(path_of(nodes, node, 0), "n99");
	assert_string_equal(path_of(nodes, node, SFTP_NODE_NAMES - 1), "n84");
	assert_string_equal(path_of(nodes, node, SFTP_NODE_NAMES), "-");
	nodes_free(nodes);
}

static void a_path_too_long_to_be_walked_is_none(void **state)
{
	struct nodes *nodes = table();
	struct wire_buf path = {0};
	uint64_t node = ROOT;
	char name[256];

	memset(name, 'x', 255);
	name[255] = '\0';
	for (unsigned i = 0; i < SFTP_NODE_PATH_MAX / 256; i++)
		node = look(nodes, node, name, 10 + i);
	assert_int_equal(nodes_path(nodes, node, 0, &path), 0);
	assert_int_equal(path.len, SFTP_NODE_PATH_MAX);
	node = look(nodes, node, "y", 9);
	assert_int_equal(nodes_path(nodes, node, 0, &path), -ESTALE);
	wire_buf_free(&path);
	nodes_free(nodes);
}

static void the_number_of_nodes_is_bounded(void **state)
{
	struct node_identity identity = id_of(1);
	struct nodes *nodes = nodes_new(&identity, 3);
	uint64_t node;

	look(nodes, ROOT, "a", 10);
	look(nodes, ROOT, "b", 11);
	identity.ino = 12;
	assert_int_equal(nodes_look_up(nodes, ROOT, "c", &identity, DT_REG, 0, &node), -ENFILE);
	assert_int_equal(nodes_look_up(nodes, 77, "c", &identity, DT_REG, 0, &node), -ESTALE);
	look(nodes, ROOT, "c", 11);
	nodes_free(nodes);
}

static void a_mask_once_seen_stays(void **state)
{
	struct nodes *nodes = table();
	struct node_identity identity = id_of(10);
	struct node_info info;
	uint64_t node;

	nodes_look_up(nodes, ROOT, "a", &identity, DT_REG, NODE_PROTECTED, &node);
	nodes_look_up(nodes, ROOT, "b", &identity, DT_REG, 0, &node);
	assert_int_equal(nodes_info(nodes, node, &info), 0);
	assert_int_equal(info.flags, NODE_PROTECTED);
	nodes_free(nodes);
}

static void what_the_client_knows_can_be_kept(void **state)
{
	struct nodes *nodes = table();
	struct node_identity known = id_of(10), unknown = id_of(11), root = id_of(1);
	uint64_t node = look(nodes, ROOT, "a", 10), kept = 0;
	struct node_info info;

	assert_int_equal(nodes_keep(nodes, &known, true, &kept), 0);
	assert_int_equal(kept, node);
	assert_int_equal(nodes_info(nodes, node, &info), 0);
	assert_int_equal(info.flags, NODE_KEPT);
	assert_int_equal(nodes_keep(nodes, &known, false, &kept), 0);
	assert_int_equal(nodes_info(nodes, node, &info), 0);
	assert_int_equal(info.flags, 0);
	assert_int_equal(nodes_keep(nodes, &unknown, true, &kept), -ESTALE);
	assert_int_equal(nodes_keep(nodes, &root, true, &kept), -ESTALE);
	assert_int_equal(nodes_open(nodes, node), 0);
	assert_false(nodes_forget(nodes, node, 1));
	assert_int_equal(nodes_keep(nodes, &known, true, &kept), -ESTALE); /* open, but not known any more */
	assert_true(nodes_close(nodes, node));
	nodes_free(nodes);
}

static void a_node_without_a_name_lives_as_others_do(void **state)
{
	struct nodes *nodes = table();
	struct node_identity identity = id_of(10);
	uint64_t node = 0;

	assert_int_equal(nodes_add_nameless(nodes, &identity, DT_REG, &node), 0);
	assert_string_equal(path_of(nodes, node, 0), "-");
	assert_int_equal(look(nodes, ROOT, "a", 10), node);
	assert_string_equal(path_of(nodes, node, 0), "a");
	assert_false(nodes_forget(nodes, node, 1));
	assert_true(nodes_forget(nodes, node, 1));
	nodes_free(nodes);
}

static void a_hundred_thousand_nodes_are_found_again_and_all_go(void **state)
{
	struct nodes *nodes = table();
	uint64_t folder = look(nodes, ROOT, "folder", 5), first = 0;
	char name[32];

	for (unsigned i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "name-%u", i);
		if (i == 0)
			first = look(nodes, folder, name, 100);
		else
			look(nodes, folder, name, 100 + i);
	}
	assert_int_equal(nodes_count(nodes), 100002);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "name-%u", i);
		assert_int_equal(look(nodes, folder, name, 100 + i), first + i);
		assert_true(nodes_forget(nodes, first + i, 2));
	}
	assert_int_equal(nodes_count(nodes), 2);
	nodes_free(nodes);
}

static void of_many_nodes_the_few_that_are_left_are_found(void **state)
{
	enum { COUNT = 160000, LEFT = 16 };
	struct nodes *nodes = table();
	uint64_t *node = calloc(COUNT, sizeof(*node));
	char name[16];

	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "f%u", (unsigned)i);
		node[i] = look(nodes, ROOT, name, 10 + i);
	}
	for (uint64_t i = 0; i < COUNT; i++)
		if (i % LEFT)
			assert_true(nodes_forget(nodes, node[i], 1));
	assert_int_equal(nodes_count(nodes), 1 + COUNT / LEFT);
	for (uint64_t i = 0; i < COUNT; i += LEFT) {
		struct node_identity identity = id_of(10 + i);

		snprintf(name, sizeof(name), "f%u", (unsigned)i);
		assert_string_equal(path_of(nodes, node[i], 0), name);
		assert_int_equal(nodes_find(nodes, &identity), node[i]);
	}
	free(node);
	nodes_free(nodes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_identity_is_the_same_node_under_any_name),
		cmocka_unit_test(names_are_told_one_by_one_with_their_folder),
		cmocka_unit_test(an_identity_leads_to_the_node_the_client_still_knows),
		cmocka_unit_test(another_version_or_device_is_another_node),
		cmocka_unit_test(a_node_goes_when_as_many_lookups_were_given_back),
		cmocka_unit_test(forgetting_more_than_was_looked_up_is_no_harm),
		cmocka_unit_test(a_forgotten_folder_leaves_what_is_below_without_a_path),
		cmocka_unit_test(an_open_node_stays_whatever_is_forgotten),
		cmocka_unit_test(folders_moved_into_each_other_have_no_path_and_do_not_keep_each_other),
		cmocka_unit_test(a_folder_bound_into_itself_can_be_forgotten),
		cmocka_unit_test(names_follow_renames_links_and_unlinks_of_our_own),
		cmocka_unit_test(a_file_with_many_names_keeps_the_latest),
		cmocka_unit_test(a_path_too_long_to_be_walked_is_none),
		cmocka_unit_test(the_number_of_nodes_is_bounded),
		cmocka_unit_test(a_mask_once_seen_stays),
		cmocka_unit_test(what_the_client_knows_can_be_kept),
		cmocka_unit_test(a_node_without_a_name_lives_as_others_do),
		cmocka_unit_test(a_hundred_thousand_nodes_are_found_again_and_all_go),
		cmocka_unit_test(of_many_nodes_the_few_that_are_left_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
