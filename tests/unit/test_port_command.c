/* SPDX-License-Identifier: MIT */
/* onForward: what is run, with which facts, how many at once, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forward.h"
#include "log.h"
#include "loop.h"
#include "port_command.h"

static char folder[] = "/tmp/homeport-test-XXXXXX";
static char out[64];

struct world {
	struct loop *loop;
	struct loop_timer *timer;
	struct port_command *command;
};

static void on_stop(void *ctx)
{
	loop_stop(((struct world *)ctx)->loop);
}

static void run_ms(struct world *w, unsigned ms)
{
	loop_timer_set(w->timer, ms * 1000ull);
	loop_run(w->loop);
}

/* A shell is the program here, as any other would be. */
static void set_script(struct world *w, const char *script)
{
	char *words[] = {(char *)"sh", (char *)"-c", (char *)script, (char *)"told"};

	assert_int_equal(port_command_set(w->command, words, 4), 0);
}

static struct world *world_new(const char *script)
{
	struct world *w = calloc(1, sizeof(*w));

	unlink(out);
	setenv("HOMEPORT_OUT", "not passed on", 1);
	setenv("OUT", out, 1);
	w->loop = loop_new();
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->command = port_command_new(w->loop, "dev");
	set_script(w, script);
	return w;
}

static void world_free(struct world *w)
{
	port_command_free(w->command);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	free(w);
}

static void tell(struct world *w, const char *guest, enum forward_state state, const char *host, bool gone)
{
	struct forward_info info = {
		.proto = "tcp", .guest = guest, .host = {host, "[::1]:80"}, .host_count = 2, .state = state};

	info.process = "py thon";
	port_command_port(w->command, &info, gone);
}

static const char *written(void)
{
	static char text[65536];
	FILE *f = fopen(out, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
	return text;
}

/* Until so many lines are there, for 10 s. */
static void wait_for_lines(struct world *w, size_t lines)
{
	for (int i = 0; i < 1000; i++) {
		size_t n = 0;

		for (const char *p = written(); (p = strchr(p, '\n')) != NULL; p++)
			n++;
		if (n >= lines)
			return;
		run_ms(w, 10);
	}
	fail_msg("%s", written());
}

static void each_end_is_told_once_with_the_facts_of_the_beginning(void **state)
{
	struct world *w =
		world_new("echo $HOMEPORT_EVENT $HOMEPORT_NAME $HOMEPORT_PROTO $HOMEPORT_GUEST $HOMEPORT_HOST "
			  "$HOMEPORT_PROCESS $HOMEPORT_OUT >>$OUT; cat; echo no >&1");

	tell(w, "127.0.0.1:1", FORWARD_CONFLICT, "127.0.0.1:80", false);
	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:80", false);
	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:80", false);
	wait_for_lines(w, 1);
	assert_string_equal(written(), "forwarded dev tcp 127.0.0.1:1 127.0.0.1:80 [::1]:80 py thon\n");
	tell(w, "127.0.0.1:1", FORWARD_IGNORED, "", false);
	tell(w, "127.0.0.1:1", FORWARD_IGNORED, "", true);
	wait_for_lines(w, 2);
	assert_non_null(strstr(written(), "\ngone dev tcp 127.0.0.1:1 127.0.0.1:80 [::1]:80 py thon\n"));
	run_ms(w, 50);
	assert_null(strstr(written(), "gone dev tcp 127.0.0.1:1 127.0.0.1:80 [::1]:80 py thon\ngone"));
	world_free(w);
}

static void a_port_that_moves_is_gone_and_comes(void **state)
{
	struct world *w = world_new("echo $HOMEPORT_EVENT $HOMEPORT_HOST >>$OUT");

	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:80", false);
	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:81", false);
	wait_for_lines(w, 3);
	assert_non_null(strstr(written(), "gone 127.0.0.1:80"));
	assert_non_null(strstr(written(), "forwarded 127.0.0.1:81"));
	world_free(w);
}

static void a_few_run_at_once_and_more_than_a_bound_are_passed_over(void **state)
{
	struct world *w = world_new("echo begin >>$OUT; while ! [ -e $OUT.go ]; do sleep 0.02; done; echo end >>$OUT");
	char guest[64], go[80];

	snprintf(go, sizeof(go), "%s.go", out);
	unlink(go);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(guest, sizeof(guest), "127.0.0.1:%u", i);
		tell(w, guest, FORWARD_FORWARDED, "127.0.0.1:80", false);
	}
	wait_for_lines(w, 4);
	run_ms(w, 100);
	assert_int_equal(strlen(written()), 4 * strlen("begin\n"));
	fclose(fopen(go, "we"));
	wait_for_lines(w, 2 * (4 + 256));
	run_ms(w, 100);
	assert_int_equal(strlen(written()), (4 + 256) * strlen("begin\nend\n"));
	unlink(go);
	world_free(w);
}

static void what_runs_when_it_ends_is_ended_with_its_children(void **state)
{
	struct world *w = world_new("echo $$ >>$OUT; sleep 1000 & wait");
	pid_t pid;

	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:80", false);
	wait_for_lines(w, 1);
	pid = atoi(written());
	assert_true(pid > 1);
	assert_int_equal(getpgid(pid), pid);
	world_free(w);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 500 && killpg(pid, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(killpg(pid, 0), -1);
}

static void a_program_that_is_not_there_does_no_harm(void **state)
{
	struct world *w = world_new("");
	char *words[] = {(char *)"/nowhere/at/all"};

	assert_int_equal(port_command_set(w->command, words, 1), 0);
	tell(w, "127.0.0.1:1", FORWARD_FORWARDED, "127.0.0.1:80", false);
	run_ms(w, 50);
	assert_int_equal(port_command_set(w->command, NULL, 0), 0);
	tell(w, "127.0.0.1:2", FORWARD_FORWARDED, "127.0.0.1:80", false);
	run_ms(w, 10);
	set_script(w, "echo $HOMEPORT_EVENT $HOMEPORT_GUEST >>$OUT");
	tell(w, "127.0.0.1:2", FORWARD_FAILED, "", true);
	wait_for_lines(w, 1);
	assert_string_equal(written(), "gone 127.0.0.1:2\n");
	world_free(w);
}

static int make_folder(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	snprintf(out, sizeof(out), "%s/out", folder);
	return 0;
}

static int remove_folder(void **state)
{
	unlink(out);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_is_told_once_with_the_facts_of_the_beginning),
		cmocka_unit_test(a_port_that_moves_is_gone_and_comes),
		cmocka_unit_test(a_few_run_at_once_and_more_than_a_bound_are_passed_over),
		cmocka_unit_test(what_runs_when_it_ends_is_ended_with_its_children),
		cmocka_unit_test(a_program_that_is_not_there_does_no_harm),
	};

	log_init("test_port_command", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
