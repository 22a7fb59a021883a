/* SPDX-License-Identifier: MIT */
/* What a shell makes of the words: run for real, by each shell that is here, as a login shell is run by sshd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shell_line.h"

static const char *const shells[] = {"/bin/dash",     "/bin/bash", "/usr/bin/fish", "/bin/bsd-csh",
				     "/usr/bin/tcsh", "/bin/zsh",  "/usr/bin/mksh"};

struct heard {
	char out[4096], err[4096];
	size_t out_len;
	int status;
};

static size_t drain(int fd, char *to, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, to + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	to[len] = '\0';
	return len;
}

static struct heard hear(const char *shell, const struct shell_line *line)
{
	char *text = shell_line_make(line);
	struct heard h = {0};
	int out[2], err[2];
	pid_t pid;

	assert_non_null(text);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(err), 0);
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		dup2(err[1], 2);
		for (int fd = 3; fd < 20; fd++)
			close(fd);
		execl(shell, shell, "-c", text, NULL);
		_exit(99);
	}
	close(out[1]);
	close(err[1]);
	h.out_len = drain(out[0], h.out, sizeof(h.out));
	drain(err[0], h.err, sizeof(h.err));
	assert_int_equal(waitpid(pid, &h.status, 0), pid);
	free(text);
	return h;
}

static void every_byte_of_a_word_arrives_through_every_shell(void **state)
{
	char all[256], *words[] = {(char *)"printf",
				   (char *)"<%s>",
				   all,
				   (char *)"",
				   (char *)"a b",
				   (char *)"'\"`$(id)!!\\",
				   (char *)"end\n\n",
				   (char *)"\xe9",
				   (char *)"-n",
				   (char *)"~",
				   (char *)"*",
				   (char *)"K=V",
				   NULL};
	char expected[1024];
	int tried = 0;

	for (int byte = 1; byte < 256; byte++)
		all[byte - 1] = (char)byte;
	all[255] = '\0';
	snprintf(expected, sizeof(expected), "<%s><><a b><'\"`$(id)!!\\><end\n\n><\xe9><-n><~><*><K=V>", all);
	for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
		struct heard h;

		if (access(shells[i], X_OK) < 0)
			continue;
		h = hear(shells[i], &(struct shell_line){.words = words});
		if (h.status != 0 || h.err[0] || strcmp(h.out, expected) != 0)
			fail_msg("%s: %s%s", shells[i], h.out, h.err);
		tried++;
	}
	assert_true(tried >= 2);
}

static void the_status_is_the_programs_also_when_a_signal_ends_it(void **state)
{
	char *fails[] = {(char *)"sh", (char *)"-c", (char *)"exit 37", NULL};
	char *killed[] = {(char *)"sh", (char *)"-c", (char *)"kill -KILL $$", NULL};
	char *interrupted[] = {(char *)"sh", (char *)"-c", (char *)"kill -INT $PPID; kill -INT $$", NULL};
	char *missing[] = {(char *)"homeport-no-such-program", NULL};

	assert_int_equal(WEXITSTATUS(hear("/bin/sh", &(struct shell_line){.words = fails}).status), 37);
	assert_int_equal(WEXITSTATUS(hear("/bin/sh", &(struct shell_line){.words = killed}).status), 137);
	assert_int_equal(WEXITSTATUS(hear("/bin/sh", &(struct shell_line){.words = interrupted}).status), 130);
	assert_int_equal(WEXITSTATUS(hear("/bin/sh", &(struct shell_line){.words = missing}).status), 127);
}

static void words_with_an_equals_sign_before_the_program_are_its_environment(void **state)
{
	char *words[] = {(char *)"A=1 2", (char *)"UID=7", (char *)"B=",  (char *)"sh",
			 (char *)"-c",    (char *)"env",   (char *)"C=3", NULL};
	struct heard h = hear("/bin/sh", &(struct shell_line){.words = words});

	assert_non_null(strstr(h.out, "A=1 2\n"));
	assert_non_null(strstr(h.out, "UID=7\n"));
	assert_non_null(strstr(h.out, "B=\n"));
	assert_null(strstr(h.out, "C=3"));
	assert_null(strstr(h.out, "hp_"));
}

static void it_begins_in_the_folder_or_says_why_not(void **state)
{
	char *words[] = {(char *)"pwd", NULL};
	char folder[] = "/tmp/it's a\n folder.XXXXXX";
	struct heard h;

	assert_non_null(mkdtemp(folder));
	h = hear("/bin/sh", &(struct shell_line){.folder = folder, .complaint = "not used", .words = words});
	assert_memory_equal(h.out, folder, strlen(folder));
	assert_string_equal(h.err, "");
	rmdir(folder);
	h = hear("/bin/sh", &(struct shell_line){.folder = folder, .complaint = "it's \"gone\" 100%s", .words = words});
	assert_string_equal(h.err, "it's \"gone\" 100%s\n");
	assert_int_equal(h.status, 0);
}

static void without_a_program_it_is_the_login_shell(void **state)
{
	char *none[] = {NULL}, *variable[] = {(char *)"A=it's", NULL};
	char *const program[] = {(char *)"A=mine", (char *)"sh", (char *)"-c", (char *)"echo $A $B", NULL};
	char *const session[] = {(char *)"A=its", (char *)"B=its", NULL};
	struct heard h;

	setenv("SHELL", "/bin/echo", 1);
	h = hear("/bin/sh", &(struct shell_line){.folder = "/", .complaint = "", .words = none});
	assert_string_equal(h.out, "-l\n");
	h = hear("/bin/sh", &(struct shell_line){.words = variable});
	assert_string_equal(h.out, "-l\n");
	h = hear("/bin/sh", &(struct shell_line){.words = none, .variables = session});
	assert_string_equal(h.out, "-l\n");
	h = hear("/bin/sh", &(struct shell_line){.words = program, .variables = session});
	assert_string_equal(h.out, "mine its\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_of_a_word_arrives_through_every_shell),
		cmocka_unit_test(the_status_is_the_programs_also_when_a_signal_ends_it),
		cmocka_unit_test(words_with_an_equals_sign_before_the_program_are_its_environment),
		cmocka_unit_test(it_begins_in_the_folder_or_says_why_not),
		cmocka_unit_test(without_a_program_it_is_the_login_shell),
	};

	return cmocka_run_group_tests_name("shell_line", tests, NULL, NULL);
}
