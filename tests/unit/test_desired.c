/* SPDX-License-Identifier: MIT */
/* The desired state: a file or a host, with the options of the command line on top; and which files are trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_file.h"
#include "desired.h"

static char top[] = "/tmp/homeport-test-XXXXXX";
static char folder[128], file[256];

static int make_home(void **state)
{
	char config[64];

	if (mkdtemp(top) == NULL)
		return -1;
	snprintf(config, sizeof(config), "%s/config", top);
	snprintf(folder, sizeof(folder), "%s/homeport", config);
	snprintf(file, sizeof(file), "%s/dev.yaml", folder);
	setenv("HOME", top, 1);
	setenv("XDG_CONFIG_HOME", config, 1);
	return mkdir(config, 0700) < 0 || mkdir(folder, 0700) < 0 ? -1 : 0;
}

static int remove_home(void **state)
{
	char config[64];

	snprintf(config, sizeof(config), "%s/config", top);
	unlink(file);
	return rmdir(folder) < 0 || rmdir(config) < 0 || rmdir(top) < 0 ? -1 : 0;
}

static void write_file(const char *text)
{
	FILE *out = fopen(file, "we");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	assert_int_equal(chmod(file, 0600), 0);
}

/* What `homeport LINE` desires; the problems, one a line, in *lines. */
static int make(const char *line, struct desired *desired, const char **lines)
{
	static char text[4096], copy[512], why[OPTIONS_WHY_MAX];
	static char *argv[32];
	struct problems *problems = problems_new();
	struct options options;
	char *rest = copy, *word;
	int argc = 1, r;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	argv[0] = (char *)"homeport";
	while ((word = strsep(&rest, " ")) != NULL)
		argv[argc++] = word;
	if (options_parse(argc, argv, &options, why) != OPTIONS_OK)
		fail_msg("%s", why);
	r = desired_make(&options, problems, desired);
	text[0] = '\0';
	for (size_t i = 0; problems_line(problems, i) != NULL; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? "\n" : "",
				      problems_line(problems, i));
	problems_free(problems);
	*lines = text;
	return r;
}

static void take(const char *line, struct desired *desired)
{
	const char *lines;

	if (make(line, desired, &lines) != 0)
		fail_msg("%s: %s", line, lines);
}

static void refuse(const char *line, const char *expected)
{
	struct desired desired;
	const char *lines;

	assert_int_equal(make(line, &desired, &lines), -EINVAL);
	assert_string_equal(lines, expected);
}

static void a_host_without_a_file_gets_the_defaults(void **state)
{
	struct desired d;

	take("up me@vm:2022", &d);
	assert_string_equal(d.name, "vm");
	assert_null(d.file);
	assert_string_equal(d.config->ssh.host, "vm");
	assert_string_equal(d.config->ssh.user, "me");
	assert_int_equal(d.config->ssh.port, 2022);
	assert_true(d.config->default_mounts);
	assert_string_equal(d.config->mounts[0].location.path, top);
	desired_clear(&d);
	take("run --name dev2 [::1]:22", &d);
	assert_string_equal(d.name, "dev2");
	assert_string_equal(d.config->ssh.host, "::1");
	desired_clear(&d);
}

static void a_name_with_a_file_is_that_file_and_its_host_is_the_name(void **state)
{
	struct desired d;

	write_file("mounts: []\nssh: {user: me}\n");
	take("up dev", &d);
	assert_string_equal(d.name, "dev");
	assert_string_equal(d.file, file);
	assert_string_equal(d.config->ssh.host, "dev");
	assert_string_equal(d.config->ssh.user, "me");
	assert_int_equal(d.config->mount_count, 0);
	desired_clear(&d);
	take("up me@dev", &d); /* with a user it is a host */
	assert_null(d.file);
	desired_clear(&d);
}

static void options_go_before_the_file(void **state)
{
	struct desired d;

	write_file("ssh: {host: vm, port: 1, options: [\"A=file\"]}\n"
		   "mounts:\n- location: /a\n- location: /b\nportForwards:\n- guestPort: 80\n  ignore: true\n"
		   "guestCommand: /file\n");
	take("up dev -p 2 -o A=line --mount /c:/b:w --mount /d --port-forward 8080:80 --guest-command /line", &d);
	assert_int_equal(d.config->ssh.port, 2);
	assert_int_equal(d.config->ssh.option_count, 2);
	assert_string_equal(d.config->ssh.options[0], "A=line");
	assert_int_equal(d.config->mount_count, 3);
	assert_string_equal(d.config->mounts[1].location.path, "/c");
	assert_string_equal(d.config->mounts[1].mount_point, "/b");
	assert_true(d.config->mounts[1].writable);
	assert_int_equal(d.config->forward_count, 2);
	assert_string_equal(d.config->forwards[0].origin, "--port-forward 8080:80");
	assert_string_equal(d.config->forwards[1].origin, "portForwards[0]");
	assert_string_equal(d.config->guest_command, "/line");
	desired_clear(&d);
	take("up dev --no-mount --no-ports", &d);
	assert_int_equal(d.config->mount_count, 0);
	assert_int_equal(d.config->max_forwards, 0);
	desired_clear(&d);
}

static void a_mount_on_the_line_replaces_the_default_one(void **state)
{
	struct desired d;

	take("up vm --mount /a --mount /b", &d);
	assert_int_equal(d.config->mount_count, 2);
	assert_false(d.config->default_mounts);
	desired_clear(&d);
}

