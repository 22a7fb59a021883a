/* SPDX-License-Identifier: MIT */
/*
 * homeport doctor: looks at each thing that has to be right, here (check_host.c), on the way (check_link.c) and in the
 * guest, and says what to do about each that is not. A running session is looked at with what it runs with; anything
 * else as `up` would start it. Nothing is started, and a session that runs is not disturbed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "check_host.h"
#include "check_link.h"
#include "cmd.h"
#include "config.h"
#include "config_file.h"
#include "ctl_client.h"
#include "desired.h"
#include "json.h"
#include "log.h"
#include "options.h"
#include "problems.h"
#include "runtime_dir.h"

#define ASK_TIMEOUT_S 10u

enum side { SIDE_NONE, SIDE_HOST, SIDE_GUEST };

struct doctor {
	bool as_json;
	struct json json;
	enum side shown; /* whose heading was printed last */
	unsigned problems, notes;
};

static void tell(struct doctor *d, enum side side, const struct check *check)
{
	d->problems += check->verdict == CHECK_PROBLEM;
	d->notes += check->verdict == CHECK_NOTE;
	if (d->as_json) {
		check_json(check, side == SIDE_HOST ? "host" : "guest", &d->json);
		return;
	}
	if (side != d->shown)
		puts(side == SIDE_HOST ? "this machine" : "the guest");
	d->shown = side;
	check_print(check, stdout);
	fflush(stdout);
}

static void on_host(void *ctx, const struct check *check)
{
	tell(ctx, SIDE_HOST, check);
}

static void on_link(void *ctx, bool guest, const struct check *check)
{
	tell(ctx, guest ? SIDE_GUEST : SIDE_HOST, check);
}

/* ------------------------------------------------------------------------------------------------- which session */

static void on_session(void *ctx, char tag, const char *text, size_t len)
{
	char line[CHECK_LINE_MAX];
	struct check check;

	snprintf(line, sizeof(line), "%s", text);
	if (tag == 'o' && check_get(line, &check))
		tell(ctx, SIDE_HOST, &check);
}

/* What the session runs with, and finds of itself, which is told. NULL: it does not run. */
static struct config *running_config(struct doctor *d, const char *name)
{
	char why[RUNTIME_WHY_MAX];
	struct runtime_dir dir;
	struct config *config;
	int rc;

	if (runtime_dir_open(&dir, name, false, why) < 0)
		return NULL;
	config = cmd_running_config(&dir, &rc);
	if (config)
		ctl_ask(&dir, "doctor", ASK_TIMEOUT_S, on_session, d);
	return config;
}

static bool has_options(const struct options *o)
{
	return o->ssh_config || o->port || o->identity_file || o->ssh_options.count || o->mounts.count || o->no_mount ||
	       o->host_key || o->guest_command;
}

static void tell_configuration(struct doctor *d, struct problems *problems, const char *where)
{
	bool wrong = problems_count(problems, PROBLEM_ERROR) > 0;
	struct check check = {.name = "configuration"};
	const char *line;

	for (size_t i = 0; (line = problems_line(problems, i)); i++) {
		check_say(&check, wrong ? CHECK_PROBLEM : CHECK_NOTE, "%s", line);
		tell(d, SIDE_HOST, &check);
	}
	if (!problems_line(problems, 0)) {
		check_say(&check, CHECK_OK, "%s", where);
		tell(d, SIDE_HOST, &check);
	}
}

/* What `up` would make true. NULL: it is wrong, and was told. */
static struct config *wanted_config(struct doctor *d, const struct options *options, struct problems *problems)
{
	struct config *config = NULL;
	struct desired desired;
	char where[PATH_MAX + 32] = "";

	if (desired_make(options, problems, &desired) == 0) {
		config_check_paths(desired.config, problems);
		config = desired.config;
		desired.config = NULL;
		snprintf(where, sizeof(where), "%s%s",
			 desired.file ? desired.file : "no file, a host: ", desired.file ? "" : config->ssh.host);
		desired_clear(&desired);
	}
	tell_configuration(d, problems, where);
	return config;
}

static struct config *find_config(struct doctor *d, const struct options *options, const char *name)
{
	struct problems *problems = problems_new();
	struct config *config = has_options(options) ? NULL : running_config(d, name);
	char where[RUNTIME_NAME_MAX + 32];

	if (!problems) {
		config_free(config);
		return NULL;
	}
	if (!config) {
		config = wanted_config(d, options, problems);
	} else {
		config_check_paths(config, problems);
		snprintf(where, sizeof(where), "of %s, as it runs", name);
		tell_configuration(d, problems, where);
	}
	problems_free(problems);
	return config;
}

/* ---------------------------------------------------------------------------------------------------- the command */

/* name: "": there is no guest to look at. */
static int examine(const struct options *options, const char *name)
{
	struct doctor d = {.as_json = options->json};
	struct config *config = NULL;

	if (d.as_json)
		json_open(&d.json, NULL, '[');
	if (name[0])
		config = find_config(&d, options, name);
	check_host_all(config && config->guest_command, on_host, &d);
	if (config)
		check_link(config, on_link, &d);
	config_free(config);
	if (!d.as_json) {
		printf("%u problem%s, %u note%s%s\n", d.problems, d.problems == 1 ? "" : "s", d.notes,
		       d.notes == 1 ? "" : "s",
		       name[0] ? "" : "; no session runs, and no host was named: only this machine was looked at");
		return d.problems > 0 ? EXIT_FAILED : EXIT_DONE;
	}
	json_close(&d.json, ']');
	if (d.json.out.failed)
		d.problems++;
	else
		printf("%.*s\n", (int)d.json.out.len, (const char *)d.json.out.data);
	json_free(&d.json);
	return d.problems > 0 ? EXIT_FAILED : EXIT_DONE;
}

int cmd_doctor(const struct options *options)
{
	struct options only = *options;
	struct cmd_running running;
	char name[SESSION_NAME_MAX + 1], why[ARG_WHY_MAX];

	/* What the log would say is said by the checks. */
	log_init("homeport", LOG_LEVEL_ERROR);
	if (options->target) {
		if (desired_name(options->target, name, why) < 0)
			return cmd_fail(EXIT_USAGE, "doctor: %s", why);
		return examine(options, name);
	}
	if (has_options(options))
		return cmd_fail(EXIT_USAGE, "doctor: options of a login need a host: see homeport doctor --help");
	cmd_running(&running);
	if (running.count > 1)
		return cmd_fail(EXIT_USAGE, "doctor: several are running, say which: %s", running.all);
	only.target = running.name;
	return examine(&only, running.name);
}
