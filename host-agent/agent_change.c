/* SPDX-License-Identifier: MIT */
/*
 * The commands that change a running session: each is carried out at once, and answered when what it asked for is so,
 * or cannot be.
 *
 *	reload		the configuration is read again; what is wrong with it, else what needs a new session
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "config.h"
#include "ctl_socket.h"
#include "log.h"
#include "problems.h"
#include "runtime_dir.h"

enum {
	ANSWER_DONE = 0,
	ANSWER_FAILED = 1,
	ANSWER_WRONG = 2,
	ANSWER_NOT_CONNECTED = 4,
};

/* One command that waits for its answer. */
struct change {
	unsigned reading; /* the one it waits for; 0: none (any more) */
	bool answered;
	bool partial; /* some of it needs a new session */
	size_t changes;
};

void agent_change_free(struct change *change)
{
	free(change);
}

static void answer(struct watcher *w, int status)
{
	ctl_client_exit(w->client, status);
	w->change->answered = true;
}

/* ---------------------------------------------------------------------------------------------------------- reload */

static void reload_begin(struct agent *a, struct watcher *w)
{
	w->change->reading = agent_reload(a);
	if (w->change->reading)
		return;
	ctl_client_line(w->client, 'e', "homeport: reload: out of memory or threads; nothing was changed");
	answer(w, ANSWER_FAILED);
}

static void tell_session(const struct agent *a, struct ctl_client *client, const char *lines)
{
	if (!lines[0])
		return;
	ctl_client_line(client, 'e',
			"homeport: reload: this takes a new session, `homeport down %s` and `homeport up %s`:",
			a->dir->name, a->dir->name);
	while (*lines) {
		size_t len = strcspn(lines, "\n");

		ctl_client_line(client, 'e', "  %.*s", (int)len, lines);
		lines += len + (lines[len] == '\n');
	}
}

static void tell_read(struct agent *a, struct watcher *w, const struct agent_read *read)
{
	const char *line;

	w->change->reading = 0;
	for (size_t i = 0; (line = problems_line(read->problems, i)); i++)
		ctl_client_line(w->client, 'e', "%s", line);
	if (read->error) {
		ctl_client_line(w->client, 'e', "homeport: reload: %s: nothing was changed", a->dir->name);
		answer(w, problems_count(read->problems, PROBLEM_ERROR) ? ANSWER_WRONG : ANSWER_FAILED);
		return;
	}
	w->change->changes = read->changes;
	w->change->partial = read->session[0];
	tell_session(a, w->client, read->session);
}

void agent_change_read(struct agent *a, const struct agent_read *read)
{
	struct watcher *w;

	TAILQ_FOREACH(w, &a->watchers, next)
	if (w->kind == WATCHER_CHANGE && w->change->reading == read->number)
		tell_read(a, w, read);
	agent_changed(a);
}

static void reload_end(struct agent *a, struct watcher *w)
{
	size_t failed = a->state == AGENT_CONNECTED ? agent_failed_mounts(a) : 0;

	for (size_t i = 0; failed && i < a->plan.count; i++)
		if (a->mounts[i].status == MOUNT_FAILED)
			ctl_client_line(w->client, 'e', "homeport: mount: %s", a->mounts[i].text);
	if (!w->change->changes)
		ctl_client_line(w->client, 'o', "%s: nothing has changed", a->dir->name);
	else
		ctl_client_line(w->client, 'o', "%s: %zu change%s made%s", a->dir->name, w->change->changes,
				w->change->changes == 1 ? "" : "s",
				a->state == AGENT_CONNECTED ? "" : ", for when the guest is connected");
	answer(w, failed ? ANSWER_NOT_CONNECTED : w->change->partial ? ANSWER_FAILED : ANSWER_DONE);
}

/* ---------------------------------------------------------------------------------------------------- the commands */

bool agent_change_update(struct agent *a, struct watcher *w)
{
	if (w->change->answered)
		return true;
	if (a->state == AGENT_STOPPED) {
		ctl_client_line(w->client, 'e', "homeport: %s was stopped meanwhile", a->dir->name);
		answer(w, ANSWER_FAILED);
		return true;
	}
	if (w->change->reading || (a->state == AGENT_CONNECTED && !agent_settled(a)))
		return false;
	reload_end(a, w);
	return true;
}

static struct watcher *watch(struct agent *a, struct ctl_client *client)
{
	struct change *change = calloc(1, sizeof(*change));
	struct watcher *w = change ? agent_ctl_watch(a, client, WATCHER_CHANGE) : NULL;

	if (!w) {
		free(change);
		ctl_client_exit(client, ANSWER_FAILED);
		return NULL;
	}
	w->change = change;
	return w;
}

bool agent_change_request(struct agent *a, struct ctl_client *client, const char *line)
{
	struct watcher *w;

	if (strcmp(line, "reload") != 0)
		return false;
	w = watch(a, client);
	if (w)
		reload_begin(a, w);
	agent_changed(a);
	return true;
}
