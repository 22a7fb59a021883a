/* SPDX-License-Identifier: MIT */
/* What an agent counted, read; and what happened between two answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "top_sample.h"

static void take(struct top_sample *s, uint64_t us, const struct top_sample *before, const char *const *lines)
{
	top_sample_reset(s, us);
	for (; *lines; lines++) {
		char *copy = strdup(*lines);

		top_sample_line(s, copy);
		free(copy);
	}
	top_sample_end(s, before);
}

static void an_answer_is_read(void **state)
{
	static const char *const lines[] = {
		"session dev connected 210 3 -",
		"guest read 100 90 40:60,48:40",
		"host read 10 0 40:10",
		"mount /home/m%20e mounted 1234 5 6",
		"port tcp 127.0.0.1:80 nginx 2 7 8",
		"port udp [::1]:53 - 0 0 0",
		NULL,
	};
	struct top_sample *s = calloc(1, sizeof(*s)), none = {0};

	take(s, 1000000, &none, lines);
	assert_false(s->failed);
	assert_true(s->whole && s->guest_told);
	assert_string_equal(s->name, "dev");
	assert_string_equal(s->state, "connected");
	assert_int_equal(s->rtt_us, 210);
	assert_int_equal(s->waiting, 3);
	assert_int_equal(s->guest.kinds[OP_READ].count, 100);
	assert_int_equal(s->guest.kinds[OP_READ].at_once, 90);
	assert_int_equal(s->guest.kinds[OP_READ].times[48], 40);
	assert_int_equal(s->host.kinds[OP_READ].count, 10);
	assert_int_equal(s->mount_count, 1);
	assert_string_equal(s->mounts[0].target, "/home/m e");
	assert_int_equal(s->mounts[0].written, 6);
	assert_int_equal(s->port_count, 2);
	assert_string_equal(s->ports[0].process, "nginx");
	assert_string_equal(s->ports[1].process, "");
	assert_int_equal(s->ports[0].out, 8);
	top_sample_free(s);
}

static void what_is_no_answer_is_not_understood(void **state)
{
	static const char *const bad[] = {
		"",
		"nonsense",
		"session dev connected 210 3",
		"session dev connected x 3 -",
		"guest walk 1 1 -",
		"guest read -1 1 -",
		"guest read 1 1 144:1",
		"guest read 1 1 1",
		"guest read 1 1 1:",
		"host read 18446744073709551616 - -",
		"mount / mounted 1 2",
		"port tcp a b c 1 2",
	};
	struct top_sample *s = calloc(1, sizeof(*s));

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *copy = strdup(bad[i]);

		top_sample_reset(s, 1);
		top_sample_line(s, copy);
		assert_true(s->failed);
		free(copy);
	}
	top_sample_free(s);
}

static void an_interval_has_what_was_added(void **state)
{
	static const char *const first[] = {"session dev connected 210 0 -",  "guest stat 100 0 10:100",
					    "host stat 50 - 10:50",           "mount /a mounted 10 100 1000",
					    "port tcp 127.0.0.1:1 - 0 1 1",   "port tcp 127.0.0.1:2 - 0 1 1",
					    "port udp 127.0.0.1:2 - 0 500 0", NULL};
	static const char *const second[] = {
		"session dev connected 210 0 -",  "guest stat 150 25 10:100,80:50", "host stat 40 - 10:40",
		"mount /a mounted 15 100 1500",   "mount /b mounting 1 2 3",        "port tcp 127.0.0.1:1 - 3 1 1",
		"port udp 127.0.0.1:2 - 0 500 0", "port tcp 127.0.0.1:2 - 0 2 9",   NULL};
	struct top_sample *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct top_interval i;

	take(a, 1000000, b, first);
	take(b, 3000000, a, second);
	assert_true(top_interval_make(&i, a, b));
	assert_int_equal(i.us, 2000000);
	assert_int_equal(i.guest_us, 2000000);
	assert_int_equal(i.ops[OP_STAT].count, 50);
	assert_int_equal(i.ops[OP_STAT].at_once, 25);
	assert_int_equal(histogram_bucket(i.ops[OP_STAT].p50), 80);
	assert_true(i.ops[OP_STAT].ever && !i.ops[OP_LOCK].ever);
	assert_int_equal(i.ops[OP_STAT].host_count, 0); /* a server less: not a number below zero */
	assert_int_equal(i.mounts[0].requests, 5);
	assert_int_equal(i.mounts[0].read, 0);
	assert_int_equal(i.mounts[0].written, 500);
	assert_int_equal(i.mounts[1].written, 3);
	assert_string_equal(i.ports[0].guest, "127.0.0.1:2"); /* the busiest first, then those in use */
	assert_string_equal(i.ports[0].proto, "tcp");
	assert_int_equal(i.ports[0].out, 8);
	assert_int_equal(i.ports[1].connections, 3);
	assert_int_equal(i.ports[2].in, 0);
	top_interval_free(&i);
	top_sample_free(a);
	top_sample_free(b);
}

static void a_guest_that_does_not_tell_is_waited_for(void **state)
{
	static const char *const told[] = {"session dev connected 210 0 -", "guest stat 100 0 -", NULL};
	static const char *const away[] = {"session dev reconnecting - - the%20link%20is%20down", NULL};
	static const char *const back[] = {"session dev connected 210 0 -", "guest stat 170 0 -", NULL};
	struct top_sample *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct top_interval i;

	take(a, 1000000, b, told);
	assert_true(top_interval_make(&i, b, a));
	assert_int_equal(i.guest_us, 0); /* since when, is not known */
	top_interval_free(&i);
	take(b, 2000000, a, away);
	assert_false(b->guest_told);
	assert_string_equal(b->trouble, "the link is down");
	assert_true(top_interval_make(&i, a, b));
	assert_int_equal(i.guest_us, 0);
	assert_int_equal(i.ops[OP_STAT].count, 0);
	top_interval_free(&i);
	take(a, 4000000, b, back);
	assert_true(top_interval_make(&i, b, a));
	assert_int_equal(i.us, 2000000);
	assert_int_equal(i.guest_us, 3000000);
	assert_int_equal(i.ops[OP_STAT].count, 70);
	top_interval_free(&i);
	top_sample_free(a);
	top_sample_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_read),
		cmocka_unit_test(what_is_no_answer_is_not_understood),
		cmocka_unit_test(an_interval_has_what_was_added),
		cmocka_unit_test(a_guest_that_does_not_tell_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
