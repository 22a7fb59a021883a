/* SPDX-License-Identifier: MIT */
/* NAME.yaml: what each key means, and what is said about each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_fields.h"
#include "config_yaml.h"

#define HOME "/home/me"

/* The problems of a text, one a line, behind the file's name; the configuration (or NULL) in *out where that is asked.
 */
static const char *problems_of_bytes(const char *text, size_t size, struct config **out)
{
	static char lines[8192];
	struct problems *problems = problems_new();
	struct config *config = NULL;
	int r = config_parse("f", text, size, HOME, problems, &config);
	size_t n = 0;

	lines[0] = '\0';
	for (size_t i = 0; problems_line(problems, i) != NULL; i++)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n, "%s%s", i > 0 ? "\n" : "",
				      problems_line(problems, i));
	assert_int_equal(r, problems_count(problems, PROBLEM_ERROR) > 0 ? -EINVAL : 0);
	problems_free(problems);
	if (out != NULL)
		*out = config;
	else
		config_free(config);
	return lines;
}

static const char *problems_of(const char *text)
{
	return problems_of_bytes(text, strlen(text), NULL);
}

static struct config *config_of(const char *text)
{
	struct config *config;
	const char *lines = problems_of_bytes(text, strlen(text), &config);

	if (config == NULL)
		fail_msg("%s", lines);
	return config;
}

static char *shown(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	config_show(config, out);
	fclose(out);
	return text;
}

struct mistake {
	const char *text;
	const char *lines;
};

static void expect_mistakes(const struct mistake *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *lines = problems_of(rows[i].text);

		if (strcmp(lines, rows[i].lines) != 0)
			fail_msg("for:\n%s\nexpected:\n%s\nfound:\n%s", rows[i].text, rows[i].lines, lines);
	}
}

#define EXPECT_MISTAKES(rows) expect_mistakes(rows, sizeof(rows) / sizeof((rows)[0]))

static void an_empty_file_is_the_defaults(void **state)
{
	static const char *const texts[] = {"", "\n", "# only a comment\n", "---\n", "--- {}\n", "\xef\xbb\xbf"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config *config = config_of(texts[i]), *fresh = config_new(HOME);

		assert_null(config->ssh.host);
		assert_int_equal(config->mount_count, 1);
		assert_true(config->default_mounts);
		assert_string_equal(config->mounts[0].location.path, HOME);
		assert_string_equal(config->mounts[0].mount_point, HOME);
		assert_false(config->mounts[0].writable);
		assert_true(config->mounts[0].mask);
		assert_int_equal(config->forward_count, 0);
		assert_int_equal(config->session_timeout_s, 86400);
		assert_int_equal(config->max_forwards, 4096);
		assert_true(config_equal(config, fresh));
		config_free(config);
		config_free(fresh);
	}
}

