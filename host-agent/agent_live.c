/* SPDX-License-Identifier: MIT */
/*
 * What is wanted changes while the session runs: the configuration is read again, and made true.
 *
 * Theory of operation. `base` is what was read, `by_hand` what commands changed on top of it, `config` both together
 * and what is made true. A change makes a whole new `config`, of which agent_config_set() makes the mounts, the port
 * rules and nothing else true; each of these compares what is with what is wanted and touches what differs. What only a
 * new session can change stays in `base` and `config` as the session has it.
 *
 * Files are read on a thread (offload.h). A configuration with a mistake changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "agent_state.h"
#include "clock.h"
#include "config.h"
#include "config_file.h"
#include "desired.h"
#include "forward.h"
#include "log.h"
#include "notify.h"
#include "offload.h"
#include "port_command.h"
#include "problems.h"
#include "reverse.h"
#include "rules.h"

int agent_config_set(struct agent *a, struct config *next)
{
	const struct forward_limits limits = {.max_forwards = next->max_forwards};
	struct rules *rules = a->reverse ? agent_guest_rules(a, next) : NULL;
	int rc = a->reverse && !rules ? -ENOMEM : agent_mounts_set(a, next);

	if (rc < 0) {
		rules_free(rules);
		return rc;
	}
	if (rules) {
		if (a->forward)
			forward_set_rules(a->forward, rules, &limits);
		if (reverse_set_rules(a->reverse, rules, &a->world) < 0)
			log_error("out of memory: what answers in the guest is as it was");
		rules_free(a->rules);
		a->rules = rules;
	}
	if (!config_same_command(a->config, next) &&
	    port_command_set(a->on_forward, next->on_forward, next->on_forward_count) < 0)
		log_error("session %s: onForward: out of memory; it is not run any more", a->dir->name);
	config_free(a->config);
	a->config = next;
	agent_services_tell(a);
	agent_changed(a);
	return 0;
}

int agent_live_set(struct agent *a, struct config *base, struct by_hand *by_hand)
{
	struct config *next = config_clone(base ? base : a->base);
	int rc = next ? by_hand_apply(by_hand ? by_hand : &a->by_hand, next) : -ENOMEM;

	if (!rc)
		rc = agent_config_set(a, next);
	if (rc < 0) {
		config_free(next);
		return rc;
	}
	if (base) {
		config_free(a->base);
		a->base = base;
	}
	if (by_hand) {
		by_hand_clear(&a->by_hand);
		TAILQ_CONCAT(&a->by_hand.list, &by_hand->list, next);
		a->by_hand.count = by_hand->count;
		by_hand->count = 0;
	}
	return 0;
}

/* ----------------------------------------------------------------------------------------------- on a thread: reading
 */

struct reading {
	const struct options *options;
	char *folder;
	bool had_file; /* the session is of a file's name */
	char name[SESSION_NAME_MAX + 1];
	struct problems *problems;
	struct desired desired;
	int rc;
};

static void reading_free(void *job)
{
	struct reading *r = job;

	desired_clear(&r->desired);
	problems_free(r->problems);
	free(r->folder);
	free(r);
}

