/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"

static char last[4096];
static enum log_level last_level;
static int lines;

static void keep(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	snprintf(last, sizeof(last), "%s", line);
	last_level = level;
	lines++;
	log_error("from inside the sink");
}

static int with_sink(void **state)
{
	(void)state;
	log_init("test", LOG_LEVEL_INFO);
	log_set_sink(keep, NULL);
	lines = 0;
	last[0] = '\0';
	return 0;
}

static int without_sink(void **state)
{
	(void)state;
	log_set_sink(NULL, NULL);
	return 0;
}

static void a_line_reaches_the_sink_once_with_its_level(void **state)
{
	(void)state;
	log_warn("port %d: %s", 80, "taken");
	assert_string_equal(last, "port 80: taken");
	assert_int_equal(last_level, LOG_LEVEL_WARN);
	assert_int_equal(lines, 1);
}

static void lines_above_the_level_are_dropped(void **state)
{
	(void)state;
	log_debug("hidden");
	assert_int_equal(lines, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("shown");
	assert_string_equal(last, "shown");
}

static void a_line_stays_one_line_and_errno_stays(void **state)
{
	char big[2100];

	(void)state;
	errno = EIO;
	log_info("a\nb\tc: %m");
	assert_string_equal(last, "a b c: Input/output error");
	assert_int_equal(errno, EIO);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_info("%s", big);
	assert_true(strlen(last) < 2048);
	assert_string_equal(last + strlen(last) - 3, "...");
}

static void what_a_peer_triggers_is_limited_and_counted(void **state)
{
	struct log_limit limit = {0};

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(log_limit_pass(&limit, 5000000, 3), i < 3);
	assert_int_equal(lines, 0);
	assert_true(log_limit_pass(&limit, 6000000, 3));
	assert_string_equal(last, "7 lines like the next were suppressed");
}

static void printed(const char *in, size_t len, size_t size, const char *out)
{
	char dst[64];

	memset(dst, 'Z', sizeof(dst));
	assert_ptr_equal(text_printable(dst, size, in, len), dst);
	assert_string_equal(dst, out);
}

static void foreign_text_is_made_printable(void **state)
{
	(void)state;
	printed("plain", 5, 64, "plain");
	printed("", 0, 64, "");
	printed("a\n\x1b[0m\x7f", 7, 64, "a\\x0a\\x1b[0m\\x7f");
	printed("gr\xc3\xbc\xc3\x9f", 6, 64, "gr\xc3\xbc\xc3\x9f");
	printed("\xe2\x82\xac\xf0\x9f\x90\xa7", 7, 64, "\xe2\x82\xac\xf0\x9f\x90\xa7");
	/* Cut off, overlong, a surrogate, beyond Unicode, a stray continuation, C1, right-to-left override. */
	printed("\xe2\x82", 2, 64, "\\xe2\\x82");
	printed("\xc0\xaf", 2, 64, "\\xc0\\xaf");
	printed("\xed\xa0\x80", 3, 64, "\\xed\\xa0\\x80");
	printed("\xf4\x90\x80\x80", 4, 64, "\\xf4\\x90\\x80\\x80");
	printed("\x80", 1, 64, "\\x80");
	printed("\xc2\x9b", 2, 64, "\\xc2\\x9b");
	printed("\xe2\x80\xae", 3, 64, "\\xe2\\x80\\xae");
	printed("a\0b", 3, 64, "a\\x00b");
}

static void text_that_does_not_fit_ends_in_dots(void **state)
{
	(void)state;
	printed("abcdefgh", 8, 9, "abcdefgh");
	printed("abcdefgh", 8, 8, "abcd...");
	printed("abc\xe2\x82\xac\xe2\x82\xac", 9, 9, "abc...");
	printed("abcdef", 6, 4, "...");
	printed("abcdef", 6, 2, ".");
	printed("abcdef", 6, 1, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_reaches_the_sink_once_with_its_level, with_sink, without_sink),
		cmocka_unit_test_setup_teardown(lines_above_the_level_are_dropped, with_sink, without_sink),
		cmocka_unit_test_setup_teardown(a_line_stays_one_line_and_errno_stays, with_sink, without_sink),
		cmocka_unit_test_setup_teardown(what_a_peer_triggers_is_limited_and_counted, with_sink, without_sink),
		cmocka_unit_test(foreign_text_is_made_printable),
		cmocka_unit_test(text_that_does_not_fit_ends_in_dots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
