/* SPDX-License-Identifier: MIT */
/* The command line: what is taken, what is refused, and the words with a form of their own. */
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
#include "host_arg.h"
#include "options.h"

#define HOME "/home/me"

static char why[OPTIONS_WHY_MAX];

/* Splits "up --mount ~ host" at the spaces; '' is an empty argument. The words stay until the next call. */
static enum options_result parse(const char *line, struct options *out)
{
	static char copy[1024];
	static char *argv[64];
	char *rest = copy, *word;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	argv[0] = (char *)"homeport";
	while ((word = strsep(&rest, " ")) != NULL)
		if (word[0] != '\0')
			argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
	argv[argc] = NULL;
	why[0] = '\0';
	return options_parse(argc, argv, out, why);
}

static void take(const char *line, struct options *out)
{
	if (parse(line, out) != OPTIONS_OK)
		fail_msg("%s: %s", line, why);
}

static void each_command_is_known_by_its_words(void **state)
{
	static const struct {
		const char *line;
		enum command command;
		const char *target;
	} lines[] = {
		{"up me@vm:22", COMMAND_UP, "me@vm:22"},
		{"run dev", COMMAND_RUN, "dev"},
		{"down", COMMAND_DOWN, NULL},
		{"down dev", COMMAND_DOWN, "dev"},
		{"status", COMMAND_STATUS, NULL},
		{"ports dev --json", COMMAND_PORTS, "dev"},
		{"logs -f", COMMAND_LOGS, NULL},
		{"config check", COMMAND_CONFIG_CHECK, NULL},
		{"config check a.yaml", COMMAND_CONFIG_CHECK, "a.yaml"},
		{"config show dev", COMMAND_CONFIG_SHOW, "dev"},
		{"sftp-server /srv", COMMAND_SFTP_SERVER, "/srv"},
		{"guest install --yes -p 22 me@vm", COMMAND_GUEST_INSTALL, "me@vm"},
		{"guest uninstall vm -y", COMMAND_GUEST_UNINSTALL, "vm"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct options options;

		take(lines[i].line, &options);
		assert_int_equal(options.command, lines[i].command);
		if (lines[i].target == NULL)
			assert_null(options.target);
		else
			assert_string_equal(options.target, lines[i].target);
	}
}

static void what_follows_the_name_of_a_shell_is_another_programs(void **state)
{
	static const struct {
		const char *line, *target, *words;
	} lines[] = {
		{"shell", NULL, ""},
		{"shell dev", "dev", ""},
		{"shell dev ls -l --help", "dev", "ls -l --help"},
		{"shell dev -- ls -- x", "dev", "ls -- x"},
		{"shell dev --", "dev", ""},
		{"shell -- ls -l", NULL, "ls -l"},
		{"shell -- -- x", NULL, "-- x"},
		{"shell --", NULL, ""},
		{"shell dev ''", "dev", "''"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct options options;
		char words[100] = "";

		take(lines[i].line, &options);
		for (char *const *word = options.words; *word; word++)
			snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s", words[0] ? " " : "",
				 **word ? *word : "''");
		assert_string_equal(words, lines[i].words);
		if (lines[i].target == NULL)
			assert_null(options.target);
		else
			assert_string_equal(options.target, lines[i].target);
	}
	assert_int_equal(parse("shell -x dev", &(struct options){0}), OPTIONS_WRONG);
	assert_int_equal(parse("shell '' ls", &(struct options){0}), OPTIONS_WRONG);
}

static void every_option_of_up_is_taken_before_and_after_the_host(void **state)
{
	struct options o;

	take("up --name dev -F ssh.conf -p 2022 me@vm -i key -o A=b -oC=d --mount ~ --mount /a:/b:w "
	     "--port-forward=8080:80 "
	     "--host-key SHA256:x --guest-command /g --timeout 2m -vv -v",
	     &o);
	assert_string_equal(o.target, "me@vm");
	assert_string_equal(o.name, "dev");
	assert_string_equal(o.ssh_config, "ssh.conf");
	assert_int_equal(o.port, 2022);
	assert_string_equal(o.identity_file, "key");
	assert_int_equal(o.ssh_options.count, 2);
	assert_string_equal(o.ssh_options.values[1], "C=d");
	assert_int_equal(o.mounts.count, 2);
	assert_string_equal(o.mounts.values[1], "/a:/b:w");
	assert_string_equal(o.forwards.values[0], "8080:80");
	assert_string_equal(o.host_key, "SHA256:x");
	assert_string_equal(o.guest_command, "/g");
	assert_int_equal(o.timeout_s, 120);
	assert_int_equal(o.verbose, 3);
	take("up vm", &o);
	assert_int_equal(o.timeout_s, 60);
	assert_int_equal(o.mounts.count, 0);
	take("run --no-mount --no-ports -- -vm", &o);
	assert_true(o.no_mount && o.no_ports);
	assert_string_equal(o.target, "-vm");
	take("up vm --timeout 5", &o);
	assert_int_equal(o.timeout_s, 5);
	take("status --json --watch", &o);
	assert_true(o.json && o.watch);
	take("top dev", &o);
	assert_int_equal(o.interval_ms, 1000);
	assert_int_equal(o.count, 0);
	take("top --interval 0.25 --count 12 --json", &o);
	assert_int_equal(o.interval_ms, 250);
	assert_int_equal(o.count, 12);
	take("top --interval 3600.0", &o);
	assert_int_equal(o.interval_ms, 3600000);
	take("top --interval .5", &o);
	assert_int_equal(o.interval_ms, 500);
	take("logs --follow dev", &o);
	assert_true(o.follow);
}

static void a_mistake_is_one_line_that_says_where_help_is(void **state)
{
	static const struct {
		const char *line;
		const char *why;
	} lines[] = {
		{"", "no command: see homeport --help"},
		{"upp vm", "unknown command \"upp\"; did you mean \"up\"?"},
		{"xyzzy", "unknown command \"xyzzy\": see homeport --help"},
		{"--json", "unknown option --json: see homeport --help"},
		{"config", "config: say check, show or schema: see homeport --help"},
		{"config chekc", "config: say check, show or schema: see homeport --help"},
		{"guest", "guest: say install or uninstall: see homeport --help"},
		{"guest isntall vm", "guest: say install or uninstall: see homeport --help"},
		{"guest install",
		 "guest install: [USER@]HOST[:PORT] | NAME is missing: see homeport guest install --help"},
		{"guest uninstall --move-home vm", "unknown option --move-home: see homeport guest uninstall --help"},
		{"guest install --mount ~ vm", "unknown option --mount: see homeport guest install --help"},
		{"mount dev", "mount: NAME SRC[:DST][:w] is missing: see homeport mount --help"},
		{"forward dev ''", "forward: the argument is empty; NAME HOST:GUEST[,static] is meant"},
		{"unforward a b c", "unforward: \"c\" is one argument too many: see homeport unforward --help"},
		{"up", "up: [USER@]HOST[:PORT] | NAME is missing: see homeport up --help"},
		{"up a b", "up: \"b\" is one argument too many: see homeport up --help"},
		{"up ''", "up: the argument is empty; [USER@]HOST[:PORT] | NAME is meant"},
		{"up --mnt ~ vm", "unknown option --mnt: see homeport up --help"},
		{"up -x vm", "unknown option -x: see homeport up --help"},
		{"up -vx vm", "unknown option -x: see homeport up --help"},
		{"up --json vm", "unknown option --json: see homeport up --help"},
		{"run --timeout 5 vm", "unknown option --timeout: see homeport run --help"},
		{"up vm -p", "option -p needs a value: see homeport up --help"},
		{"up vm --mount", "option --mount needs a value: see homeport up --help"},
		{"up vm --no-mount=1", "option --no-mount takes no value: see homeport up --help"},
		{"up -p 0 vm", "-p: \"0\" is not a port; write 1 to 65535"},
		{"up -p 65536 vm", "-p: \"65536\" is not a port; write 1 to 65535"},
		{"up -p ssh vm", "-p: \"ssh\" is not a port; write 1 to 65535"},
		{"up --timeout soon vm", "--timeout: \"soon\" is not a time; write 60s or 2m, at most 24h"},
		{"up --timeout 0 vm", "--timeout: \"0\" is not a time; write 60s or 2m, at most 24h"},
		{"top --interval 0.09", "--interval: \"0.09\" is no number of seconds; write 0.1 to 3600"},
		{"top --interval 3601", "--interval: \"3601\" is no number of seconds; write 0.1 to 3600"},
		{"top --interval 99999999999",
		 "--interval: \"99999999999\" is no number of seconds; write 0.1 to 3600"},
		{"top --interval 1.x", "--interval: \"1.x\" is no number of seconds; write 0.1 to 3600"},
		{"top --interval .", "--interval: \".\" is no number of seconds; write 0.1 to 3600"},
		{"top --count 0", "--count: \"0\" is no number; write 1 or more"},
		{"top --count -1", "--count: \"-1\" is no number; write 1 or more"},
		{"status --count 1", "unknown option --count: see homeport status --help"},
		{"up --name '' vm", "--name: is empty; give it a value"},
		{"up --no-mount --mount ~ vm", "--no-mount and --mount exclude each other; remove one"},
		{"up --no-ports --port-forward 1:1 vm", "--no-ports and --port-forward exclude each other; remove one"},
		{"sftp-server", "sftp-server: DIR is missing: see homeport sftp-server --help"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct options options;

		assert_int_equal(parse(lines[i].line, &options), OPTIONS_WRONG);
		assert_string_equal(why, lines[i].why);
	}
}

static void a_repeatable_option_is_bounded(void **state)
{
	static char *argv[2 * OPTIONS_LIST_MAX + 8];
	struct options options;
	int argc = 0;

	argv[argc++] = (char *)"homeport";
	argv[argc++] = (char *)"up";
	for (int i = 0; i < OPTIONS_LIST_MAX + 1; i++)
		argv[argc++] = (char *)"--mount=/a";
	assert_int_equal(options_parse(argc, argv, &options, why), OPTIONS_WRONG);
	assert_string_equal(why, "--mount: is there more than 64 times");
}

static void help_is_for_the_program_or_for_a_command(void **state)
{
	struct options options;

	assert_int_equal(parse("--help", &options), OPTIONS_HELP);
	assert_int_equal(options.command, COMMANDS);
	assert_int_equal(parse("help", &options), OPTIONS_HELP);
	assert_int_equal(parse("--version", &options), OPTIONS_VERSION);
	assert_int_equal(parse("config check --help", &options), OPTIONS_HELP);
	assert_int_equal(options.command, COMMAND_CONFIG_CHECK);
	assert_int_equal(parse("up -h", &options), OPTIONS_HELP);
	assert_int_equal(options.command, COMMAND_UP);
}

static void help_lists_each_option_of_its_command_and_no_other(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	options_print_help(COMMAND_STATUS, out);
	fclose(out);
	assert_string_equal(text, "homeport status [OPTIONS] [NAME]\n"
				  "  session, mounts, ports\n\n"
				  "  --json                     JSON for programs\n"
				  "  --watch                    go on, at each change\n"
				  "  -h, --help                 this text\n");
	free(text);
	for (enum command command = 0; command <= COMMANDS; command++) {
		out = open_memstream(&text, &size);
		options_print_help(command, out);
		fclose(out);
		for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
			assert_true(strlen(line) <= 110);
		free(text);
	}
}

static void a_host_is_taken_apart(void **state)
{
	static const struct {
		const char *text, *user, *host;
		unsigned port;
	} rows[] = {
		{"vm", "", "vm", 0},
		{"me@vm", "me", "vm", 0},
		{"me@vm:2022", "me", "vm", 2022},
		{"10.0.0.2:22", "", "10.0.0.2", 22},
		{"[::1]:22", "", "::1", 22},
		{"[::1]", "", "::1", 0},
		{"::1", "", "::1", 0},
		{"me@[fe80::1%eth0]:22", "me", "fe80::1%eth0", 22},
		{"me@corp.example@vm", "me@corp.example", "vm", 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct host_arg arg;

		assert_int_equal(host_arg_parse(rows[i].text, &arg, why), 0);
		assert_string_equal(arg.user, rows[i].user);
		assert_string_equal(arg.host, rows[i].host);
		assert_int_equal(arg.port, rows[i].port);
	}
}

static void a_bad_host_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"me@", "the host in \"me@\" is empty; name a host"},
		{"@vm", "the user in \"@vm\" is empty; name a user of the guest"},
		{"-oProxyCommand=x",
		 "the host in \"-oProxyCommand=x\" begins with '-', which ssh would take for an option"},
		{"-l@vm", "the user in \"-l@vm\" begins with '-', which ssh would take for an option"},
		{"vm:0", "\"vm:0\": \"0\" is not a port; write 1 to 65535"},
		{"vm:", "\"vm:\": \"\" is not a port; write 1 to 65535"},
		{"vm:65536", "\"vm:65536\": \"65536\" is not a port; write 1 to 65535"},
		{"vm:22x", "\"vm:22x\": \"22x\" is not a port; write 1 to 65535"},
		{"[::1", "\"[::1\": the '[' is not closed; write [ADDRESS] or [ADDRESS]:PORT"},
		{"[::1]22", "\"[::1]22\": the '[' is not closed; write [ADDRESS] or [ADDRESS]:PORT"},
		{"a b", "the host in \"a b\" has a character no host name has"},
		{"a$(b)", "the host in \"a$(b)\" has a character no host name has"},
		{"../vm", "the host in \"../vm\" has a character no host name has"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct host_arg arg;

		assert_int_equal(host_arg_parse(rows[i].text, &arg, why), -EINVAL);
		assert_string_equal(why, rows[i].why);
	}
}

static void a_name_is_a_folder_of_its_own(void **state)
{
	char name[SESSION_NAME_MAX + 1], longest[SESSION_NAME_MAX + 2] = "";

	assert_null(host_arg_check_name("dev"));
	assert_null(host_arg_check_name("me@10.0.0.2:22"));
	assert_non_null(host_arg_check_name(""));
	assert_non_null(host_arg_check_name("."));
	assert_non_null(host_arg_check_name(".."));
	assert_non_null(host_arg_check_name(".hidden"));
	assert_non_null(host_arg_check_name("-v"));
	assert_non_null(host_arg_check_name("a/b"));
	assert_non_null(host_arg_check_name("a b"));
	memset(longest, 'a', SESSION_NAME_MAX);
	assert_null(host_arg_check_name(longest));
	strcat(longest, "a");
	assert_non_null(host_arg_check_name(longest));
	assert_int_equal(host_arg_name("fe80::1%eth0", name), 0);
	assert_string_equal(name, "fe80::1_eth0");
	assert_int_equal(host_arg_name(longest, name), -EINVAL);
}

static void a_mount_is_source_target_and_w(void **state)
{
	static const struct {
		const char *text, *location, *mount_point;
		bool writable;
	} rows[] = {
		{"~", HOME, HOME, false},
		{"~:w", HOME, HOME, true},
		{"~/src:/src", HOME "/src", "/src", false},
		{"~/src:/src:w", HOME "/src", "/src", true},
		{"/a//b/", "/a/b", "/a/b", false},
		{"/:/host", "/", "/host", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config_mount mount;

		assert_int_equal(mount_arg_parse(rows[i].text, HOME, &mount, why), 0);
		assert_string_equal(mount.location.path, rows[i].location);
		assert_string_equal(mount.mount_point, rows[i].mount_point);
		assert_int_equal(mount.writable, rows[i].writable);
		assert_true(mount.mask);
		config_mount_clear(&mount);
	}
}

static void a_bad_mount_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"src", "\"src\" is not an absolute path; begin it with / or ~/"},
		{"", "\"\" is not an absolute path; begin it with / or ~/"},
		{":w", "\"\" is not an absolute path; begin it with / or ~/"},
		{"/", "the mount point \"/\" / would hide the whole guest; name a folder"},
		{"/a:/", "the mount point \"/\" / would hide the whole guest; name a folder"},
		{"/a:/b/../c", "the mount point \"/b/../c\" has a '..' in it; write the path without"},
		{"/a:b", "\"/a:b\" is not SRC[:DST][:w] with an absolute DST; a path with ':' in it goes into the "
			 "configuration file"},
		{"/a:/b:/c",
		 "\"/a:/b:/c\" is not SRC[:DST][:w] with an absolute DST; a path with ':' in it goes into the "
		 "configuration file"},
		{"/a:/b:rw",
		 "\"/a:/b:rw\" is not SRC[:DST][:w] with an absolute DST; a path with ':' in it goes into the "
		 "configuration file"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config_mount mount;

		assert_int_equal(mount_arg_parse(rows[i].text, HOME, &mount, why), -EINVAL);
		assert_string_equal(why, rows[i].why);
	}
}