static void __attribute__((format(printf, 2, 3))) reading_complain(struct reading *r, const char *format, ...)
{
	char text[PROBLEMS_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problems_add(r->problems, PROBLEM_ERROR, (struct problem_place){.file = "homeport"}, "reload: %s", text);
	r->rc = -EINVAL;
}

static bool is_relative(const char *path)
{
	return path && path[0] != '/' && path[0] != '~';
}

static bool any_relative(const struct options *options)
{
	return is_relative(options->ssh_config) || is_relative(options->identity_file);
}

/* What was typed at first is relative to where that was: this thread alone goes there. */
static bool enter_folder(struct reading *r)
{
	if (!any_relative(r->options))
		return true;
	if (r->folder && unshare(CLONE_FS) == 0 && chdir(r->folder) == 0)
		return true;
	reading_complain(r, "%s: %s: paths of the command line are relative to it", r->folder ? r->folder : "a folder",
			 strerror(errno));
	return false;
}

static void reading_run(void *job)
{
	struct reading *r = job;

	if (!enter_folder(r))
		return;
	r->rc = desired_make(r->options, r->problems, &r->desired);
	if (r->rc < 0)
		return;
	config_check_paths(r->desired.config, r->problems);
	/* Without its file, NAME would be taken for a host, with the defaults of one. */
	if (r->had_file && !r->desired.file)
		reading_complain(r, "the file %s.yaml is gone; `homeport down %s` ends the session", r->name, r->name);
	else if (strcmp(r->desired.name, r->name) != 0)
		reading_complain(r, "the session would be called %s now; `homeport down %s` first", r->desired.name,
				 r->name);
	if (problems_count(r->problems, PROBLEM_ERROR) > 0)
		r->rc = -EINVAL;
}

/* ------------------------------------------------------------------------------------------ on the loop: what it says
 */

/* Lines, for whoever asked and for the log. */
struct lines {
	char *text;
	size_t len;
};

static struct lines diff_lines(const struct config *a, const struct config *b,
			       size_t (*diff)(const struct config *, const struct config *, FILE *), size_t *count)
{
	struct lines lines = {0};
	FILE *out = open_memstream(&lines.text, &lines.len);

	*count = 0;
	if (!out)
		return lines;
	*count = diff(a, b, out);
	fclose(out);
	return lines;
}

static void log_lines(const struct agent *a, const char *what, const char *text)
{
	while (text && *text) {
		size_t len = strcspn(text, "\n");

		log_info("session %s: reload: %s%.*s", a->dir->name, what, (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void log_problems(const struct agent *a, const struct problems *problems)
{
	const char *line;

	for (size_t i = 0; (line = problems_line(problems, i)); i++)
		log_warn("session %s: reload: %s", a->dir->name, line);
}

/* What was read becomes `base`, as far as this session can have it. */
static int take_config(struct agent *a, struct config *read)
{
	struct config *base = config_clone(a->base);
	struct by_hand next;
	int rc = base ? by_hand_clone(&a->by_hand, &next) : -ENOMEM;

	if (!rc) {
		config_swap_live(base, read);
		by_hand_prune(&next, base);
		rc = agent_live_set(a, base, &next);
		by_hand_clear(&next);
	}
	if (rc < 0)
		config_free(base);
	return rc;
}

static void take_reading(struct agent *a, struct reading *r, struct agent_read *result)
{
	struct config *read = r->desired.config;
	struct lines session, changed;
	size_t session_count;

	session = diff_lines(a->base, read, config_diff_session, &session_count);
	changed = diff_lines(a->base, read, config_diff, &result->changes);
	result->changes -= session_count < result->changes ? session_count : result->changes;
	if (take_config(a, read) < 0) {
		log_error("session %s: reload: out of memory; nothing was changed", a->dir->name);
		result->error = true;
	} else {
		log_info("session %s: reloaded, %zu changes", a->dir->name, result->changes);
		log_lines(a, "", changed.text);
		log_lines(a, "needs a new session: ", session.text);
	}
	result->session = session.text ? session.text : "";
	agent_change_read(a, result);
	free(session.text);
	free(changed.text);
}

static void reading_done(void *ctx, void *job)
{
	struct agent *a = ctx;
	struct reading *r = job;
	struct agent_read result = {.number = a->reads, .problems = r->problems, .session = ""};

	a->reader = NULL;
	log_problems(a, r->problems);
	if (r->rc < 0) {
		log_error("session %s: reload: the configuration has mistakes; nothing was changed", a->dir->name);
		result.error = true;
		agent_change_read(a, &result);
	} else {
		take_reading(a, r, &result);
	}
	if (a->ready_told)
		notify_send("READY=1");
	if (a->read_again) {
		a->read_again = false;
		agent_reload(a);
	}
	agent_changed(a);
}

static const struct offload_work reading = {
	.name = "reload",
	.run = reading_run,
	.done = reading_done,
	.free = reading_free,
};

static struct reading *reading_new(const struct agent *a)
{
	const struct agent_start *start = a->start;
	struct reading *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->options = start->options;
	r->had_file = start->desired->file != NULL;
	snprintf(r->name, sizeof(r->name), "%s", start->desired->name);
	r->folder = start->folder ? strdup(start->folder) : NULL;
	r->problems = problems_new();
	if (r->problems)
		return r;
	reading_free(r);
	return NULL;
}

static void tell_reloading(void)
{
	notify_send("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us(CLOCK_MONOTONIC));
}

unsigned agent_reload(struct agent *a)
{
	struct reading *job;

	if (a->reader) {
		a->read_again = true;
		return a->reads + 1;
	}
	a->reads++;
	if (a->ready_told)
		tell_reloading();
	job = reading_new(a);
	a->reader = job ? offload_start(a->loop, &reading, job, a) : NULL;
	if (!a->reader) {
		log_error("session %s: reload: out of memory or threads; nothing was changed", a->dir->name);
		if (a->ready_told)
			notify_send("READY=1");
		return 0;
	}
	return a->reads;
}
