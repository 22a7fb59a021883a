/* SPDX-License-Identifier: MIT */
/* The line of sh, run by each sh that is here, with a script in the place of homeport-guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bring.h"
#include "guest_builds.h"

#define ID               "0123456789abcdef0123456789abcdef01234567"
#define INSTANCE         "00112233445566778899aabbccddeeff"
#define VERSION          "homeport-guest " HOMEPORT_VERSION " build " ID
#define PROGRAM(version) "#!/bin/sh\ncase $1 in --version) echo '" version "' ;; *) echo \"ran $*\" ;; esac\n"
#define ATTACH           "\nhomeport-bring: attach\nran attach " INSTANCE "\n"

static const char *const shells[] = {"/bin/dash", "/bin/bash", "/bin/busybox"};
static char top[64];

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
	chmod(path, 0700);
}

/* A home, and a folder of programs in which `sh` is the one under test. */
static int make_top(void **state)
{
	char path[128];

	snprintf(top, sizeof(top), "/tmp/test_bring.XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(path, sizeof(path), "%s/home", top);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/sh", top);
	return symlink(*state, path);
}

static int remove_top(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", top);
	return system(command);
}

static struct guest_builds builds_of(const char *arch, size_t size)
{
	struct guest_builds b = {.count = 2};

	snprintf(b.builds[0].arch, sizeof(b.builds[0].arch), "vax");
	snprintf(b.builds[1].arch, sizeof(b.builds[1].arch), "%s", arch);
	snprintf(b.builds[0].id, BUILD_ID_SIZE, "%s", "f");
	snprintf(b.builds[1].id, BUILD_ID_SIZE, "%s", ID);
	b.builds[1].size = size;
	return b;
}

/* What the command says, as /bin/sh for a login shell runs it, with `in` on its stdin. */
static const char *said(const struct guest_builds *b, const char *in)
{
	static char text[4096];
	char shell[1024], *command = bring_command(b, "attach " INSTANCE);
	FILE *out;
	size_t len;

	assert_non_null(command);
	write_file("command", command);
	write_file("in", in);
	free(command);
	snprintf(shell, sizeof(shell),
		 "cd / && env -i HOME='%s/home' XDG_RUNTIME_DIR='%s/none' PATH='%s':/usr/bin:/bin "
		 "/bin/sh '%s/command' <'%s/in' 2>&1",
		 top, top, top, top, top);
	out = popen(shell, "r");
	assert_non_null(out);
	len = fread(text, 1, sizeof(text) - 1, out);
	text[len] = '\0';
	pclose(out);
	return text;
}

static const char *this_arch(void)
{
	static struct utsname machine;

	uname(&machine);
	return machine.machine;
}

/* What it says when it asks for the build, between what it says before and after. */
static const char *asks(const char *before, const char *after)
{
	static char text[512];

	snprintf(text, sizeof(text), "%s\nhomeport-bring: send %s\n%s", before, this_arch(), after);
	return text;
}

static int exists(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return access(path, F_OK) == 0;
}

static void it_asks_once_and_finds_it_again(void **state)
{
	struct guest_builds b = builds_of(this_arch(), strlen(PROGRAM(VERSION)));

	(void)state;
	assert_string_equal(said(&b, PROGRAM(VERSION)), asks("", ATTACH));
	assert_string_equal(said(&b, ""), ATTACH);
}

/* The first bytes behind the program are the program's to read. */
static void it_reads_no_byte_too_many(void **state)
{
	static const char reader[] = "#!/bin/sh\ncase $1 in --version) echo '" VERSION "' ;; *) cat ;; esac\n";
	struct guest_builds b = builds_of(this_arch(), strlen(reader));
	char in[512];

	(void)state;
	snprintf(in, sizeof(in), "%swhat follows", reader);
	assert_string_equal(said(&b, in), asks("", "\nhomeport-bring: attach\nwhat follows"));
}

static void what_ends_too_early_leaves_nothing(void **state)
{
	struct guest_builds b = builds_of(this_arch(), strlen(PROGRAM(VERSION)) + 1);

	(void)state;
	assert_non_null(strstr(said(&b, PROGRAM(VERSION)), "\nhomeport-bring: no-place "));
	assert_false(exists("home/.cache/homeport"));
}

static void what_does_not_run_as_it_should_is_not_kept(void **state)
{
	static const char wrong[] = PROGRAM("homeport-guest 9 build " ID);
	struct guest_builds b = builds_of(this_arch(), strlen(wrong));

	(void)state;
	assert_non_null(strstr(said(&b, wrong), "/home/.cache/homeport: it does not run there,"));
	assert_false(exists("home/.cache/homeport"));
}

