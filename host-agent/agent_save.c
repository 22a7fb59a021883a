/* SPDX-License-Identifier: MIT */
/*
 * --save: what a command changed is written into the session's file, on a thread, and is then no change by hand any
 * more but the configuration's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "agent_change.h"
#include "agent_state.h"
#include "config.h"
#include "config_edit.h"
#include "config_file.h"
#include "ctl_socket.h"
#include "log.h"
#include "offload.h"
#include "problems.h"
#include "runtime_dir.h"

struct saving {
	char *file;
	char home[PATH_MAX];
	struct by_hand changes; /* to write */
	char why[CONFIG_EDIT_WHY_MAX];
	int rc;
};

static void saving_free(void *job)
{
	struct saving *s = job;

	by_hand_clear(&s->changes);
	free(s->file);
	free(s);
}

/* ----------------------------------------------------------------------------------------------------- on the thread
 */

static int edit_all(struct saving *s, struct config_text *in)
{
	const struct by_hand_change *change;
	int rc = 0;

	TAILQ_FOREACH(change, &s->changes.list, next)
	{
		rc = config_edit(in, change, s->why);
		if (rc < 0)
			break;
	}
	return rc;
}

static int edit_file(struct saving *s, struct problems *problems)
{
	struct config_text in = {.file = s->file, .home = s->home};
	struct stat st;
	int rc = config_file_read(s->file, problems, &in.text, &in.size, &st);

	if (rc < 0) {
		snprintf(s->why, sizeof(s->why), "%s", problems_line(problems, 0) ? problems_line(problems, 0) : "");
		return rc;
	}
	rc = edit_all(s, &in);
	if (!rc)
		rc = config_file_replace(s->file, &st, in.text, in.size);
	if (rc == -EBUSY)
		snprintf(s->why, sizeof(s->why), "%s: it was changed meanwhile; say it again", s->file);
	else if (rc < 0 && !s->why[0])
		snprintf(s->why, sizeof(s->why), "%s: %s", s->file, strerror(-rc));
	free(in.text);
	return rc;
}

static void saving_run(void *job)
{
	struct saving *s = job;
	struct problems *problems = problems_new();

	s->rc = -ENOMEM;
	if (problems && config_home(s->home) == 0)
		s->rc = edit_file(s, problems);
	else
		snprintf(s->why, sizeof(s->why), "%s", strerror(ENOMEM));
	problems_free(problems);
}

/* ------------------------------------------------------------------------------------------------------- on the loop
 */

/* The configuration has it by itself now. */
static void take_saved(struct agent *a, const struct by_hand *saved)
{
	struct config *base = config_clone(a->base);
	struct by_hand next;
	int rc = base ? by_hand_clone(&a->by_hand, &next) : -ENOMEM;

	if (!rc) {
		const struct by_hand_change *change;

		TAILQ_FOREACH(change, &saved->list, next)
		rc = rc ? rc : by_hand_apply_one(change, base);
		config_unmark_by_hand(base);
		by_hand_prune(&next, base);
		if (!rc)
			rc = agent_live_set(a, base, &next);
		by_hand_clear(&next);
	}
	if (rc < 0)
		config_free(base);
}

static void saving_done(void *ctx, void *job)
{
	struct watcher *w = ctx;
	struct agent *a = w->change->agent;
	const char *words = w->change->words;
	struct saving *s = job;
	char text[2400];

	w->change->saving = NULL;
	if (s->rc < 0) {
		w->change->save_failed = true;
		ctl_client_line(w->client, 'e', "homeport: %s: not saved: %s", w->change->command->name, s->why);
	} else {
		take_saved(a, &s->changes);
		log_info("session %s: saved: %s", a->dir->name,
			 text_printable(text, sizeof(text), words, strlen(words)));
		ctl_client_line(w->client, 'o', "saved in %s", s->file);
	}
	agent_changed(a);
}

static const struct offload_work saving = {
	.name = "save",
	.run = saving_run,
	.done = saving_done,
	.free = saving_free,
};

/* What the command changed, as it is in the list. */
static int collect(const struct agent *a, const struct change *change, struct by_hand *out)
{
	struct by_hand_change *one, *after;
	int rc = by_hand_clone(&a->by_hand, out);

	if (rc < 0)
		return rc;
	for (one = TAILQ_FIRST(&out->list); one; one = after) {
		after = TAILQ_NEXT(one, next);
		if (strcmp(one->words, change->words) != 0)
			by_hand_forget(out, one);
	}
	return 0;
}

static struct saving *saving_new(const struct agent *a, const struct change *change)
{
	struct saving *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	by_hand_init(&s->changes);
	s->file = strdup(a->start->desired->file);
	if (s->file && collect(a, change, &s->changes) == 0)
		return s;
	saving_free(s);
	return NULL;
}

bool agent_save_begin(struct agent *a, struct watcher *w)
{
	struct change *change = w->change;
	struct saving *s;

	change->save = false;
	if (!a->start->desired->file) {
		change->save_failed = true;
		ctl_client_line(w->client, 'e',
				"homeport: %s: not saved: the session has no file; `homeport config show` prints what "
				"one would have",
				change->command->name);
		return false;
	}
	s = saving_new(a, change);
	if (s && TAILQ_EMPTY(&s->changes.list)) { /* the file has it already */
		saving_free(s);
		return false;
	}
	change->agent = a;
	change->saving = s ? offload_start(a->loop, &saving, s, w) : NULL;
	if (!change->saving) {
		change->save_failed = true;
		ctl_client_line(w->client, 'e', "homeport: %s: not saved: out of memory or threads",
				change->command->name);
	}
	return change->saving;
}

void agent_save_cancel(struct change *change)
{
	offload_cancel(change->saving);
}
