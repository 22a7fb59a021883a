/* SPDX-License-Identifier: MIT */
/* What the commands have in common. See cmd.h. */
#include "cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "config_file.h"
#include "desired.h"
#include "options.h"
#include "problems.h"
#include "runtime_dir.h"

int cmd_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("homeport: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int cmd_desire(const struct options *options, struct desired *desired)
{
	struct problems *problems = problems_new();
	int rc;

	if (!problems)
		return cmd_fail(EXIT_FAILED, "out of memory");
	rc = desired_make(options, problems, desired);
	if (!rc)
		config_check_paths(desired->config, problems);
	problems_print(problems, stderr);
	if (!rc && problems_count(problems, PROBLEM_ERROR)) {
		desired_clear(desired);
		rc = -EINVAL;
	}
	problems_free(problems);
	return rc < 0 ? EXIT_USAGE : EXIT_DONE;
}

static void on_name(void *ctx, const char *name)
{
	struct cmd_running *running = ctx;
	size_t len = strlen(running->all);

	running->count++;
	snprintf(running->name, sizeof(running->name), "%s", name);
	snprintf(running->all + len, sizeof(running->all) - len, "%s%s", len ? ", " : "", name);
}

void cmd_running(struct cmd_running *running)
{
	*running = (struct cmd_running){0};
	runtime_dir_each(on_name, running);
}

/* Who wants a shell wants it now: what helps is said. A word that is no session may have been meant as a command. */
static int not_running(const struct options *options, const char *name)
{
	const char *command = command_name(options->command);
	struct cmd_running only;

	if (options->command != COMMAND_SHELL)
		return cmd_fail(EXIT_NOT_RUNNING, "%s: %s is not running", command, name);
	cmd_running(&only);
	if (only.count != 1)
		return cmd_fail(EXIT_NOT_RUNNING, "shell: %s is not running; start it with `homeport up %s`", name,
				name);
	return cmd_fail(EXIT_NOT_RUNNING,
			"shell: %s is not running; start it with `homeport up %s`, or run a command in %s with "
			"`homeport shell -- %s`",
			name, name, only.name, name);
}

static int find_name(const struct options *options, char name[RUNTIME_NAME_MAX + 1])
{
	const char *command = command_name(options->command), *word = options->name ? options->name : options->target;
	char found[SESSION_NAME_MAX + 1], why[ARG_WHY_MAX];
	struct cmd_running only;

	if (word) {
		if (desired_name(word, found, why) < 0)
			return cmd_fail(EXIT_USAGE, "%s: %s", command, why);
		snprintf(name, RUNTIME_NAME_MAX + 1, "%s", found);
		return EXIT_DONE;
	}
	cmd_running(&only);
	if (only.count == 0)
		return cmd_fail(EXIT_NOT_RUNNING, "%s: nothing is running%s", command,
				options->command == COMMAND_SHELL ? "; start a session with `homeport up HOST`" : "");
	if (only.count > 1)
		return cmd_fail(EXIT_USAGE, "%s: several are running, say which: %s", command, only.all);
	memcpy(name, only.name, sizeof(only.name));
	return EXIT_DONE;
}

int cmd_session(const struct options *options, struct runtime_dir *dir)
{
	char name[RUNTIME_NAME_MAX + 1], why[RUNTIME_WHY_MAX];
	int rc = find_name(options, name);

	if (rc != EXIT_DONE)
		return rc;
	rc = runtime_dir_open(dir, name, false, why);
	if (rc == -ENOENT)
		return cmd_asked(options, dir, rc);
	return rc < 0 ? cmd_fail(EXIT_FAILED, "%s: %s", command_name(options->command), why) : EXIT_DONE;
}

int cmd_asked(const struct options *options, const struct runtime_dir *dir, int rc)
{
	const char *command = command_name(options->command);

	if (rc >= 0)
		return rc;
	if (rc == -ENOENT)
		return not_running(options, dir->name);
	if (rc == -ECONNRESET)
		return cmd_fail(EXIT_FAILED, "%s: the agent of %s ended before it answered; see `homeport logs %s`",
				command, dir->name, dir->name);
	return cmd_fail(EXIT_FAILED, "%s: %s: %s", command, dir->name, strerror(-rc));
}