static void an_installed_one_is_used_if_it_is_the_very_one(void **state)
{
	struct guest_builds b = builds_of(this_arch(), strlen(PROGRAM(VERSION)));

	(void)state;
	write_file("homeport-guest", PROGRAM(VERSION));
	assert_string_equal(said(&b, ""), ATTACH);
	write_file("homeport-guest", PROGRAM("homeport-guest " HOMEPORT_VERSION " build 1"));
	assert_string_equal(said(&b, PROGRAM(VERSION)),
			    asks("\nhomeport-bring: other homeport-guest " HOMEPORT_VERSION " build 1\n", ATTACH));
}

static void without_a_build_the_version_decides(void **state)
{
	struct guest_builds b = builds_of("pdp11", 1);
	char want[256];

	(void)state;
	snprintf(want, sizeof(want), "\nhomeport-bring: no-build Linux %s\n", this_arch());
	assert_string_equal(said(&b, ""), want);
	write_file("homeport-guest", PROGRAM("homeport-guest " HOMEPORT_VERSION "0 build 1"));
	assert_string_equal(said(&b, ""), want);
	write_file("homeport-guest", PROGRAM("homeport-guest " HOMEPORT_VERSION " build 1"));
	assert_string_equal(said(&b, ""), ATTACH);
}

static void no_shell_finds_anything_to_change_in_it(void **state)
{
	struct guest_builds b = builds_of(this_arch(), 1);
	char *command = bring_command(&b, "attach " INSTANCE);
	const char *start = "exec sh -c '";
	size_t len = strlen(command);

	(void)state;
	assert_memory_equal(command, start, strlen(start));
	assert_int_equal(command[len - 1], '\'');
	assert_int_equal(strcspn(command + strlen(start), "'"), len - strlen(start) - 1);
	assert_null(strpbrk(command, "!\n"));
	assert_null(strstr(command, "\\\\"));
	assert_null(strstr(command, "\\'"));
	/* Who prints the command says none of its lines. */
	assert_null(strstr(command, "homeport-bring:"));
	free(command);
}

static void words_that_a_shell_would_read_are_refused(void **state)
{
	static const char *const words[] = {"attach 'x", "attach \"x", "a;b", "a$b", "a`b", "a\nb", "a\\b", "a*", "~"};
	struct guest_builds b = builds_of(this_arch(), 1);

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		assert_null(bring_command(&b, words[i]));
		assert_false(bring_word_is_plain(words[i]));
	}
	assert_false(bring_word_is_plain(""));
	assert_true(bring_word_is_plain("/home/me.guest/a-b_c+1"));
}

static void lines_that_are_not_ours_are_told_apart(void **state)
{
	static const char *const others[] = {"",
					     "Welcome",
					     "homeport-bring:",
					     "homeport-bring: ",
					     "homeport-bring: attachment",
					     "homeport-bring: att",
					     " homeport-bring: attach",
					     "homeport-bring: Attach"};
	enum bring_word word;
	const char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(bring_parse(others[i], &word, &text));
	assert_true(bring_parse("homeport-bring: attach", &word, &text));
	assert_int_equal(word, BRING_ATTACH);
	assert_string_equal(text, "");
	assert_true(bring_parse("homeport-bring: no-place /tmp: why, /run: why", &word, &text));
	assert_int_equal(word, BRING_NO_PLACE);
	assert_string_equal(text, "/tmp: why, /run: why");
}

int main(void)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
		void *sh = (void *)shells[i];
		const struct CMUnitTest tests[] = {
#define EACH(name) {#name, name, make_top, remove_top, sh}
			EACH(it_asks_once_and_finds_it_again),
			EACH(it_reads_no_byte_too_many),
			EACH(what_ends_too_early_leaves_nothing),
			EACH(what_does_not_run_as_it_should_is_not_kept),
			EACH(an_installed_one_is_used_if_it_is_the_very_one),
			EACH(without_a_build_the_version_decides),
			EACH(no_shell_finds_anything_to_change_in_it),
			EACH(words_that_a_shell_would_read_are_refused),
			EACH(lines_that_are_not_ours_are_told_apart),
		};

		if (access(shells[i], X_OK) == 0)
			failed += cmocka_run_group_tests_name(shells[i], tests, NULL, NULL);
	}
	return failed;
}
