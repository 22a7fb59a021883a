/* SPDX-License-Identifier: MIT */
/* Edits of a file: the entry in its place, every other byte as it was; or a sentence that says what to write by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_edit.h"

static const struct config_mount src = {
	.location = {.path = (char *)"/home/me/src"}, .mount_point = (char *)"/src", .mask = true, .writable = true};
static const struct rule_spec web = {.proto = RULE_PROTO_TCP, .guest_port = 80, .host_port = 8080};

#define MOUNT "- location: \"~/src\"\n  mountPoint: \"/src\"\n  writable: true\n"
#define RULE  "- guestPort: 80\n  hostPort: 8080\n  proto: tcp\n"

/* The text after the change, or the sentence. */
static const char *edited(enum by_hand_kind kind, const char *text)
{
	static char out[4096], why[CONFIG_EDIT_WHY_MAX];
	struct by_hand_change change = {.kind = kind, .words = (char *)"mount x", .mount = src, .rule = web};
	struct config_text in = {"dev.yaml", "/home/me", strdup(text), strlen(text)};
	int rc = config_edit(&in, &change, why);

	assert_true(rc == 0 || rc == -EINVAL);
	snprintf(out, sizeof(out), "%.*s", (int)in.size, in.text);
	free(in.text);
	return rc == 0 ? out : why;
}

static void an_entry_is_added_and_taken_out_again_byte_for_byte(void **state)
{
	static const struct {
		enum by_hand_kind add, take;
		const char *before, *after;
	} cases[] = {
		{BY_HAND_MOUNT, BY_HAND_UMOUNT, "mounts:\n- location: /a\n", "mounts:\n- location: /a\n" MOUNT},
		{BY_HAND_MOUNT, BY_HAND_UMOUNT, "mounts: # m\n# a\n- location: /a # a\n\n# end\n",
		 "mounts: # m\n# a\n- location: /a # a\n" MOUNT "\n# end\n"},
		{BY_HAND_MOUNT, BY_HAND_UMOUNT,
		 "mounts:\n  - location: |-\n      /a\n    writable: true\nmaxForwards: 1\n",
		 "mounts:\n  - location: |-\n      /a\n    writable: true\n  - location: \"~/src\"\n    mountPoint: "
		 "\"/src\"\n    writable: true\nmaxForwards: 1\n"},
		{BY_HAND_MOUNT, BY_HAND_UMOUNT, "mounts: [] # none\nmaxForwards: 1\n",
		 "mounts: # none\n" MOUNT "maxForwards: 1\n"},
		{BY_HAND_RULE, BY_HAND_DROP_RULE, "portForwards:\n# one\n- guestPort: 1\nmaxForwards: 1\n",
		 "portForwards:\n" RULE "# one\n- guestPort: 1\nmaxForwards: 1\n"},
		{BY_HAND_RULE, BY_HAND_DROP_RULE, "portForwards: []\n", "portForwards:\n" RULE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *after = edited(cases[i].add, cases[i].before);

		assert_string_equal(after, cases[i].after);
		after = edited(cases[i].take, cases[i].after);
		if (strcmp(after, cases[i].before) != 0 && !strstr(cases[i].before, "[]"))
			fail_msg("case %zu: %s", i, after);
	}
}

static void a_list_that_is_not_there_is_added_at_the_end(void **state)
{
	assert_string_equal(edited(BY_HAND_MOUNT, "maxForwards: 1"),
			    "maxForwards: 1\nmounts:\n- location: \"~\"\n" MOUNT);
	assert_string_equal(edited(BY_HAND_MOUNT, ""), "mounts:\n- location: \"~\"\n" MOUNT);
	assert_string_equal(edited(BY_HAND_RULE, "# mine\n"), "# mine\nportForwards:\n" RULE);
	assert_string_equal(edited(BY_HAND_MOUNT, "maxForwards: 1\r\n"),
			    "maxForwards: 1\r\nmounts:\r\n- location: \"~\"\r\n- location: \"~/src\"\r\n  mountPoint: "
			    "\"/src\"\r\n  writable: true\r\n");
}

static void a_list_that_becomes_empty_stays_as_brackets(void **state)
{
	assert_string_equal(edited(BY_HAND_UMOUNT, "mounts: # m\n# a\n" MOUNT "# end\nmaxForwards: 1\n"),
			    "mounts: [] # m\n# a\n# end\nmaxForwards: 1\n");
	assert_string_equal(edited(BY_HAND_DROP_RULE, "portForwards:\n" RULE), "portForwards: []\n");
}

static void what_is_not_there_needs_no_edit(void **state)
{
	assert_string_equal(edited(BY_HAND_UMOUNT, "maxForwards: 1\n"), "maxForwards: 1\n");
	assert_string_equal(edited(BY_HAND_DROP_RULE, "maxForwards: 1\n"), "maxForwards: 1\n");
}

static void what_cannot_be_done_safely_is_refused_with_what_to_write(void **state)
{
	assert_string_equal(edited(BY_HAND_MOUNT, "mounts: [{location: /a}]\n"),
			    "dev.yaml:1: the list is in brackets; add this by hand: {location: \"~/src\",  mountPoint: "
			    "\"/src\",  writable: true}");
	assert_string_equal(edited(BY_HAND_DROP_RULE, "portForwards: [{guestPort: 80, hostPort: 8080, proto: tcp}]\n"),
			    "dev.yaml:1: the list is in brackets; remove entry 1 of it by hand");
	assert_string_equal(edited(BY_HAND_RULE, "{maxForwards: 1}\n"),
			    "dev.yaml: the whole file is in braces; change it by hand");
	assert_string_equal(edited(BY_HAND_MOUNT, "mounts:\n- location: /x\n  mountPoint: /src\n"),
			    "dev.yaml:2: there is another mount at /src; change it by hand");
	assert_string_equal(edited(BY_HAND_RULE, "maxForwards: 1\n...\n"),
			    "dev.yaml: `mount x` cannot be written into this file safely; change it by hand");
	assert_string_equal(edited(BY_HAND_RULE, "maxForwards: x\n"),
			    "dev.yaml: the file has mistakes now; `homeport config check` tells them");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_added_and_taken_out_again_byte_for_byte),
		cmocka_unit_test(a_list_that_is_not_there_is_added_at_the_end),
		cmocka_unit_test(a_list_that_becomes_empty_stays_as_brackets),
		cmocka_unit_test(what_is_not_there_needs_no_edit),
		cmocka_unit_test(what_cannot_be_done_safely_is_refused_with_what_to_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