static void up_and_run_with_the_same_words_desire_the_same(void **state)
{
	struct desired a, b, c;

	take("up me@vm --mount /a:w --port-forward 1:2", &a);
	take("run me@vm --port-forward 1:2 --mount /a:w", &b);
	take("run me@vm --port-forward 1:2 --mount /a", &c);
	assert_true(config_equal(a.config, b.config));
	assert_false(config_equal(a.config, c.config));
	desired_clear(&a);
	desired_clear(&b);
	desired_clear(&c);
}

static void mistakes_on_the_line_are_told_together(void **state)
{
	refuse("up a$b", "homeport: the host in \"a$b\" has a character no host name has");
	refuse("up vm --name ../x --mount x --port-forward 1 --host-key x -o x",
	       "homeport: --name: \"../x\" begins with '.' or '-'; begin with a letter or a digit\n"
	       "homeport: --host-key: \"x\" is not a fingerprint; write SHA256:\xe2\x80\xa6 as ssh-keygen -lf prints "
	       "it\n"
	       "homeport: -o: \"x\" is not an option of ssh; write Key=Value\n"
	       "homeport: --mount: \"x\" is not an absolute path; begin it with / or ~/\n"
	       "homeport: --port-forward: \"1\" is not [HOSTIP:]PORT:[GUESTIP:]PORT[,static], such as 8080:80");
	refuse("up vm:1 -p 2", "homeport: -p: port 2 is another than in \"vm:1\"; remove one");
	refuse("up vm --mount /a --mount /b:/a",
	       "homeport: --mount: \"/a\" is mounted on twice; name another mount point");
	refuse("up vm -i no-such-key", "homeport: -i: No such file or directory");
}

static void a_mistake_in_the_file_and_one_on_the_line_stop_it(void **state)
{
	char expected[512];

	write_file("mount: []\n");
	snprintf(expected, sizeof(expected), "%s:1:1: unknown key \"mount\"; did you mean \"mounts\"?", file);
	refuse("up dev", expected);
}

static void a_file_others_can_write_is_refused(void **state)
{
	char expected[512];

	write_file("mounts: []\n");
	snprintf(expected, sizeof(expected), "%s: can be written by others; take that away with chmod go-w", file);
	assert_int_equal(chmod(file, 0620), 0);
	refuse("up dev", expected);
	assert_int_equal(chmod(file, 0602), 0);
	refuse("up dev", expected);
	if (getuid() == 0) {
		assert_int_equal(chmod(file, 0600), 0);
		assert_int_equal(chown(file, 12345, 0), 0);
		snprintf(expected, sizeof(expected), "%s: belongs to another user; copy it to a file of your own",
			 file);
		refuse("up dev", expected);
	}
	unlink(file);
	assert_int_equal(mkdir(file, 0700), 0);
	snprintf(expected, sizeof(expected), "%s: is not a regular file", file);
	refuse("up dev", expected);
	rmdir(file);
	assert_int_equal(mkfifo(file, 0600), 0);
	refuse("up dev", expected);
	unlink(file);
}

static void what_the_configuration_names_must_be_there(void **state)
{
	struct problems *problems = problems_new();
	char text[512], expected[512];
	struct config *config;

	snprintf(text, sizeof(text),
		 "ssh: {identityFile: /no/key}\nmounts:\n- location: /\n  mountPoint: /a\n"
		 "- location: /no/such\n- location: /dev/null\n");
	write_file(text);
	assert_int_equal(config_load(file, top, problems, &config), 0);
	config_check_paths(config, problems);
	assert_int_equal(problems_count(problems, PROBLEM_ERROR), 3);
	snprintf(expected, sizeof(expected),
		 "%s:1:21: identityFile: \"/no/key\" does not exist; create it or correct the path", file);
	assert_string_equal(problems_line(problems, 0), expected);
	snprintf(expected, sizeof(expected),
		 "%s:5:13: location: \"/no/such\" does not exist; create it or correct the path", file);
	assert_string_equal(problems_line(problems, 1), expected);
	snprintf(expected, sizeof(expected), "%s:6:13: location: \"/dev/null\" is not a folder", file);
	assert_string_equal(problems_line(problems, 2), expected);
	config_free(config);
	problems_free(problems);
}

static void the_session_of_a_word_is_what_up_would_have_called_it(void **state)
{
	char name[SESSION_NAME_MAX + 1], why[ARG_WHY_MAX];

	write_file("mounts: []\n");
	assert_int_equal(desired_name("dev", name, why), 0);
	assert_string_equal(name, "dev");
	assert_int_equal(desired_name("me@vm:22", name, why), 0);
	assert_string_equal(name, "vm");
	assert_int_equal(desired_name("../x", name, why), -EINVAL);
	assert_string_equal(why, "the host in \"../x\" has a character no host name has");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_without_a_file_gets_the_defaults),
		cmocka_unit_test(a_name_with_a_file_is_that_file_and_its_host_is_the_name),
		cmocka_unit_test(options_go_before_the_file),
		cmocka_unit_test(a_mount_on_the_line_replaces_the_default_one),
		cmocka_unit_test(up_and_run_with_the_same_words_desire_the_same),
		cmocka_unit_test(mistakes_on_the_line_are_told_together),
		cmocka_unit_test(a_mistake_in_the_file_and_one_on_the_line_stop_it),
		cmocka_unit_test(a_file_others_can_write_is_refused),
		cmocka_unit_test(what_the_configuration_names_must_be_there),
		cmocka_unit_test(the_session_of_a_word_is_what_up_would_have_called_it),
	};

	return cmocka_run_group_tests(tests, make_home, remove_home);
}
