/* SPDX-License-Identifier: MIT */
/* json: what the writer writes, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "json.h"

static void assert_text(struct json *j, const char *want)
{
	assert_false(j->out.failed);
	wire_put_u8(&j->out, 0);
	assert_string_equal((const char *)j->out.data, want);
	json_free(j);
}

static void objects_and_lists_get_their_commas(void **state)
{
	struct json j = {0};

	json_open(&j, NULL, '[');
	json_open(&j, NULL, '{');
	json_u64(&j, "pid", 4242);
	json_open(&j, "ports", '[');
	json_string(&j, NULL, "a");
	json_string(&j, NULL, "b");
	json_close(&j, ']');
	json_open(&j, "mounts", '[');
	json_close(&j, ']');
	json_bool(&j, "writable", false);
	json_string(&j, "error", NULL);
	json_close(&j, '}');
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_close(&j, ']');
	assert_text(&j, "[{\"pid\":4242,\"ports\":[\"a\",\"b\"],\"mounts\":[],\"writable\":false,\"error\":null},{}]");
}

static void quotes_and_control_characters_are_escaped(void **state)
{
	struct json j = {0};

	json_string(&j, NULL, "a\"b\\c\nd\x7f\x01");
	assert_text(&j, "\"a\\\"b\\\\c\\u000ad\\u007f\\u0001\"");
}

static void bytes_that_are_utf8_are_written_once(void **state)
{
	struct json j = {0};

	json_open(&j, NULL, '{');
	json_bytes(&j, "source", "/home/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	json_close(&j, '}');
	assert_text(&j, "{\"source\":\"/home/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}");
}

static void bytes_that_are_not_utf8_are_repeated_in_base64(void **state)
{
	struct json j = {0};

	json_open(&j, NULL, '{');
	json_bytes(&j, "source", "a\xff");
	json_bytes(&j, "other", "\xc0\x80z");    /* an overlong NUL is not UTF-8 */
	json_bytes(&j, "third", "\xed\xa0\x80"); /* nor is half a surrogate pair */
	json_bytes(&j, "none", NULL);
	json_close(&j, '}');
	assert_text(&j, "{\"source\":\"a\xef\xbf\xbd\",\"source_bytes\":\"Yf8=\","
			"\"other\":\"\xef\xbf\xbd\xef\xbf\xbdz\",\"other_bytes\":\"wIB6\","
			"\"third\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"third_bytes\":\"7aCA\",\"none\":null}");
}

static void a_character_cut_off_at_the_end_is_not_utf8(void **state)
{
	struct json j = {0};

	json_open(&j, NULL, '{');
	json_bytes(&j, "a", "\xe2\x82");
	json_close(&j, '}');
	assert_text(&j, "{\"a\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"a_bytes\":\"4oI=\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_and_lists_get_their_commas),
		cmocka_unit_test(quotes_and_control_characters_are_escaped),
		cmocka_unit_test(bytes_that_are_utf8_are_written_once),
		cmocka_unit_test(bytes_that_are_not_utf8_are_repeated_in_base64),
		cmocka_unit_test(a_character_cut_off_at_the_end_is_not_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
