/* SPDX-License-Identifier: MIT */
/* ACLs between host and guest: who is named is translated, and whom the guest does not know stays as it is. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "acl.h"

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define NONE 0xffffffffu

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct acl {
	size_t len;
	uint8_t bytes[256];
};

/* Up to the entry of tag 0. */
static struct acl make(const struct entry *entries)
{
	struct acl acl = {.len = 4, .bytes = {2}};

	for (; entries->tag; entries++) {
		const uint16_t tag = htole16(entries->tag), perm = htole16(entries->perm);
		const uint32_t id = htole32(entries->id);

		memcpy(acl.bytes + acl.len, &tag, 2);
		memcpy(acl.bytes + acl.len + 2, &perm, 2);
		memcpy(acl.bytes + acl.len + 4, &id, 4);
		acl.len += 8;
	}
	return acl;
}

#define ACL(...) make((const struct entry[]){__VA_ARGS__, {0}})

static void expect(const struct acl *got, struct acl wanted)
{
	assert_int_equal(got->len, wanted.len);
	assert_memory_equal(got->bytes, wanted.bytes, wanted.len);
}

/* The host's 1000 is the login user 501; 7 and the group 8 have numbers in the guest, nobody else has. */
static const struct idmap users = {
	.host_uid = 1000,
	.host_gid = 1000,
	.guest_uid = 501,
	.guest_gid = 20,
	.uids = {1, {{7, 70, 1}}},
	.gids = {1, {{8, 80, 1}}},
};
static const struct idmap roots = {0};

static const struct entry full[] = {{USER_OBJ, 6, NONE},
				    {USER, 4, 7},
				    {USER, 0, 9},
				    {USER, 7, 1000},
				    {GROUP_OBJ, 4, NONE},
				    {GROUP, 6, 8},
				    {GROUP, 2, 9},
				    {GROUP, 1, 1000},
				    {MASK, 6, NONE},
				    {OTHER, 4, NONE},
				    {0}};

static void the_guest_sees_whom_it_knows(void **state)
{
	struct acl acl = make(full), same = acl;

	(void)state;
	acl.len = (size_t)acl_to_guest(&users, acl.bytes, acl.len);
	expect(&acl, ACL({USER_OBJ, 6, NONE}, {USER, 4, 70}, {USER, 7, 501}, {GROUP_OBJ, 4, NONE}, {GROUP, 6, 80},
			 {GROUP, 1, 20}, {MASK, 6, NONE}, {OTHER, 4, NONE}));
	assert_int_equal(acl_to_guest(&roots, same.bytes, same.len), (int)same.len);
	expect(&same, make(full));
	assert_true(acl_is_whole(&roots));
	assert_false(acl_is_whole(&users));
}

/* -1 for present: there is none. */
static struct acl set(const struct idmap *m, const struct acl *wanted, const struct acl *present)
{
	struct acl out;
	ssize_t n = acl_to_host(m, wanted ? wanted->bytes : NULL, wanted ? wanted->len : 0,
				present ? present->bytes : NULL, present ? present->len : 0, out.bytes);

	assert_true(n >= 0);
	out.len = (size_t)n;
	return out;
}

static void whom_the_guest_does_not_know_stays(void **state)
{
	struct acl present = make(full);
	struct acl wanted =
		ACL({USER_OBJ, 6, NONE}, {USER, 5, 70}, {GROUP_OBJ, 0, NONE}, {MASK, 7, NONE}, {OTHER, 0, NONE});
	struct acl got = set(&users, &wanted, &present);

	(void)state;
	expect(&got, ACL({USER_OBJ, 6, NONE}, {USER, 5, 7}, {USER, 0, 9}, {GROUP_OBJ, 0, NONE}, {GROUP, 2, 9},
			 {MASK, 7, NONE}, {OTHER, 0, NONE}));
	got = set(&users, &wanted, NULL);
	expect(&got, ACL({USER_OBJ, 6, NONE}, {USER, 5, 7}, {GROUP_OBJ, 0, NONE}, {MASK, 7, NONE}, {OTHER, 0, NONE}));
}