static void every_key_is_read(void **state)
{
	struct config *c = config_of("ssh:\n"
				     "  host: 192.168.64.5\n"
				     "  port: 2022\n"
				     "  user: me\n"
				     "  configFile: ~/.lima/default/ssh.config\n"
				     "  identityFile: \"~/.ssh/id_ed25519\"\n"
				     "  hostKey: \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n"
				     "  options: [\"ForwardAgent=no\", \"ProxyJump=a@b\"]\n"
				     "  forwardAgent: true\n"
				     "  direct: false\n"
				     "mounts:\n"
				     "- location: \"~\"\n"
				     "  acl: true\n"
				     "- location: ~/src//./x/\n"
				     "  mountPoint: /src/\n"
				     "  writable: true\n"
				     "  mask: false\n"
				     "  locks: host\n"
				     "  ownership: virtual\n"
				     "  uidMap: [{host: 1000, guest: 501}, {host: 0, guest: 4294967294}]\n"
				     "  gidMap:\n"
				     "  - host: 100\n"
				     "    guest: 200\n"
				     "    count: 3\n"
				     "portForwards:\n"
				     "- guestPort: 22\n"
				     "  ignore: true\n"
				     "- guestPortRange: [3000, 3099]\n"
				     "  hostPortRange:\n"
				     "  - 13000\n"
				     "  - 13099\n"
				     "  proto: tcp\n"
				     "  guestIPMustBeZero: true\n"
				     "  guestIP: 0.0.0.0\n"
				     "  hostIP: localhost\n"
				     "  process: ^node$\n"
				     "- {guestPort: 80, hostPort: 8080, static: true, reverse: false}\n"
				     "sessionTimeout: 1h30m\n"
				     "maxForwards: 10\n"
				     "guestCommand: /opt/homeport-guest -v\n"
				     "env: {A: \"b c\", _D1: 2, E: \"\"}\n"
				     "propagateProxyEnv: false\n"
				     "clock: step\n"
				     "hostResolver: {enabled: true, hosts: {a.example: 10.0.0.1, B: \"::1\"}}\n");

	assert_string_equal(c->ssh.host, "192.168.64.5");
	assert_int_equal(c->env_count, 3);
	assert_string_equal(c->env[0], "A=b c");
	assert_string_equal(c->env[1], "_D1=2");
	assert_string_equal(c->env[2], "E=");
	assert_false(c->propagate_proxy_env);
	assert_true(c->resolver.enabled);
	assert_true(c->ssh.forward_agent);
	assert_false(c->ssh.direct);
	assert_true(c->step_clock);
	assert_int_equal(c->resolver.host_count, 2);
	assert_string_equal(c->resolver.hosts[0], "a.example=10.0.0.1");
	assert_string_equal(c->resolver.hosts[1], "B=::1");
	assert_int_equal(c->ssh.port, 2022);
	assert_string_equal(c->ssh.user, "me");
	assert_string_equal(c->ssh.config_file.path, HOME "/.lima/default/ssh.config");
	assert_int_equal(c->ssh.config_file.line, 5);
	assert_int_equal(c->ssh.config_file.column, 15);
	assert_string_equal(c->ssh.identity_file.path, HOME "/.ssh/id_ed25519");
	assert_string_equal(c->ssh.host_key, "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	assert_int_equal(c->ssh.option_count, 2);
	assert_string_equal(c->ssh.options[1], "ProxyJump=a@b");
	assert_false(c->default_mounts);
	assert_int_equal(c->mount_count, 2);
	assert_string_equal(c->mounts[0].mount_point, HOME);
	assert_string_equal(c->mounts[1].location.path, HOME "/src/x");
	assert_string_equal(c->mounts[1].mount_point, "/src");
	assert_true(c->mounts[1].writable);
	assert_false(c->mounts[1].mask);
	assert_true(c->mounts[1].host_locks && !c->mounts[0].host_locks);
	assert_true(c->mounts[1].virtual_owners && !c->mounts[0].virtual_owners);
	assert_true(c->mounts[0].acl && !c->mounts[1].acl);
	assert_int_equal(c->mounts[0].uid_map_count + c->mounts[0].gid_map_count, 0);
	assert_int_equal(c->mounts[1].uid_map_count, 2);
	assert_int_equal(c->mounts[1].uid_map[0].guest, 501);
	assert_int_equal(c->mounts[1].uid_map[0].count, 1);
	assert_int_equal(c->mounts[1].uid_map[1].guest, 4294967294u);
	assert_int_equal(c->mounts[1].gid_map_count, 1);
	assert_int_equal(c->mounts[1].gid_map[0].count, 3);
	assert_int_equal(c->forward_count, 3);
	assert_true(c->forwards[0].ignore);
	assert_int_equal(c->forwards[1].guest_port_range.last, 3099);
	assert_int_equal(c->forwards[1].host_port_range.first, 13000);
	assert_int_equal(c->forwards[1].proto, RULE_PROTO_TCP);
	assert_int_equal(c->forwards[1].guest_ip_must_be_zero, RULE_YES);
	assert_string_equal(c->forwards[1].host_ip, "localhost");
	assert_string_equal(c->forwards[1].origin, "portForwards[1]");
	assert_true(c->forwards[2].is_static);
	assert_int_equal(c->session_timeout_s, 5400);
	assert_int_equal(c->max_forwards, 10);
	assert_string_equal(c->guest_command, "/opt/homeport-guest -v");
	config_free(c);
}

static void an_empty_list_of_mounts_is_no_mount(void **state)
{
	struct config *config = config_of("mounts: []\n");

	assert_int_equal(config->mount_count, 0);
	assert_false(config->default_mounts);
	config_free(config);
}

static void an_unknown_key_is_an_error_that_names_the_nearest_right_one(void **state)
{
	static const struct mistake rows[] = {
		{"mount:\n- location: /a\n", "f:1:1: unknown key \"mount\"; did you mean \"mounts\"?"},
		{"ssh:\n  prot: 1\n", "f:2:3: unknown key \"prot\"; did you mean \"port\"?"},
		{"mounts:\n- location: /a\n  writeable: true\n",
		 "f:3:3: unknown key \"writeable\"; did you mean \"writable\"?"},
		{"portForwards:\n- guestport: 80\n", "f:2:3: unknown key \"guestport\"; did you mean \"guestPort\"?"},
		{"portForwards:\n- guestPort: 80\n  guestIp: 1.2.3.4\n",
		 "f:3:3: unknown key \"guestIp\"; did you mean \"guestIP\"?"},
		{"ssh:\n  forwardX11Trusted: true\n",
		 "f:2:3: unknown key \"forwardX11Trusted\"; here are: host, port, user, configFile, identityFile, "
		 "hostKey, options, forwardAgent, direct"},
	};

	EXPECT_MISTAKES(rows);
}

static void a_value_of_the_wrong_type_is_an_error(void **state)
{
	static const struct mistake rows[] = {
		{"mounts:\n- location: /a\n  writable: flase\n",
		 "f:3:13: writable: expected true or false, found flase"},
		{"mounts:\n- location: /a\n  writable: yes\n", "f:3:13: writable: expected true or false, found yes"},
		{"mounts:\n- location: /a\n  writable: \"true\"\n",
		 "f:3:13: writable: expected true or false, found the text \"true\"; remove the quotes"},
		{"mounts:\n- location: /a\n  acl: posix\n", "f:3:8: acl: expected true or false, found posix"},
		{"mounts:\n- location: /a\n  acl: \"true\"\n",
		 "f:3:8: acl: expected true or false, found the text \"true\"; remove the quotes"},
		{"mounts:\n- location: /a\n  acl: {}\n", "f:3:8: acl: expected true or false, found a mapping"},
		{"mounts:\n- location: /a\n  writable: 1\n", "f:3:13: writable: expected true or false, found 1"},
		{"mounts:\n- location: /a\n  writable: True\n", "f:3:13: writable: expected true or false, found True"},
		{"mounts:\n- location: /a\n  writable:\n", "f:3:12: writable: expected true or false, found nothing"},
		{"mounts:\n- location: /a\n  writable: [true]\n",
		 "f:3:13: writable: expected true or false, found a list"},
		{"ssh:\n  port: ssh\n", "f:2:9: port: expected a number, found ssh"},
		{"ssh:\n  port: \"22\"\n", "f:2:9: port: expected a number, found the text \"22\"; remove the quotes"},
		{"ssh:\n  port: 0x16\n", "f:2:9: port: expected a number, found 0x16"},
		{"ssh:\n  port: 022\n", "f:2:9: port: 022 begins with 0, which some read as octal; remove the 0"},
		{"ssh:\n  port: {a: 1}\n", "f:2:9: port: expected a port, found a mapping"},
		{"ssh:\n  user: 1000\n", "f:2:9: user: expected a text, found 1000; write \"1000\" if you mean it"},
		{"ssh:\n  user: on\n", "f:2:9: user: expected a text, found on; write \"on\" if you mean it"},
		{"ssh:\n  user:\n", "f:2:8: user: has no value; write one or remove the key"},
		{"ssh:\n  user: \"\"\n", "f:2:9: user: is empty; write a value or remove the key"},
		{"ssh: me@host\n", "f:1:6: ssh: expected keys with values, found text"},
		{"ssh:\nmounts: []\n",
		 "f:1:1: ssh: expected keys with values, found nothing; remove the key or give it a value"},
		{"mounts:\n", "f:1:1: mounts: expected a list, found nothing; remove the key or give it a value"},
		{"mounts: /a\n", "f:1:9: mounts: expected a list, found text"},
		{"mounts:\n- /a\n", "f:2:3: mounts: expected an entry of keys with values, found text"},
		{"mounts:\n- location: ~\n", "f:2:13: location: an unquoted ~ is nothing in YAML; write \"~\""},
		{"sessionTimeout: 24\n",
		 "f:1:17: sessionTimeout: expected a time such as 24h, 30m or 10s, at most 365d, found \"24\""},
		{"sessionTimeout: 0s\n",
		 "f:1:17: sessionTimeout: expected a time such as 24h, 30m or 10s, at most 365d, found \"0s\""},
		{"sessionTimeout: 99999999999999999999d\n", "f:1:17: sessionTimeout: expected a time such as 24h, 30m "
							    "or 10s, at most 365d, found \"99999999999999999999d\""},
		{"portForwards:\n- proto: sctp\n", "f:2:10: proto: expected tcp, udp or any, found \"sctp\""},
		{"portForwards:\n- guestPortRange: [1]\n",
		 "f:2:19: guestPortRange: expected two ports, such as [3000, 3099]"},
		{"portForwards:\n- guestPortRange: [1, two]\n", "f:2:23: guestPortRange: expected a number, found two"},
		{"portForwards:\n- guestPortRange: 1-2\n",
		 "f:2:19: guestPortRange: expected a list of two ports, such as [3000, 3099], found text"},
		{"- a\n- b\n", "f:1:1: expected keys such as \"ssh:\" and \"mounts:\", found a list"},
		{"just words\n", "f:1:1: expected keys such as \"ssh:\" and \"mounts:\", found text"},
	};

	EXPECT_MISTAKES(rows);
}

static void everything_that_is_wrong_with_a_rule_is_told(void **state)
{
	static const struct mistake rows[] = {
		{"portForwards:\n- guestIP: a\n  hostIP: b\n  process: \"(\"\n  guestPort: 80\n",
		 "f:2:12: guestIP: \"a\" is not an IP address\n"
		 "f:3:11: hostIP: \"b\" is neither an IP address nor localhost\n"
		 "f:4:12: process: \"(\" is not a regular expression: Unmatched ( or \\("},
		/* A port that is wrong is not measured against those that are right. */
		{"portForwards:\n- guestPort: x\n  hostPortRange: [1, 2]\n  hostIP: b\n",
		 "f:2:14: guestPort: expected a number, found x\n"
		 "f:4:11: hostIP: \"b\" is neither an IP address nor localhost"},
		{"portForwards:\n- guestIP: a\n  guestIPMustBeZero: true\n  guestPort: 1\n  static: true\n  ignore: "
		 "true\n",
		 "f:2:12: guestIP: \"a\" is not an IP address\n"
		 "f:5:11: static: goes not with ignore; remove one of the two"},
	};

	EXPECT_MISTAKES(rows);
}

/* What is right beside what is wrong is there to be looked at. */
static void the_rest_of_a_wrong_configuration_can_be_had(void **state)
{
	static const char text[] = "mounts:\n- location: /a\n  writable: maybe\n- location: ~/b\nport: 1\n";
	struct problems *problems = problems_new();
	struct config *config = NULL;

	assert_int_equal(config_parse_rest("f", text, strlen(text), HOME, problems, &config), -EINVAL);
	assert_int_equal(problems_count(problems, PROBLEM_ERROR), 2);
	assert_non_null(config);
	assert_string_equal(config->mounts[0].location.path, "/a");
	assert_string_equal(config->mounts[1].location.path, HOME "/b");
	config_free(config);
	assert_int_equal(config_parse_rest("f", "a: [", 4, HOME, problems, &config), -EINVAL);
	assert_null(config);
	problems_free(problems);
}

static void problems_are_sorted_as_they_stand_in_the_file(void **state)
{
	static const unsigned at[][2] = {{7, 1}, {2, 9}, {0, 0}, {2, 3}, {7, 1}};
	static const char *const sorted[] = {"f: 2", "f:2:3: 3", "f:2:9: 1", "f:7:1: 0", "f:7:1: 4"};
	struct problems *problems = problems_new();

	for (size_t i = 0; i < 5; i++)
		problems_add(problems, PROBLEM_ERROR, (struct problem_place){"f", at[i][0], at[i][1]}, "%zu", i);
	problems_sort(problems);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(problems_line(problems, i), sorted[i]);
	problems_free(problems);
}

static void a_number_out_of_range_is_an_error(void **state)
{
	static const struct mistake rows[] = {
		{"ssh:\n  port: 0\n", "f:2:9: port: 0 is out of range; write 1 to 65535"},
		{"ssh:\n  port: 65536\n", "f:2:9: port: 65536 is out of range; write 1 to 65535"},
		{"ssh:\n  port: 99999999999999999999\n",
		 "f:2:9: port: 99999999999999999999 is out of range; write 1 to 65535"},
		{"ssh:\n  port: -1\n", "f:2:9: port: expected a number, found -1"},
		{"maxForwards: 16385\n", "f:1:14: maxForwards: 16385 is out of range; write 0 to 16384"},
	};

	EXPECT_MISTAKES(rows);
}

static void a_duplicate_is_an_error(void **state)
{
	static const struct mistake rows[] = {
		{"ssh:\n  port: 1\n  port: 2\n", "f:3:3: port: is there twice, first in line 2; remove one"},
		{"mounts: []\nssh: {}\nmounts: []\n", "f:3:1: mounts: is there twice, first in line 1; remove one"},
		{"mounts:\n- location: /a\n- location: /b\n  mountPoint: /a/.\n",
		 "f:3:13: mountPoint: \"/a\" is taken by the mount in line 2; name another"},
	};

	EXPECT_MISTAKES(rows);
}

static void nested_mounts_and_one_location_twice_are_fine(void **state)
{
	struct config *config = config_of("mounts:\n- location: /a\n- location: /a/b\n  writable: true\n"
					  "- location: /a\n  mountPoint: /other\n");

	assert_int_equal(config->mount_count, 3);
	config_free(config);
}

static void a_bad_path_is_an_error(void **state)
{
	static const struct mistake rows[] = {
		{"mounts:\n- location: src\n",
		 "f:2:13: location: \"src\" is not an absolute path; begin it with / or ~/"},
		{"mounts:\n- location: ~you/src\n",
		 "f:2:13: location: \"~you/src\" only ~ and ~/\xe2\x80\xa6 stand for a home; write another user's as a "
		 "whole path"},
		{"mounts:\n- location: /a/../b\n",
		 "f:2:13: location: \"/a/../b\" has a '..' in it; write the path without"},
		{"mounts:\n- location: /a\n  mountPoint: /\n",
		 "f:3:15: mountPoint: \"/\" / would hide the whole guest; name a folder"},
		{"mounts:\n- location: /a\n  mountPoint: b\n",
		 "f:3:15: mountPoint: \"b\" is not an absolute path; begin it with /"},
		{"mounts:\n- location: /a\n  mountPoint: ~/b\n",
		 "f:3:15: mountPoint: \"~/b\" is a path of the guest, where ~ is not known here; write it as a whole"},
		{"mounts:\n- location: /a\n  mountPoint: /b/..\n",
		 "f:3:15: mountPoint: \"/b/..\" has a '..' in it; write the path without"},
		{"mounts:\n- location: /\n",
		 "f:2:3: mountPoint: \"/\" (the default, the location) / would hide the whole guest; name a folder"},
		{"mounts:\n- writable: true\n",
		 "f:2:3: location: is missing; say which folder of the host this mount shows"},
	};

	EXPECT_MISTAKES(rows);
}

static void a_map_of_ids_is_checked_entry_by_entry(void **state)
{
#define IN_MAP(key, text) "mounts:\n- location: /a\n  " key ":\n" text
	static const struct mistake rows[] = {
		{IN_MAP("uidMap", "  - host: 1\n"), "f:4:5: guest: is missing; say which number it is there"},
		{IN_MAP("gidMap", "  - {}\n"), "f:4:5: host: is missing; say which number it is there\n"
					       "f:4:5: guest: is missing; say which number it is there"},
		{IN_MAP("uidMap", "  - {host: 1, guest: 1, cuont: 1}\n"),
		 "f:4:25: unknown key \"cuont\"; did you mean \"count\"?"},
		{IN_MAP("uidMap", "  - {host: me, guest: 1}\n"), "f:4:12: host: expected a number, found me"},
		{IN_MAP("uidMap", "  - {host: \"1\", guest: 1}\n"),
		 "f:4:12: host: expected a number, found the text \"1\"; remove the quotes"},
		{IN_MAP("uidMap", "  - {host: 1, guest: 4294967295}\n"),
		 "f:4:22: guest: 4294967295 is out of range; write 0 to 4294967294"},
		{IN_MAP("uidMap", "  - {host: 1, guest: 1, count: 0}\n"),
		 "f:4:32: count: 0 is out of range; write 1 to 4294967295"},
		{IN_MAP("gidMap", "  - {host: 1, guest: 4294967290, count: 6}\n"),
		 "f:4:5: count: the last number is beyond 4294967294"},
		{IN_MAP("uidMap", "  - {host: 1, guest: 1, count: 5}\n  - {host: 7, guest: 7}\n"
				  "  - {host: 5, guest: 9}\n  - {host: 9, guest: 7}\n"),
		 "f:6:5: uidMap: an entry before has some of these numbers of the host or of the guest; each may be in "
		 "one\n"
		 "f:7:5: uidMap: an entry before has some of these numbers of the host or of the guest; each may be in "
		 "one"},
		{"mounts:\n- location: /a\n  uidMap: 1000:501\n", "f:3:11: uidMap: expected a list, found text"},
		{"mounts:\n- location: /a\n  gidMap: [5]\n",
		 "f:3:12: gidMap: expected an entry of keys with values, found text"},
	};
#undef IN_MAP

	EXPECT_MISTAKES(rows);
}

static void a_map_of_ids_is_bounded(void **state)
{
	char text[2048];
	size_t n = (size_t)sprintf(text, "mounts:\n- location: /a\n  gidMap:\n");

	for (unsigned i = 0; i <= ID_RANGES_MAX; i++)
		n += (size_t)sprintf(text + n, "  - {host: %u, guest: %u}\n", i, i);
	assert_string_equal(problems_of(text), "f:20:5: gidMap: there are more than 16; remove some");
}

static void variables_are_names_with_texts(void **state)
{
	static const struct mistake rows[] = {
		{"env: {1A: b, \"A=B\": c, \"\": d, A-B: e}\n",
		 "f:1:7: env: \"1A\" is no variable's name\nf:1:14: env: \"A=B\" is no variable's name\n"
		 "f:1:24: env: \"\" is no variable's name\nf:1:31: env: \"A-B\" is no variable's name"},
		{"env: {A: , B: ~, C: [], D: {}}\n", "f:1:10: env: expected a text for A; \"\" is an empty one\n"
						     "f:1:15: env: expected a text for B; \"\" is an empty one\n"
						     "f:1:21: env: expected a text for C; \"\" is an empty one\n"
						     "f:1:28: env: expected a text for D; \"\" is an empty one"},
		{"env: {A: 1, B: 2, A: 3}\n", "f:1:19: env: A is there twice; remove one"},
		{"hostResolver: {hosts: {a..b: 1.1.1.1, .a: 1.1.1.1, a.: 1.1.1.1, \"\": 1.1.1.1, a: b, c: 1.1, d: }}\n",
		 "f:1:24: hosts: \"a..b\" is no name of a machine\nf:1:39: hosts: \".a\" is no name of a machine\n"
		 "f:1:52: hosts: \"a.\" is no name of a machine\nf:1:65: hosts: \"\" is no name of a machine\n"
		 "f:1:81: hosts: expected an IP address for a\nf:1:87: hosts: expected an IP address for c\n"
		 "f:1:95: hosts: expected an IP address for d"},
		{"env: [A=b]\n", "f:1:6: env: expected names with values, found a list"},
		{"clock: true\n", "f:1:8: clock: expected keep or step, found \"true\""},
		{"propagateProxyEnv: 1\n", "f:1:20: propagateProxyEnv: expected true or false, found 1"},
	};
	char text[CONFIG_VARIABLES_BYTES + 64];

	EXPECT_MISTAKES(rows);
	memset(text, 'x', sizeof(text));
	memcpy(text, "env: {A: ", 9);
	strcpy(text + 9 + CONFIG_VARIABLES_BYTES, "}\n");
	assert_string_equal(problems_of(text), "f:1:7: env: all of it is longer than 12288 bytes");
}

static void what_is_not_built_yet_is_an_error_and_not_silence(void **state)
{
	static const struct mistake rows[] = {
		{"mounts:\n- location: /a\n  ownership: no\n",
		 "f:3:14: ownership: expected host or virtual, found \"no\""},
		{"mounts:\n- location: /a\n  ownership: virtual\n  acl: true\n",
		 "f:2:3: acl: true does not go with ownership: virtual; leave one of them out"},
		{"mounts:\n- location: /a\n  locks: true\n", "f:3:10: locks: expected guest or host, found \"true\""},
		{"mounts:\n- location: /a\n  sync: true\n", "f:3:3: sync: not supported by this version; remove it"},
	};

	EXPECT_MISTAKES(rows);
}

static void rules_that_are_understood_and_not_done_are_warnings(void **state)
{
	static const struct mistake rows[] = {
		{"portForwards:\n- guestSocket: /run/docker.sock\n  hostSocket: docker.sock\n", ""},
		{"portForwards:\n- guestPort: 22\n  reverse: true\n", ""},
		{"portForwards:\n- guestPort: 80\n- guestPort: 53\n  proto: udp\n", ""},
		{"portForwards:\n- guestPort: 22\n  hostPort: 2222\n",
		 "f:2:3: warning: portForwards[0]: port 22 of the guest is never forwarded; the rule has no effect"},
		{"portForwards:\n- guestPort: 22\n  ignore: true\n", ""},
	};

	EXPECT_MISTAKES(rows);
}

static void the_fields_of_a_rule_must_fit_together(void **state)
{
	static const struct mistake rows[] = {
		{"portForwards:\n- guestPortRange: [1, 10]\n  hostPortRange: [1, 9]\n",
		 "f:3:18: hostPortRange: 9 ports cannot stand for the guest's 10; make both as long"},
		{"portForwards:\n- hostPort: 80\n",
		 "f:2:3: hostPortRange: 1 ports cannot stand for the guest's 65535; make both as long"},
		{"portForwards:\n- guestIP: 127.0.0.1\n  guestIPMustBeZero: true\n",
		 "f:3:22: guestIPMustBeZero: true goes only with guestIP 0.0.0.0, not with 127.0.0.1"},
		{"portForwards:\n- guestSocket: /a\n  hostPort: 53\n  proto: udp\n  reverse: true\n",
		 "f:2:16: guestSocket: carries no datagrams; remove it or proto: udp"},
		{"portForwards:\n- guestPort: 1\n  hostIP: myhost\n",
		 "f:3:11: hostIP: \"myhost\" is neither an IP address nor localhost"},
	};

	EXPECT_MISTAKES(rows);
}

static void the_words_of_ssh_are_checked(void **state)
{
	static const struct mistake rows[] = {
		{"ssh:\n  host: -oProxyCommand=x\n",
		 "f:2:9: host: begins with '-', which ssh would take for an option"},
		{"ssh:\n  host: a b\n", "f:2:9: host: has a character no host name has"},
		{"ssh:\n  user: \"a;b\"\n", "f:2:9: user: has a character no user name has"},
		{"ssh:\n  hostKey: SHA256:abc\n", "f:2:12: hostKey: is not a fingerprint; write SHA256:\xe2\x80\xa6 as "
						  "ssh-keygen -lf prints it"},
		{"ssh:\n  options: [ForwardAgent]\n", "f:2:13: options: is not an option of ssh; write Key=Value"},
	};

	EXPECT_MISTAKES(rows);
}

static void what_is_not_plain_yaml_is_refused_where_it_stands(void **state)
{
	static const struct mistake rows[] = {
		{"ssh: &a {port: 1}\n",
		 "f:1:6: anchors (&name) and tags (!name) are not supported; write the plain value"},
		{"ssh: !!map {port: 1}\n",
		 "f:1:6: anchors (&name) and tags (!name) are not supported; write the plain value"},
		{"ssh:\n  host: !x a\n  user: *u\n",
		 "f:2:9: anchors (&name) and tags (!name) are not supported; write the plain value\n"
		 "f:3:9: aliases (*name) are not supported; write the value again"},
		{"ssh: {}\n---\nmounts: []\n", "f:2:1: a second document begins here; put everything into one"},
		{"? [a]\n: b\n", "f:1:3: a key must be a word, not a list"},
		{"ssh:\n  user: \"a\\0b\"\n", "f:2:9: a NUL cannot be part of a text; remove \\0"},
		{"ssh:\n\tport: 1\n",
		 "f:2:1: this is not YAML: while scanning for the next token: found character that cannot start any "
		 "token; look at the quotes, the colons and the indentation (spaces, no tabs)"},
		{"ssh: [\n", "f:2:1: this is not YAML: while parsing a flow node: did not find expected node content; "
			     "look at the quotes, the colons and the indentation (spaces, no tabs)"},
		{"ssh:\n  user: \xff\n", "f:2:9: the byte 0xff is not UTF-8; save the file as UTF-8"},
		{"a: \xc0\xaf\n", "f:1:4: the byte 0xc0 is not UTF-8; save the file as UTF-8"},
		{"# \x1b[31m\n", "f:1:3: the character U+001B is not allowed; remove it"},
		{"[[[[[[[[[[[[[[[[[[[[[[\n", "f:1:18: this is nested too deeply; nothing in a configuration is"},
	};

	EXPECT_MISTAKES(rows);
	assert_string_equal(problems_of_bytes("ssh: {}\n\0", 9, NULL),
			    "f:2:1: the character U+0000 is not allowed; remove it");
}

static void all_mistakes_are_told_at_once(void **state)
{
	assert_string_equal(problems_of("ssh:\n  prot: 1\nmounts:\n- location: a\n  writable: flase\nportForwards:\n"
					"- guestPort: 0\n- guestPort: 1\n  hostIP: x\n"),
			    "f:2:3: unknown key \"prot\"; did you mean \"port\"?\n"
			    "f:4:13: location: \"a\" is not an absolute path; begin it with / or ~/\n"
			    "f:5:13: writable: expected true or false, found flase\n"
			    "f:7:14: guestPort: 0 is out of range; write 1 to 65535\n"
			    "f:9:11: hostIP: \"x\" is neither an IP address nor localhost");
}

static void the_number_of_mounts_and_the_size_of_a_file_are_bounded(void **state)
{
	char *text = calloc(1, CONFIG_SIZE_MAX + 2);
	size_t n = (size_t)sprintf(text, "mounts:\n");

	for (unsigned i = 0; i < CONFIG_MOUNTS_MAX + 3; i++)
		n += (size_t)sprintf(text + n, "- location: /%u\n", i);
	assert_string_equal(problems_of(text), "f:66:3: mounts: there are more than 64; remove some");
	memset(text, '\n', CONFIG_SIZE_MAX + 1);
	assert_string_equal(problems_of(text), "f: is larger than 1048576 bytes; a configuration is shorter");
	text[CONFIG_SIZE_MAX] = '\0';
	assert_string_equal(problems_of(text), "");
	free(text);
}

static void a_megabyte_of_mistakes_is_told_in_a_hundred_lines(void **state)
{
	struct problems *problems = problems_new();
	struct config *config = NULL;
	char *text = calloc(1, 300000), *printed = NULL;
	size_t n = 0, size, lines = 0;
	FILE *out = open_memstream(&printed, &size);

	for (int i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "key%d: 1\n", i);
	assert_int_equal(config_parse("f", text, n, HOME, problems, &config), -EINVAL);
	problems_print(problems, out);
	fclose(out);
	for (char *p = printed; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, PROBLEMS_MAX + 1);
	assert_non_null(strstr(printed, "\nand 19900 more\n"));
	free(printed);
	free(text);
	problems_free(problems);
}

static void what_is_shown_reads_back_as_the_same(void **state)
{
	static const char *const texts[] = {
		"",
		"mounts: []\n",
		"ssh: {host: h, port: 2, user: u, options: [\"A=b\", \"C=d e\"], direct: false}\nmaxForwards: "
		"0\nsessionTimeout: "
		"90s\n",
		"mounts:\n- location: \"/a\\tb\\u2028\\\"\\\\\xc3\xa4\\x85\\uFEFF\"\n  mountPoint: /x\n  mask: false\n"
		"- location: ~/src\n  writable: true\n  locks: host\n- location: /b\n  locks: guest\n  ownership: "
		"host\n- location: /c\n  "
		"ownership: virtual\n",
		"mounts:\n- location: /a\n  uidMap:\n  - {host: 1, guest: 2}\n  - {host: 5, guest: 6, count: 7}\n"
		"  gidMap: [{count: 4294967295, host: 0, guest: 0}]\n- location: /b\n  uidMap: []\n  acl: true\n"
		"- location: /c\n  acl: false\n",
		"env: {A: \"b\\n'\", B: 1.50, C: yes}\npropagateProxyEnv: false\n",
		"hostResolver: {hosts: {a.b-c: 10.0.0.1, _d: \"::1\"}, enabled: true}\n",
		"portForwards:\n- {}\n- guestPortRange: [1, 2]\n  hostPortRange: [3, 4]\n  hostIP: \"::1\"\n"
		"- {guestIP: \"::\", ignore: true, proto: tcp, process: \"^a|b$\"}\n- guestIPMustBeZero: false\n"
		"  guestIP: 0.0.0.0\n  guestPort: 80\n  hostPort: 8080\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config *first = config_of(texts[i]), *second;
		char *text = shown(first), *again;

		second = config_of(text);
		again = shown(second);
		assert_string_equal(text, again);
		assert_true(config_equal(first, second));
		assert_int_equal(first->default_mounts, second->default_mounts);
		free(text);
		free(again);
		config_free(first);
		config_free(second);
	}
}

static void what_is_shown_is_the_effective_configuration(void **state)
{
	struct config *config =
		config_of("ssh: {host: vm}\nmounts:\n- location: ~/src\nportForwards:\n- guestPort: 80\n"
			  "  ignore: true\n");
	char *text = shown(config);

	assert_string_equal(text, "ssh:\n"
				  "  host: \"vm\"\n"
				  "  direct: true\n"
				  "mounts:\n"
				  "- location: \"/home/me/src\"\n"
				  "  mountPoint: \"/home/me/src\"\n"
				  "  writable: false\n"
				  "  mask: true\n"
				  "portForwards:\n"
				  "- guestPort: 80\n"
				  "  ignore: true\n"
				  "sessionTimeout: 24h\n"
				  "maxForwards: 4096\n"
				  "propagateProxyEnv: true\n");
	free(text);
	config_free(config);
}

static void a_difference_is_told_by_key(void **state)
{
	struct config *running = config_of("ssh: {host: vm}\nmounts:\n- location: /a\n- location: /b\n");
	struct config *wanted = config_of("ssh: {host: vm, port: 2022}\nmounts:\n- location: /c\n- location: /b\n"
					  "  writable: true\nportForwards:\n- guestPort: 1\nsessionTimeout: 1h\n");
	struct config *same = config_of("ssh: {host: vm}\nmounts:\n- location: /b\n- location: /a\n");
	struct config *mapped = config_of("ssh: {host: vm}\nmounts:\n- location: /b\n  locks: host\n  uidMap: "
					  "[{host: 1, guest: 2}]\n- location: /a\n");
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(config_diff(running, wanted, out), 6);
	fclose(out);
	assert_string_equal(text, "ssh.port: nothing here, 2022 wanted\n"
				  "mount /a: /a, read-only here, not mounted wanted\n"
				  "mount /b: /b, read-only here, /b, writable wanted\n"
				  "mount /c: not mounted here, /c, read-only wanted\n"
				  "portForwards: other rules here than wanted\n"
				  "sessionTimeout: 24h here, 1h wanted\n");
	free(text);
	out = open_memstream(&text, &size);
	assert_int_equal(config_diff(running, same, out), 0);
	fclose(out);
	free(text);
	out = open_memstream(&text, &size);
	assert_int_equal(config_diff(running, mapped, out), 1);
	fclose(out);
	assert_string_equal(text, "mount /b: other locks, uidMap here than wanted\n");
	free(text);
	config_free(mapped);
	assert_false(config_equal(running, wanted));
	assert_true(config_equal(running, same)); /* the order of mounts is no difference */
	config_free(running);
	config_free(wanted);
	config_free(same);
}

static void a_command_is_a_path_or_a_list_of_words(void **state)
{
	static const struct mistake mistakes[] = {
		{"onForward: notify\n", "f:1:12: onForward: \"notify\" is not an absolute path; begin it with / or ~/"},
		{"onForward: []\n", "f:1:12: onForward: expected a program's path, or a list that begins with one"},
		{"onForward: {a: b}\n", "f:1:12: onForward: expected a program's path, or a list that begins with one"},
		{"onForward: [x, [y]]\n", "f:1:16: onForward: expected a text, found a list"},
		{"onForward: [./x]\n", "f:1:13: onForward: \"./x\" is not an absolute path; begin it with / or ~/"},
	};
	struct config *path = config_of("onForward: ~/bin/told\n");
	struct config *list = config_of("onForward: [notify-send, -u, \"$x; y\"]\n");
	struct config *none = config_of("");
	char *text = shown(list);

	assert_int_equal(path->on_forward_count, 1);
	assert_string_equal(path->on_forward[0], "/home/me/bin/told");
	assert_int_equal(list->on_forward_count, 3);
	assert_string_equal(list->on_forward[0], "notify-send");
	assert_non_null(strstr(text, "onForward: [\"notify-send\", \"-u\", \"$x; y\"]\n"));
	assert_false(config_same_command(path, list));
	config_swap_live(path, none);
	assert_int_equal(path->on_forward_count, 0);
	assert_int_equal(none->on_forward_count, 1);
	expect_mistakes(mistakes, sizeof(mistakes) / sizeof(mistakes[0]));
	free(text);
	config_free(path);
	config_free(list);
	config_free(none);
}

/* With everything that has memory of its own. */
#define FULL                                                                                                      \
	"ssh: {host: vm, user: me, configFile: ~/f, identityFile: ~/i, hostKey: 'SHA256:"                         \
	"0123456789012345678901234567890123456789012', options: [A=1, B=2]}\nmounts:\n- location: /a\n  uidMap: " \
	"[{host: 1, guest: 2}]\nportForwards:\n- {guestPort: 80, hostIP: localhost, process: x}\nguestCommand: g\n"

static void a_clone_is_equal_and_has_memory_of_its_own(void **state)
{
	struct config *config = config_of(FULL), *clone = config_clone(config);
	struct config_mount mount;
	struct rule_spec rule;
	char *before = shown(config), *after;

	assert_true(config_equal(config, clone));
	assert_string_equal(clone->forwards[0].origin, "portForwards[0]");
	assert_string_equal(clone->mounts[0].location.where, config->mounts[0].location.where);
	assert_int_equal(config_mount_clone(&config->mounts[0], &mount), 0);
	assert_int_equal(config_forward_clone(&config->forwards[0], &rule), 0);
	config_free(config);
	after = shown(clone);
	assert_string_equal(before, after);
	assert_string_equal(mount.mount_point, "/a");
	assert_string_equal(rule.process, "x");
	config_mount_clear(&mount);
	config_forward_clear(&rule);
	config_free(clone);
	free(before);
	free(after);
}

static void what_a_running_session_can_change_is_exchanged_and_the_rest_is_told(void **state)
{
	struct config *running = config_of(FULL), *same = config_of(FULL);
	struct config *wanted = config_of("ssh: {host: vm}\nmaxForwards: 7\nsessionTimeout: 1h\nguestCommand: g\n");
	char *text = NULL;
	size_t size;
	FILE *out;

	config_swap_live(running, wanted);
	assert_true(running->default_mounts);
	assert_int_equal(running->forward_count, 0);
	assert_int_equal(running->max_forwards, 7);
	assert_string_equal(running->ssh.user, "me");
	assert_int_equal(wanted->mount_count, 1);
	out = open_memstream(&text, &size);
	assert_int_equal(config_diff_session(running, wanted, out), 6);
	fclose(out);
	assert_non_null(strstr(text, "ssh.user: \"me\" here, nothing wanted\n"));
	assert_non_null(strstr(text, "sessionTimeout: 24h here, 1h wanted\n"));
	assert_null(strstr(text, "mount"));
	assert_null(strstr(text, "portForwards"));
	free(text);
	/* The guest was told at the beginning whether its ports are wanted. */
	wanted->max_forwards = 0;
	config_swap_live(wanted, same);
	assert_int_equal(wanted->max_forwards, 0);
	config_free(running);
	config_free(wanted);
	config_free(same);
}

static void the_rules_of_a_configuration_are_matched_in_its_order(void **state)
{
	struct config *config = config_of("portForwards:\n- guestPort: 80\n  hostPort: 8080\n- guestPort: 80\n"
					  "  ignore: true\n");
	struct rules *rules = config_rules(config, 0);
	struct listener_key key = {
		.proto = RULE_PROTO_TCP, .family = 2 /* AF_INET */, .address = {127, 0, 0, 1}, .port = 80};
	struct rule_verdict verdict;

	rules_match(rules, &key, &verdict);
	assert_int_equal(verdict.action, RULE_FORWARD);
	assert_int_equal(verdict.host_port, 8080);
	assert_string_equal(verdict.reason, "portForwards[0]");
	rules_free(rules);
	config_free(config);
}

static void a_home_of_the_root_directory_gives_no_default_mount(void **state)
{
	struct config *config = config_new("/");

	assert_int_equal(config->mount_count, 0);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_is_the_defaults),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(an_empty_list_of_mounts_is_no_mount),
		cmocka_unit_test(an_unknown_key_is_an_error_that_names_the_nearest_right_one),
		cmocka_unit_test(a_value_of_the_wrong_type_is_an_error),
		cmocka_unit_test(everything_that_is_wrong_with_a_rule_is_told),
		cmocka_unit_test(the_rest_of_a_wrong_configuration_can_be_had),
		cmocka_unit_test(problems_are_sorted_as_they_stand_in_the_file),
		cmocka_unit_test(a_number_out_of_range_is_an_error),
		cmocka_unit_test(a_duplicate_is_an_error),
		cmocka_unit_test(nested_mounts_and_one_location_twice_are_fine),
		cmocka_unit_test(a_bad_path_is_an_error),
		cmocka_unit_test(a_map_of_ids_is_checked_entry_by_entry),
		cmocka_unit_test(a_map_of_ids_is_bounded),
		cmocka_unit_test(variables_are_names_with_texts),
		cmocka_unit_test(what_is_not_built_yet_is_an_error_and_not_silence),
		cmocka_unit_test(rules_that_are_understood_and_not_done_are_warnings),
		cmocka_unit_test(the_fields_of_a_rule_must_fit_together),
		cmocka_unit_test(the_words_of_ssh_are_checked),
		cmocka_unit_test(what_is_not_plain_yaml_is_refused_where_it_stands),
		cmocka_unit_test(all_mistakes_are_told_at_once),
		cmocka_unit_test(the_number_of_mounts_and_the_size_of_a_file_are_bounded),
		cmocka_unit_test(a_megabyte_of_mistakes_is_told_in_a_hundred_lines),
		cmocka_unit_test(what_is_shown_reads_back_as_the_same),
		cmocka_unit_test(what_is_shown_is_the_effective_configuration),
		cmocka_unit_test(a_difference_is_told_by_key),
		cmocka_unit_test(a_command_is_a_path_or_a_list_of_words),
		cmocka_unit_test(a_clone_is_equal_and_has_memory_of_its_own),
		cmocka_unit_test(what_a_running_session_can_change_is_exchanged_and_the_rest_is_told),
		cmocka_unit_test(the_rules_of_a_configuration_are_matched_in_its_order),
		cmocka_unit_test(a_home_of_the_root_directory_gives_no_default_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
