/* SPDX-License-Identifier: MIT */
/*
 * The commands that change a running session: each is carried out at once, and answered when what it asked for is so,
 * or cannot be. Their words, as of ctl_words.h:
 *
 *	reload [NAME=VALUE...]		the configuration is read again; what is wrong, else what needs a new session.
 *					The words are the proxy variables (guest_env.h) that hold from now on
 *	mount SRC[:DST][:w] [save]	umount DST [save]
 *	forward HOST:GUEST [save]	unforward HOST [save]
 *
 * What the last four do is kept as a list of changes on top of the configuration (by_hand.h). With `save` they are
 * written into its file once they are made (agent_save.c).
 */
#include "agent_change.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "host_arg.h"
#include "log.h"
#include "problems.h"
#include "runtime_dir.h"

void agent_change_free(struct change *change)
{
	if (!change)
		return;
	agent_save_cancel(change);
	proxy_env_clear(&change->proxies);
	by_hand_clear(&change->before);
	free(change->argument);
	free(change->place);
	free(change->words);
	free(change);
}

void agent_change_answer(struct watcher *w, int status)
{
	ctl_client_exit(w->client, status == ANSWER_DONE && w->change->save_failed ? ANSWER_FAILED : status);
	w->change->answered = true;
}

void change_refuse(struct watcher *w, int status, const char *format, ...)
{
	char text[ARG_WHY_MAX + 128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ctl_client_line(w->client, 'e', "homeport: %s: %s", w->change->command->name, text);
	agent_change_answer(w, status);
}

void change_refuse_errno(struct watcher *w, int error)
{
	change_refuse(w, ANSWER_FAILED, "%s",
		      error == -ENOSPC ? "there are too many mounts, rules or changes already" : strerror(-error));
}

/* ---------------------------------------------------------------------------------------------------------- reload */

/* The variables of whoever asks, and no others; they hold once the configuration was read. */
static void take_proxies(struct watcher *w, char **words, size_t count)
{
	int rc = 0;

	for (size_t i = 1; i < count && rc == 0; i++)
		rc = proxy_env_take(&w->change->proxies, words[i]);
	if (rc < 0)
		change_refuse_errno(w, rc);
}

static void reload_begin(struct agent *a, struct watcher *w)
{
	w->change->reading = agent_reload(a);
	if (!w->change->reading)
		change_refuse(w, ANSWER_FAILED, "out of memory or threads; nothing was changed");
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
	int rc;

	w->change->reading = 0;
	for (size_t i = 0; (line = problems_line(read->problems, i)); i++)
		ctl_client_line(w->client, 'e', "%s", line);
	if (read->error) {
		change_refuse(w, problems_count(read->problems, PROBLEM_ERROR) ? ANSWER_WRONG : ANSWER_FAILED,
			      "%s: nothing was changed", a->dir->name);
		return;
	}
	rc = agent_services_set_proxies(a, &w->change->proxies);
	if (rc < 0) {
		change_refuse_errno(w, rc);
		return;
	}
	w->change->changes = read->changes + (size_t)rc;
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
	agent_change_answer(w, failed ? ANSWER_NOT_CONNECTED : w->change->partial ? ANSWER_FAILED : ANSWER_DONE);
}

/* ------------------------------------------------------------------------------------------------- changes by hand */

bool change_make_true(struct agent *a, struct watcher *w, struct by_hand *next)
{
	const char *words = w->change->words;
	char text[2400];
	int rc;

	by_hand_prune(next, a->base);
	rc = agent_live_set(a, NULL, next);
	by_hand_clear(next);
	if (rc < 0)
		change_refuse_errno(w, rc);
	else
		log_info("session %s: changed by hand: %s", a->dir->name,
			 text_printable(text, sizeof(text), words, strlen(words)));
	return rc == 0;
}

/* ---------------------------------------------------------------------------------------------------- the commands */

/* One row a command. `begin` changes what is wanted; `end` tells what came of it, when all is settled. */
static const struct change_command commands[] = {
	{"reload", false, reload_begin, reload_end},
	{"mount", true, change_mount_begin, change_mount_end},
	{"umount", true, change_umount_begin, change_umount_end},
	{"forward", true, change_forward_begin, change_forward_end},
	{"unforward", true, change_unforward_begin, change_unforward_end},
};

bool agent_change_update(struct agent *a, struct watcher *w)
{
	struct change *change = w->change;

	if (change->answered)
		return true;
	if (a->state == AGENT_STOPPED) {
		change_refuse(w, ANSWER_FAILED, "%s was stopped meanwhile", a->dir->name);
		return true;
	}
	if (change->reading || change->saving || (a->state == AGENT_CONNECTED && !agent_settled(a)))
		return false;
	if (change->save && !change_mount_failed(a, change) && agent_save_begin(a, w))
		return false;
	change->command->end(a, w);
	return true;
}

static struct watcher *watch(struct agent *a, struct ctl_client *client, const struct change_command *command,
			     const char *argument)
{
	struct change *change = calloc(1, sizeof(*change));
	struct watcher *w = change ? agent_ctl_watch(a, client, WATCHER_CHANGE) : NULL;

	if (!w) {
		free(change);
		return NULL;
	}
	w->change = change;
	by_hand_init(&change->before);
	change->command = command;
	change->argument = argument ? strdup(argument) : NULL;
	if (argument && (!change->argument || asprintf(&change->words, "%s %s", command->name, argument) < 0)) {
		change->words = NULL;
		change_refuse_errno(w, -ENOMEM);
	}
	return w;
}

static void carry_out(struct agent *a, struct ctl_client *client, const struct change_command *command, char **words,
		      size_t count)
{
	struct watcher *w = watch(a, client, command, count > 1 ? words[1] : NULL);

	if (!w) {
		ctl_client_exit(client, ANSWER_FAILED);
		return;
	}
	w->change->save = command->takes_word && count == 3;
	if (!command->takes_word)
		take_proxies(w, words, count);
	if (!w->change->answered)
		command->begin(a, w);
	agent_changed(a);
}

bool agent_change_request(struct agent *a, struct ctl_client *client, const char *line)
{
	char *copy = strdup(line), *words[CTL_WORDS_MAX];
	size_t count = copy ? ctl_words_split(copy, words) : 0;
	bool found = false;

	for (size_t i = 0; count && i < sizeof(commands) / sizeof(commands[0]) && !found; i++) {
		bool fits =
			commands[i].takes_word ? count == 2 || (count == 3 && !strcmp(words[2], "save")) : count >= 1;

		found = fits && !strcmp(words[0], commands[i].name);
		if (found)
			carry_out(a, client, &commands[i], words, count);
	}
	free(copy);
	return found;
}
