/* SPDX-License-Identifier: MIT */
/* The table of `top` stays in its columns, whatever stands in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "top_view.h"

static struct top_sample *a_sample(void)
{
	struct top_sample *s = calloc(1, sizeof(*s));

	strcpy(s->name, "dev");
	strcpy(s->state, "connected");
	s->guest_told = true;
	s->rtt_us = 210;
	return s;
}

static char *table(const struct top_interval *i, size_t width, size_t height, bool colour)
{
	const struct top_look look = {.clock = "14:03:22", .width = width, .height = height, .colour = colour};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	top_view_table(i, &look, out);
	fclose(out);
	return text;
}

/* Lines, and the characters of the widest. */
static size_t lines_of(const char *text, size_t *widest)
{
	size_t lines = 0, width = 0;

	*widest = 0;
	for (; *text; text++) {
		if (*text == '\n') {
			lines++;
			width = 0;
		} else {
			width += ((unsigned char)*text & 0xc0) != 0x80;
		}
		if (width > *widest)
			*widest = width;
	}
	return lines;
}

static void a_table_of_80_columns(void **state)
{
	struct top_sample *s = a_sample();
	struct top_mount mount = {.target = (char *)"/home/me", .state = "mounted", .requests = 812, .read = 3 << 20};
	struct top_port port = {.proto = "tcp", .guest = (char *)"127.0.0.1:80", .process = "nginx", .connections = 2};
	struct top_interval i = {.us = 1000000, .guest_us = 1000000, .mounts = &mount, .ports = &port, .now = s};
	size_t widest;
	char *text;

	s->waiting = 1;
	s->mount_count = s->port_count = 1;
	i.ops[OP_LOOKUP] = (struct top_ops){812, 796, 11200, 1200000, 16, 12000, 40000, true};
	i.ops[OP_READ] = (struct top_ops){.ever = true};
	text = table(&i, 80, 0, false);
	assert_string_equal(text, "dev: connected, round trip 0.21 ms, 1 request waiting                  14:03:22\n"
				  "\n"
				  "OPERATION        /s  AT ONCE      p50      p99      HOST /s      p50      p99\n"
				  "lookup          812     98 %    11 us   1.2 ms           16    12 us    40 us\n"
				  "read              0        -        -        -            0        -        -\n"
				  "\n"
				  "MOUNT                                      REQUESTS/s      READ/s   WRITTEN/s\n"
				  "/home/me                                          812       3 MiB         0 B\n"
				  "\n"
				  "PORT                                             OPEN        IN/s       OUT/s\n"
				  "tcp 127.0.0.1:80 (nginx)                            2         0 B         0 B\n");
	lines_of(text, &widest);
	assert_true(widest <= 80);
	free(text);
	free(s);
}

static void the_largest_numbers_and_the_longest_names_stay_in_their_columns(void **state)
{
	char wide[600] = "", odd[] = "/a\033[31m\n\t\xff";
	struct top_sample *s = a_sample();
	struct top_mount mounts[2] = {
		{.state = "mounted", .requests = UINT64_MAX, .read = UINT64_MAX, .written = UINT64_MAX},
		{.state = "unmounted", .requests = UINT64_MAX, .read = UINT64_MAX, .written = UINT64_MAX}};
	struct top_port port = {"tcp", wide, "p", UINT64_MAX, UINT64_MAX, UINT64_MAX};
	struct top_interval i = {.us = 1, .guest_us = 1, .mounts = mounts, .ports = &port, .now = s};
	size_t widest;
	char *text;

	for (unsigned n = 0; n < 100; n++)
		strcat(wide, "\xc3\xa9");
	mounts[0].target = wide;
	mounts[1].target = odd;
	s->mount_count = 2;
	s->port_count = 1;
	s->waiting = s->rtt_us = UINT64_MAX;
	for (unsigned k = 0; k < OP_KINDS; k++)
		i.ops[k] = (struct top_ops){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
					    UINT64_MAX, UINT64_MAX, UINT64_MAX, true};
	text = table(&i, 80, 0, false);
	lines_of(text, &widest);
	assert_int_equal(widest, 80); /* the first line is cut; all others end before */
	assert_null(strchr(text, '\033'));
	assert_null(strchr(text, '\t'));
	free(text);
	text = table(&i, 20, 0, false);
	lines_of(text, &widest);
	assert_int_equal(widest, 20);
	free(text);
	free(s);
}

static void a_page_is_no_taller_than_its_terminal(void **state)
{
	struct top_sample *s = a_sample();
	struct top_port ports[100] = {0};
	struct top_interval i = {.us = 1000000, .guest_us = 1000000, .ports = ports, .now = s};
	size_t widest;
	char *text;

	for (unsigned n = 0; n < 100; n++)
		ports[n] = (struct top_port){.proto = "tcp", .guest = (char *)"127.0.0.1:80"};
	s->port_count = 100;
	text = table(&i, 80, 23, false);
	assert_int_equal(lines_of(text, &widest), 23);
	assert_non_null(strstr(text, "\n... and 81 more lines\n"));
	free(text);
	for (size_t height = 1; height < 4; height++) {
		text = table(&i, 80, height, true);
		assert_int_equal(lines_of(text, &widest), height);
		free(text);
	}
	text = table(&i, 80, 0, false);
	assert_non_null(strstr(text, "\n... and 80 more ports, with less traffic\n"));
	free(text);
	free(s);
}

static void what_the_guest_did_not_say_is_not_shown_as_nothing(void **state)
{
	struct top_sample *s = a_sample();
	struct top_interval i = {.us = 1000000, .now = s};
	struct wire_buf json = {0};
	char *text;

	s->guest_told = false;
	strcpy(s->state, "reconnecting");
	strcpy(s->trouble, "the link is down");
	s->rtt_us = 0;
	i.ops[OP_STAT].ever = true;
	text = table(&i, 80, 0, false);
	assert_memory_equal(text, "dev: reconnecting ", 18);
	assert_non_null(strstr(text, "\nthe link is down\n"));
	assert_non_null(strstr(text, "\nstat              -        -        -        -            0 "));
	free(text);
	text = table(&i, 80, 0, true);
	assert_memory_equal(text, "\033[31mdev: reconnecting", 22);
	free(text);
	top_view_json(&i, "now", &json);
	wire_put_u8(&json, 0);
	assert_string_equal(
		(char *)json.data,
		"{\"time\":\"now\",\"name\":\"dev\",\"state\":\"reconnecting\",\"error\":\"the link is down\","
		"\"interval_ms\":1000,\"rtt_us\":0,\"waiting\":null,\"operations_ms\":0,"
		"\"operations\":null,\"mounts\":[],\"ports\":[]}");
	wire_buf_free(&json);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_of_80_columns),
		cmocka_unit_test(the_largest_numbers_and_the_longest_names_stay_in_their_columns),
		cmocka_unit_test(a_page_is_no_taller_than_its_terminal),
		cmocka_unit_test(what_the_guest_did_not_say_is_not_shown_as_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
