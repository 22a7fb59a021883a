/* SPDX-License-Identifier: MIT */
/*
 * homeport up, homeport run. `run` is the agent in the foreground. `up` starts `run` with the same words in the
 * background and asks it, over the control socket, how far it is, until everything is mounted and the ports are known.
 *
 * Several `up` at once are made one after the other by a lock; the second finds the agent of the first. Whatever `up`
 * started and could not bring up it takes down again, so that it leaves all or nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "cmd.h"
#include "config.h"
#include "config_file.h"
#include "ctl_client.h"
#include "daemonize.h"
#include "desired.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "passed_sockets.h"
#include "problems.h"
#include "runtime_dir.h"

/* ----------------------------------------------------------------------------------------------- what both begin with
 */

/* The desired state, the session's folders and its number. EXIT_DONE, or the exit status, with the reasons said. */
static int prepare(const struct options *options, struct desired *desired, struct runtime_dir *dir,
		   uint8_t instance[INSTANCE_SIZE])
{
	char why[RUNTIME_WHY_MAX];
	int rc = cmd_desire(options, desired);

	if (rc != EXIT_DONE)
		return rc;
	rc = runtime_dir_open(dir, desired->name, true, why);
	if (!rc && (rc = runtime_dir_instance(dir, instance)) < 0)
		snprintf(why, sizeof(why), "%s: %s", dir->state, strerror(-rc));
	if (rc < 0) {
		desired_clear(desired);
		return cmd_fail(rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED, "%s: %s", command_name(options->command),
				why);
	}
	return EXIT_DONE;
}

/* ---------------------------------------------------------------------------------------------------------------- run
 */

int cmd_run(const struct options *options)
{
	struct desired desired;
	struct runtime_dir dir;
	struct agent_start start = {.desired = &desired, .options = options, .dir = &dir};
	char *folder = getcwd(NULL, 0);
	pid_t other;
	int rc = prepare(options, &desired, &dir, start.instance), place;

	if (rc != EXIT_DONE) {
		free(folder);
		return rc;
	}
	start.folder = folder;
	place = runtime_dir_claim(&dir, &other);
	if (place == -EBUSY) {
		rc = cmd_fail(EXIT_FAILED, "run: %s is already running, as process %d", dir.name, (int)other);
	} else if (place < 0) {
		rc = cmd_fail(EXIT_FAILED, "run: %s: %s", dir.run, strerror(-place));
	} else {
		log_init("homeport", options->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
		passed_sockets_init();
		/* The first turn of the agent's loop is that of the first news. */
		notify_send("STATUS=connecting to %s", desired.config->ssh.host);
		/* Every path is absolute by now; a working folder would only keep its file system busy. */
		if (chdir("/") == 0)
			rc = agent_run(&start);
		runtime_dir_clean(&dir);
		close(place);
	}
	desired_clear(&desired);
	free(folder);
	return rc;
}

/* ----------------------------------------------------------------------------------------------------- already there
 */

struct collected {
	char *text;
	size_t len;
};

static void collect(void *ctx, char tag, const char *text, size_t len)
{
	FILE *out = ctx;

	if (tag == 'o') {
		fwrite(text, 1, len, out);
		fputc('\n', out);
	}
}

struct config *cmd_running_config(const struct runtime_dir *dir, int *rc)
{
	char home[PATH_MAX], *text = NULL;
	struct config *config = NULL;
	struct problems *problems;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out) {
		*rc = -ENOMEM;
		return NULL;
	}
	*rc = ctl_ask(dir, "config", 10, collect, out);
	fclose(out);
	problems = problems_new();
	if (*rc == EXIT_DONE && problems && !config_home(home) &&
	    config_parse("the running session", text, len, home, problems, &config) < 0)
		config = NULL;
	problems_free(problems);
	free(text);
	return config;
}

static int already_up(const struct options *options, const struct desired *desired, const struct runtime_dir *dir,
		      struct config *running)
{
	if (!running)
		return cmd_fail(EXIT_FAILED, "up: an agent of another version runs %s; `homeport down %s` ends it",
				dir->name, dir->name);
	if (!config_equal(running, desired->config)) {
		bool live = (desired->file || options->lima) && config_same_session(running, desired->config);

		cmd_fail(EXIT_FAILED, "up: %s is already up, with other options; `homeport %s %s` %s:", dir->name,
			 live ? "reload" : "down", dir->name, live ? "reads the file again" : "first, to change");
		config_diff(running, desired->config, stderr);
		return EXIT_FAILED;
	}
	printf("%s is already up\n", dir->name);
	return cmd_asked(options, dir, ctl_ask(dir, "wait", options->timeout_s, ctl_print_line, NULL));
}

