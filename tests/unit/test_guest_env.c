/* SPDX-License-Identifier: MIT */
/* The guest's variables: what goes before what, which proxies get a tunnel, and what the variable says then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest_env.h"

/* What an environment says, of a test: "NAME=VALUE". */
static const char *const *environment;

static char *get(const char *name)
{
	size_t len = strlen(name);

	for (const char *const *at = environment; at && *at; at++)
		if (strncmp(*at, name, len) == 0 && (*at)[len] == '=')
			return (char *)*at + len + 1;
	return NULL;
}

/* "A=1 http_proxy=x ...", and tunnels as " >HOST:PORT". */
static const char *made(const char *const *outside, const char *const *configured, size_t count)
{
	static char text[4096];
	struct proxy_env proxies = {0};
	struct guest_env env;
	int n = 0;

	environment = outside;
	assert_int_equal(proxy_env_read(&proxies, get), 0);
	assert_int_equal(guest_env_make(&env, (char *const *)configured, count, outside ? &proxies : NULL), 0);
	text[0] = '\0';
	for (size_t i = 0; i < env.count; i++)
		n += sprintf(text + n, "%s%s%s", i ? " " : "", env.variables[i].text,
			     env.variables[i].tunnel >= 0 ? "*" : "");
	for (size_t i = 0; i < env.tunnel_count; i++)
		n += sprintf(text + n, " >%s:%u", env.tunnels[i].host_ip, env.tunnels[i].port);
	guest_env_clear(&env);
	proxy_env_clear(&proxies);
	return text;
}

#define OUTSIDE(...)                            \
	(const char *const[])                   \
	{                                       \
		__VA_ARGS__ __VA_OPT__(, ) NULL \
	}
#define CONFIGURED(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void the_users_environment_goes_before_the_configuration_and_lower_case_before_capitals(void **state)
{
	assert_string_equal(made(OUTSIDE("HTTP_PROXY=http://big:1", "no_proxy=a,b"), CONFIGURED("A=1", "B=")),
			    "A=1 B= http_proxy=http://big:1 HTTP_PROXY=http://big:1 no_proxy=a,b NO_PROXY=a,b");
	assert_string_equal(made(OUTSIDE("HTTP_PROXY=http://big:1", "http_proxy=http://small:1"),
				 CONFIGURED("http_proxy=http://file:1", "ftp_proxy=http://file:2")),
			    "http_proxy=http://small:1 HTTP_PROXY=http://small:1 ftp_proxy=http://file:2 "
			    "FTP_PROXY=http://file:2");
	assert_string_equal(made(NULL, CONFIGURED("HTTPS_PROXY=http://file:1")),
			    "https_proxy=http://file:1 HTTPS_PROXY=http://file:1");
}

static void an_empty_proxy_is_none(void **state)
{
	assert_string_equal(made(OUTSIDE("http_proxy="), CONFIGURED("http_proxy=http://file:1", "X=y")), "X=y");
	assert_string_equal(made(OUTSIDE(), CONFIGURED("http_proxy=")), "");
}

