/* SPDX-License-Identifier: MIT */
/* homeport status, homeport ports, homeport events: what the agents say of themselves. Without a name, `status` asks
 * all of them. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "cmd.h"
#include "ctl_client.h"
#include "options.h"
#include "runtime_dir.h"

#define STATUS_TIMEOUT_S 10u

static void question(const struct options *options, const char *what, char text[32])
{
	snprintf(text, 32, "%s %s%s", what, options->json ? "json" : "text", options->watch ? " watch" : "");
}

static int ask(const struct options *options, const struct runtime_dir *dir, const char *what)
{
	char text[32];

	question(options, what, text);
	return ctl_ask(dir, text, options->watch ? 0 : STATUS_TIMEOUT_S, ctl_print_line, NULL);
}

int cmd_ports(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);

	return rc == EXIT_DONE ? cmd_asked(options, &dir, ask(options, &dir, "ports")) : rc;
}

int cmd_events(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);

	if (rc != EXIT_DONE)
		return rc;
	rc = ctl_ask(&dir, options->json ? "events json" : "events text", 0, ctl_print_line, NULL);
	return cmd_asked(options, &dir, rc);
}

/* What the agents that were asked came to. */
struct asked {
	const struct options *options;
	unsigned running;
	int exit_status; /* the worst */
};

static void ask_one(struct asked *asked, const struct runtime_dir *dir)
{
	bool list = asked->options->json && !asked->options->watch;
	int rc;

	if (asked->running)
		fputs(list ? ",\n" : "\n", stdout);
	rc = ask(asked->options, dir, "status");
	if (rc == -ENOENT)
		return;
	asked->running++;
	if (rc < 0)
		rc = cmd_asked(asked->options, dir, rc);
	if (rc > asked->exit_status)
		asked->exit_status = rc;
}

static void on_name(void *ctx, const char *name)
{
	char why[RUNTIME_WHY_MAX];
	struct runtime_dir dir;

	if (!runtime_dir_open(&dir, name, false, why))
		ask_one(ctx, &dir);
}

int cmd_status(const struct options *options)
{
	struct asked asked = {.options = options};
	bool list = options->json && !options->watch;
	struct runtime_dir dir;
	int rc;

	if (options->target || options->name || options->watch) {
		rc = cmd_session(options, &dir);
		if (rc != EXIT_DONE)
			return rc;
		if (list)
			putchar('[');
		ask_one(&asked, &dir);
	} else {
		if (list)
			putchar('[');
		runtime_dir_each(on_name, &asked);
	}
	if (list)
		puts("]");
	fflush(stdout);
	if (asked.running)
		return asked.exit_status;
	return options->target ? cmd_asked(options, &dir, -ENOENT)
			       : cmd_fail(EXIT_NOT_RUNNING, "status: nothing is running");
}