/* ------------------------------------------------------------------------------------------------------------- start
 */

/* How many words of argv, from this one on, are the option only `up` has: --timeout TIME, in a way getopt takes. */
static int timeout_words(const char *word)
{
	size_t len = strcspn(word, "=");

	if (len < 3 || strncmp(word, "--timeout", len) != 0)
		return 0;
	return word[len] == '=' ? 1 : 2;
}

/* `run` with the words `up` was given. */
static pid_t start_run(const struct runtime_dir *dir, char **argv)
{
	int log = runtime_dir_open_log(dir), kept = 2;
	pid_t pid;

	if (log < 0)
		return log;
	argv[0] = (char *)"homeport";
	argv[1] = (char *)"run";
	for (int i = 2, skip; argv[i]; i += skip ? skip : 1) {
		skip = timeout_words(argv[i]);
		if (!skip)
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	pid = daemonize_start(argv, log);
	close(log);
	return pid;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
	(void)signo;
	interrupted = 1;
}

/* Asks until the agent has made its socket, or has ended. */
static int wait_for_agent(const struct runtime_dir *dir, pid_t child, unsigned timeout_s, int *child_status)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (unsigned tries = 0; tries < timeout_s * 200 && !interrupted; tries++) {
		int rc = ctl_ask(dir, "wait", timeout_s, ctl_print_line, NULL);

		if (rc != -ENOENT)
			return rc;
		if (waitpid(child, child_status, WNOHANG) == child)
			return -ECHILD;
		nanosleep(&pause, NULL);
	}
	return interrupted ? -EINTR : -ETIMEDOUT;
}

/* Ends what was started: politely, then not. */
static void take_down(const struct runtime_dir *dir, pid_t child)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	if (ctl_ask(dir, "down", 10, ctl_print_line, NULL) < 0)
		kill(child, SIGTERM);
	for (int tries = 0; tries < 1400; tries++) {
		if (waitpid(child, NULL, WNOHANG) == child)
			return;
		nanosleep(&pause, NULL);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int start(const struct options *options, const struct runtime_dir *dir, char **argv)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	pid_t child = start_run(dir, argv);
	int rc, status = 0;

	if (child < 0)
		return cmd_fail(EXIT_FAILED, "up: the agent cannot be started: %s", strerror(-child));
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rc = wait_for_agent(dir, child, options->timeout_s, &status);
	switch (rc) {
	case EXIT_DONE:
	case EXIT_NOT_CONNECTED:
		return rc;
	case -ECHILD:
		return cmd_fail(EXIT_FAILED, "up: the agent ended at once, with status %d; see `homeport logs %s`",
				WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), dir->name);
	case -ETIMEDOUT:
		if (ctl_ask(dir, "why", 5, ctl_print_line, NULL) < 0)
			cmd_fail(EXIT_FAILED, "up: gave up after %u s: the agent does not answer", options->timeout_s);
		take_down(dir, child);
		return EXIT_FAILED;
	case -EINTR:
		take_down(dir, child);
		return cmd_fail(EXIT_FAILED, "up: interrupted; nothing is left running");
	default:
		break;
	}
	if (rc >= 0) {
		/* It has said why, and is ending. */
		waitpid(child, NULL, 0);
		return rc;
	}
	take_down(dir, child);
	return cmd_asked(options, dir, rc);
}

int cmd_up(const struct options *options, char **argv)
{
	struct config *running;
	struct desired desired;
	struct runtime_dir dir;
	uint8_t instance[INSTANCE_SIZE];
	int rc = prepare(options, &desired, &dir, instance), lock;

	if (rc != EXIT_DONE)
		return rc;
	lock = runtime_dir_lock_up(&dir, options->timeout_s);
	if (lock < 0) {
		desired_clear(&desired);
		return cmd_fail(EXIT_FAILED, "up: %s: %s", dir.name,
				lock == -EBUSY ? "another `homeport up` of it is under way" : strerror(-lock));
	}
	running = cmd_running_config(&dir, &rc);
	if (rc == -ENOENT)
		rc = start(options, &dir, argv);
	else
		rc = already_up(options, &desired, &dir, running);
	config_free(running);
	desired_clear(&desired);
	close(lock);
	return rc;
}