static void a_proxy_on_loopback_gets_a_tunnel_and_one_elsewhere_does_not(void **state)
{
	static const struct {
		const char *value, *text, *tunnel;
	} rows[] = {
		{"http://127.0.0.1:3128", "http://127.0.0.1:3128", "localhost:3128"},
		{"http://localhost:3128/", "http://127.0.0.1:3128/", "localhost:3128"},
		{"http://LOCALHOST:3128", "http://127.0.0.1:3128", "localhost:3128"},
		{"http://[::1]:3128", "http://127.0.0.1:3128", "localhost:3128"},
		{"http://127.0.0.2:81", "http://127.0.0.1:81", "127.0.0.2:81"},
		{"http://me:p@ss@127.0.0.1:3128/x?y#z", "http://me:p@ss@127.0.0.1:3128/x?y#z", "localhost:3128"},
		{"localhost:3128", "127.0.0.1:3128", "localhost:3128"},
		{"http://localhost", "http://127.0.0.1:80", "localhost:80"},
		{"https://localhost", "https://127.0.0.1:443", "localhost:443"},
		{"socks5h://localhost", "socks5h://127.0.0.1:1080", "localhost:1080"},
		{"http://proxy.example:3128", NULL, NULL},
		{"http://127.0.0.1.example:3128", NULL, NULL},
		{"http://localhost@proxy:3128", NULL, NULL},
		{"http://10.127.0.1:3128", NULL, NULL},
		{"http://127.0.0.1:0", NULL, NULL},
		{"http://127.0.0.1:65536", NULL, NULL},
		{"http://127.0.0.1:x", NULL, NULL},
		{"http://[::1", NULL, NULL},
		{"http://[::1]x", NULL, NULL},
		{"http://", NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *text = rows[i].text ? rows[i].text : rows[i].value, *mark = rows[i].text ? "*" : "";
		char outside[128], expected[512];
		int n;

		snprintf(outside, sizeof(outside), "http_proxy=%s", rows[i].value);
		n = snprintf(expected, sizeof(expected), "http_proxy=%s%s HTTP_PROXY=%s%s", text, mark, text, mark);
		if (rows[i].tunnel)
			snprintf(expected + n, sizeof(expected) - (size_t)n, " >%s", rows[i].tunnel);
		assert_string_equal(made(OUTSIDE(outside), NULL, 0), expected);
	}
}

static void one_port_is_one_tunnel_and_no_proxy_names_none(void **state)
{
	assert_string_equal(made(OUTSIDE("http_proxy=http://localhost:1", "https_proxy=http://127.0.0.1:1",
					 "ftp_proxy=http://127.0.0.1:2", "no_proxy=localhost:3"),
				 NULL, 0),
			    "http_proxy=http://127.0.0.1:1* HTTP_PROXY=http://127.0.0.1:1* "
			    "https_proxy=http://127.0.0.1:1* HTTPS_PROXY=http://127.0.0.1:1* "
			    "ftp_proxy=http://127.0.0.1:2* FTP_PROXY=http://127.0.0.1:2* no_proxy=localhost:3 "
			    "NO_PROXY=localhost:3 >localhost:1 >localhost:2");
}

static void what_one_process_has_another_takes(void **state)
{
	char longest[PROXY_VALUE_MAX + 32];
	struct proxy_env one, two = {0};

	environment = OUTSIDE("https_proxy=http://a b", "NO_PROXY=");
	assert_int_equal(proxy_env_read(&one, get), 0);
	for (size_t i = 0; i < PROXY_VARIABLES; i++) {
		char *word = proxy_env_word(&one, i);

		if (word)
			assert_int_equal(proxy_env_take(&two, word), 0);
		free(word);
	}
	assert_true(proxy_env_equal(&one, &two));
	assert_int_equal(proxy_env_take(&two, "https_proxy=other"), 0);
	assert_false(proxy_env_equal(&one, &two));
	assert_int_equal(proxy_env_take(&two, "PATH=/tmp"), -EINVAL);
	assert_int_equal(proxy_env_take(&two, "https_proxy"), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "http_proxy=", 11);
	longest[11 + PROXY_VALUE_MAX + 1] = '\0';
	assert_int_equal(proxy_env_take(&two, longest), -EINVAL);
	longest[11 + PROXY_VALUE_MAX] = '\0';
	assert_int_equal(proxy_env_take(&two, longest), 0);
	proxy_env_clear(&one);
	proxy_env_clear(&two);
	assert_true(proxy_env_equal(&one, &two));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_users_environment_goes_before_the_configuration_and_lower_case_before_capitals),
		cmocka_unit_test(an_empty_proxy_is_none),
		cmocka_unit_test(a_proxy_on_loopback_gets_a_tunnel_and_one_elsewhere_does_not),
		cmocka_unit_test(one_port_is_one_tunnel_and_no_proxy_names_none),
		cmocka_unit_test(what_one_process_has_another_takes),
	};

	return cmocka_run_group_tests_name("guest_env", tests, NULL, NULL);
}