static void nobody_unseen_gains_by_a_wider_mask(void **state)
{
	struct acl present = ACL({USER_OBJ, 6, NONE}, {USER, 7, 9}, {GROUP_OBJ, 7, NONE}, {GROUP, 6, 9},
				 {MASK, 4, NONE}, {OTHER, 0, NONE});
	struct acl wanted = ACL({USER_OBJ, 6, NONE}, {GROUP_OBJ, 7, NONE}, {OTHER, 0, NONE});
	struct acl got = set(&users, &wanted, &present);

	(void)state;
	/* Names need a mask, which takes nothing from the group. */
	expect(&got, ACL({USER_OBJ, 6, NONE}, {USER, 4, 9}, {GROUP_OBJ, 7, NONE}, {GROUP, 4, 9}, {MASK, 7, NONE},
			 {OTHER, 0, NONE}));
}

static void an_acl_that_is_removed_leaves_whom_the_guest_does_not_know(void **state)
{
	struct acl present = make(full), seen = ACL({USER_OBJ, 6, NONE}, {USER, 7, 1000}, {GROUP_OBJ, 4, NONE},
						    {MASK, 7, NONE}, {OTHER, 0, NONE});
	struct acl got = set(&users, NULL, &present);

	(void)state;
	expect(&got, ACL({USER_OBJ, 6, NONE}, {USER, 0, 9}, {GROUP_OBJ, 4, NONE}, {GROUP, 2, 9}, {MASK, 6, NONE},
			 {OTHER, 4, NONE}));
	assert_int_equal(set(&users, NULL, &seen).len, 0);
	assert_int_equal(set(&users, NULL, NULL).len, 0);
}

static void whom_the_host_does_not_know_cannot_be_named(void **state)
{
	static const struct entry strangers[] = {
		{USER, 4, 9}, {USER, 4, 7}, {USER, 4, 1000}, {GROUP, 4, 8}, {USER, 4, NONE}};
	uint8_t out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(strangers) / sizeof(*strangers); i++) {
		struct acl wanted = ACL(strangers[i]);

		assert_int_equal(acl_to_host(&users, wanted.bytes, wanted.len, NULL, 0, out), -EINVAL);
	}
}

static void what_the_guest_sets_as_it_sees_it_changes_nothing(void **state)
{
	struct acl present = ACL({USER_OBJ, 6, NONE}, {USER, 4, 7}, {USER, 7, 1000}, {USER, 0, 9}, {GROUP_OBJ, 4, NONE},
				 {GROUP, 6, 8}, {GROUP, 2, 9}, {MASK, 6, NONE}, {OTHER, 4, NONE});
	struct acl seen = present, got;

	(void)state;
	seen.len = (size_t)acl_to_guest(&users, seen.bytes, seen.len);
	got = set(&users, &seen, &present);
	expect(&got, present);
}

static void what_is_no_acl_is_refused(void **state)
{
	struct acl good = make(full), bad[8];
	uint8_t out[512];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].len = 0;
	bad[1].len = 3;
	bad[2].len--;
	bad[3].bytes[0] = 1;                                 /* the version */
	bad[4].bytes[4] = 3;                                 /* a tag that is none */
	bad[5].bytes[6] = 8;                                 /* a right that is none */
	bad[6] = ACL({OTHER, 0, NONE}, {USER_OBJ, 6, NONE}); /* the order */
	bad[7] = ACL({GROUP, 0, 8}, {GROUP_OBJ, 6, NONE});
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(acl_to_host(&users, bad[i].bytes, bad[i].len, good.bytes, good.len, out), -EINVAL);
		assert_int_equal(acl_to_host(&users, good.bytes, 4, bad[i].bytes, bad[i].len, out), -EPROTO);
		assert_int_equal(acl_to_guest(&users, bad[i].bytes, bad[i].len), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_sees_whom_it_knows),
		cmocka_unit_test(whom_the_guest_does_not_know_stays),
		cmocka_unit_test(nobody_unseen_gains_by_a_wider_mask),
		cmocka_unit_test(an_acl_that_is_removed_leaves_whom_the_guest_does_not_know),
		cmocka_unit_test(whom_the_host_does_not_know_cannot_be_named),
		cmocka_unit_test(what_the_guest_sets_as_it_sees_it_changes_nothing),
		cmocka_unit_test(what_is_no_acl_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
