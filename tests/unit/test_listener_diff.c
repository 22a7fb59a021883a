/* SPDX-License-Identifier: MIT */
/* What changed between two sets of listeners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "listener_diff.h"

#define MAX 16

static struct listener_entry entry(uint16_t port, uint64_t inode)
{
	return (struct listener_entry){.at = {.proto = LISTENER_TCP, .family = 4, .port = port, .inode = inode}};
}

static void on_gone(void *ctx, const struct listener *gone)
{
	char *text = ctx;

	sprintf(text + strlen(text), "-%u/%u ", (unsigned)gone->key, gone->port);
}

/* Applies `now` to `old`, and says what changed: "-KEY/PORT" and "+KEY/PORT". */
static const char *changes(struct listener_entry *old, size_t *old_count, struct listener_entry *now, size_t now_count,
			   uint64_t *next_key)
{
	static char text[1024];

	text[0] = '\0';
	listener_sort(now, now_count);
	listener_diff(old, *old_count, now, now_count, next_key, on_gone, text);
	for (size_t i = 0; i < now_count; i++) {
		if (now[i].announce)
			sprintf(text + strlen(text), "+%u/%u ", (unsigned)now[i].at.key, now[i].at.port);
		now[i].announce = false;
		old[i] = now[i];
	}
	*old_count = now_count;
	return text;
}

static void what_is_new_gets_a_key_and_what_stays_keeps_it(void **state)
{
	struct listener_entry old[MAX], one[] = {entry(80, 1)}, two[] = {entry(443, 2), entry(80, 1)};
	size_t count = 0;
	uint64_t key = 1;

	assert_string_equal(changes(old, &count, one, 1, &key), "+1/80 ");
	old[0].at.pid = 7;
	old[0].searched = true;
	assert_string_equal(changes(old, &count, two, 2, &key), "+2/443 ");
	assert_int_equal(old[0].at.pid, 7);
	assert_true(old[0].searched);
	assert_string_equal(changes(old, &count, two, 2, &key), "");
	assert_string_equal(changes(old, &count, two + 1, 1, &key), "-1/80 ");
	assert_string_equal(changes(old, &count, NULL, 0, &key), "-2/443 ");
}

static void a_listener_that_went_and_came_back_between_two_looks_is_one_change(void **state)
{
	struct listener_entry old[MAX], before[] = {entry(80, 1)}, after[] = {entry(80, 2)};
	size_t count = 0;
	uint64_t key = 1;

	changes(old, &count, before, 1, &key);
	old[0].searched = true;
	assert_string_equal(changes(old, &count, after, 1, &key), "+1/80 ");
	assert_false(old[0].searched);
}

static void sockets_of_one_endpoint_are_told_apart(void **state)
{
	struct listener_entry old[MAX], three[] = {entry(80, 3), entry(80, 1), entry(80, 2)};
	struct listener_entry other[] = {entry(80, 2), entry(80, 9)}, last[] = {entry(80, 9)};
	size_t count = 0;
	uint64_t key = 1;

	assert_string_equal(changes(old, &count, three, 3, &key), "+1/80 +2/80 +3/80 ");
	assert_string_equal(changes(old, &count, other, 2, &key), "-3/80 +1/80 ");
	assert_string_equal(changes(old, &count, last, 1, &key), "-2/80 ");
}

static void addresses_and_scopes_make_endpoints(void **state)
{
	struct listener_entry old[MAX], now[] = {entry(80, 1), entry(80, 1), entry(80, 1), entry(80, 1)};
	size_t count = 0;
	uint64_t key = 1;

	now[1].at.addr[0] = 127;
	now[2].at.family = 6;
	now[3].at.family = 6;
	now[3].at.scope = 2;
	assert_string_equal(changes(old, &count, now, 4, &key), "+1/80 +2/80 +3/80 +4/80 ");
	now[2].at.scope = 3;
	assert_string_equal(changes(old, &count, now, 4, &key), "-3/80 +5/80 ");
}

static void keys_are_never_given_again(void **state)
{
	struct listener_entry old[MAX], now[1];
	size_t count = 0;
	uint64_t key = 1;

	for (uint16_t i = 1; i < 100; i++) {
		now[0] = entry(i, i);
		changes(old, &count, now, 1, &key);
		assert_int_equal(old[0].at.key, i);
	}
}

/* Every set of sockets over two endpoints against every other: afterwards the host knows exactly what is there. */
static void any_change_of_any_set_adds_up(void **state)
{
	for (unsigned from = 0; from < 64; from++) {
		for (unsigned to = 0; to < 64; to++) {
			struct listener_entry old[MAX], a[6], b[6];
			size_t count = 0, na = 0, nb = 0, live;
			uint64_t key = 1;
			const char *text;

			for (unsigned i = 0; i < 6; i++) {
				if (from & 1u << i)
					a[na++] = entry((uint16_t)(80 + i % 2), i + 1);
				if (to & 1u << i)
					b[nb++] = entry((uint16_t)(80 + i % 2), i + 1);
			}
			changes(old, &count, a, na, &key);
			live = na;
			text = changes(old, &count, b, nb, &key);
			for (const char *c = text; *c; c++) {
				unsigned k;

				if (*c == '-')
					live--;
				else if (*c == '+' && sscanf(c + 1, "%u", &k) == 1 && k > na)
					live++;
			}
			assert_int_equal(live, nb);
			for (size_t i = 0; i < nb; i++)
				for (size_t k = 0; k < i; k++)
					assert_int_not_equal(b[i].at.key, b[k].at.key);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_new_gets_a_key_and_what_stays_keeps_it),
		cmocka_unit_test(a_listener_that_went_and_came_back_between_two_looks_is_one_change),
		cmocka_unit_test(sockets_of_one_endpoint_are_told_apart),
		cmocka_unit_test(addresses_and_scopes_make_endpoints),
		cmocka_unit_test(keys_are_never_given_again),
		cmocka_unit_test(any_change_of_any_set_adds_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