static void a_forward_is_two_ports_with_addresses_where_wanted(void **state)
{
	static const struct {
		const char *text, *host_ip, *guest_ip;
		unsigned host_first, host_last, guest_first, guest_last;
		bool is_static;
	} rows[] = {
		{"8080:80", "localhost", NULL, 8080, 8080, 80, 80, false},
		{"8080:80,static", "localhost", NULL, 8080, 8080, 80, 80, true},
		{"8080:80,static=true", "localhost", NULL, 8080, 8080, 80, 80, true},
		{"0.0.0.0:8080:80", "0.0.0.0", NULL, 8080, 8080, 80, 80, false},
		{"localhost:8080:80", "localhost", NULL, 8080, 8080, 80, 80, false},
		{"8080:10.0.0.1:80", "localhost", "10.0.0.1", 8080, 8080, 80, 80, false},
		{"[::1]:8080:[fe80::1]:80", "::1", "fe80::1", 8080, 8080, 80, 80, false},
		{"13000-13099:3000-3099", "localhost", NULL, 13000, 13099, 3000, 3099, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rule_spec spec;

		if (forward_arg_parse(rows[i].text, &spec, why) != 0)
			fail_msg("%s: %s", rows[i].text, why);
		assert_string_equal(spec.host_ip, rows[i].host_ip);
		if (rows[i].guest_ip == NULL)
			assert_null(spec.guest_ip);
		else
			assert_string_equal(spec.guest_ip, rows[i].guest_ip);
		assert_int_equal(spec.host_port_range.first, rows[i].host_first);
		assert_int_equal(spec.host_port_range.last, rows[i].host_last);
		assert_int_equal(spec.guest_port_range.first, rows[i].guest_first);
		assert_int_equal(spec.guest_port_range.last, rows[i].guest_last);
		assert_int_equal(spec.is_static, rows[i].is_static);
		config_forward_clear(&spec);
	}
}

static void a_bad_forward_is_refused(void **state)
{
	static const char form[] = " is not [HOSTIP:]PORT:[GUESTIP:]PORT[,static], such as 8080:80";
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"8080", form},
		{"8080:", form},
		{":80", form},
		{"0:80", form},
		{"8080:65536", form},
		{"1:2:3:4:5", form},
		{"[::1:8080:80", form},
		{"a:b:c", form},
		{"1-2-3:4", form},
		{"8080:80,udp", "\"8080:80,udp\": only \",static\" may follow the ports"},
		{"/run/a.sock:80", "\"/run/a.sock:80\": a socket goes into portForwards of the configuration file"},
		{"1-3:1-2", "hostPortRange: 3 ports cannot stand for the guest's 2; make both as long"},
		{"nohost:1:2", "hostIP: \"nohost\" is neither an IP address nor localhost"},
		{"1:localhost:2", "guestIP: \"localhost\" is not an IP address"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rule_spec spec;
		char expected[256];

		snprintf(expected, sizeof(expected), "\"%s\"%s", rows[i].text, rows[i].why);
		assert_int_equal(forward_arg_parse(rows[i].text, &spec, why), -EINVAL);
		assert_string_equal(why, rows[i].why == form ? expected : rows[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_command_is_known_by_its_words),
		cmocka_unit_test(what_follows_the_name_of_a_shell_is_another_programs),
		cmocka_unit_test(every_option_of_up_is_taken_before_and_after_the_host),
		cmocka_unit_test(a_mistake_is_one_line_that_says_where_help_is),
		cmocka_unit_test(a_repeatable_option_is_bounded),
		cmocka_unit_test(help_is_for_the_program_or_for_a_command),
		cmocka_unit_test(help_lists_each_option_of_its_command_and_no_other),
		cmocka_unit_test(a_host_is_taken_apart),
		cmocka_unit_test(a_bad_host_is_refused),
		cmocka_unit_test(a_name_is_a_folder_of_its_own),
		cmocka_unit_test(a_mount_is_source_target_and_w),
		cmocka_unit_test(a_bad_mount_is_refused),
		cmocka_unit_test(a_forward_is_two_ports_with_addresses_where_wanted),
		cmocka_unit_test(a_bad_forward_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
