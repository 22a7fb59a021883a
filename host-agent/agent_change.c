/* SPDX-License-Identifier: MIT */
/*
 * The commands that change a running session: each is carried out at once, and answered when what it asked for is so,
 * or cannot be. Their words, as of ctl_words.h:
 *
 *	reload				the configuration is read again; what is wrong, else what needs a new session
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

#include "agent.h"
#include "agent_state.h"
#include "config.h"
#include "config_fields.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "forward.h"
#include "host_arg.h"
#include "log.h"
#include "mount_plan.h"
#include "problems.h"
#include "rules.h"
#include "runtime_dir.h"

void agent_change_free(struct change *change)
{
	if (!change)
		return;
	agent_save_cancel(change);
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

static void __attribute__((format(printf, 3, 4))) refuse(struct watcher *w, int status, const char *format, ...)
{
	char text[ARG_WHY_MAX + 128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ctl_client_line(w->client, 'e', "homeport: %s: %s", w->change->command->name, text);
	agent_change_answer(w, status);
}

static void refuse_errno(struct watcher *w, int error)
{
	refuse(w, ANSWER_FAILED, "%s",
	       error == -ENOSPC ? "there are too many mounts, rules or changes already" : strerror(-error));
}

/* ---------------------------------------------------------------------------------------------------------- reload */

static void reload_begin(struct agent *a, struct watcher *w)
{
	w->change->reading = agent_reload(a);
	if (!w->change->reading)
		refuse(w, ANSWER_FAILED, "out of memory or threads; nothing was changed");
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
		refuse(w, problems_count(read->problems, PROBLEM_ERROR) ? ANSWER_WRONG : ANSWER_FAILED,
		       "%s: nothing was changed", a->dir->name);
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
	agent_change_answer(w, failed ? ANSWER_NOT_CONNECTED : w->change->partial ? ANSWER_FAILED : ANSWER_DONE);
}

/* ----------------------------------------------------------------------------------------------- mount and umount */

/* Makes true what `next` says instead of what was changed by hand before. It is taken, or cleared. */
static bool make_true(struct agent *a, struct watcher *w, struct by_hand *next)
{
	int rc;

	by_hand_prune(next, a->base);
	rc = agent_live_set(a, NULL, next);
	by_hand_clear(next);
	if (rc < 0)
		refuse_errno(w, rc);
	else
		log_info("session %s: changed by hand: %s", a->dir->name, w->change->words);
	return rc == 0;
}

static void mount_begin(struct agent *a, struct watcher *w)
{
	const struct config_mount *there;
	struct config_mount mount;
	char why[ARG_WHY_MAX];
	struct by_hand next;
	int rc = mount_arg_parse(w->change->argument, "/", &mount, why);

	if (rc == -EINVAL) {
		refuse(w, ANSWER_WRONG, "%s", why);
		return;
	}
	if (rc < 0) {
		refuse_errno(w, rc);
		return;
	}
	w->change->place = strdup(mount.mount_point);
	there = config_find_mount(a->config, mount.mount_point);
	rc = w->change->place ? 0 : -ENOMEM;
	if (!rc && (!there || !config_mount_equal(there, &mount))) {
		rc = by_hand_clone(&a->by_hand, &next);
		if (!rc && (rc = by_hand_mount(&next, &mount, w->change->words)) < 0)
			by_hand_clear(&next);
		if (!rc)
			make_true(a, w, &next);
	}
	if (rc < 0)
		refuse_errno(w, rc);
	config_mount_clear(&mount);
}

/* The share that is configured for this mount point: its mount, and which of it. NULL: there is none. */
static const struct agent_mount *find_share(const struct agent *a, const char *mount_point, size_t *share)
{
	for (size_t i = 0; i < a->plan.count; i++)
		for (*share = 0; *share < a->mounts[i].plan->share_count; ++*share)
			if (!strcmp(a->mounts[i].plan->shares[*share].source->mount_point, mount_point))
				return &a->mounts[i];
	return NULL;
}

static void mount_end(struct agent *a, struct watcher *w)
{
	const char *place = w->change->place;
	size_t share;
	const struct agent_mount *mount = find_share(a, place, &share);

	if (!mount) {
		refuse(w, ANSWER_FAILED, "%s was unmounted meanwhile", place);
	} else if (a->state != AGENT_CONNECTED) {
		refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; it is mounted when it is", a->dir->name);
	} else if (mount->status == MOUNT_FAILED) {
		refuse(w, ANSWER_FAILED, "%s; `homeport umount %s %s` takes it back", mount->text, a->dir->name, place);
	} else {
		agent_ctl_mount_line(mount, share, w->client);
		agent_change_answer(w, ANSWER_DONE);
	}
}

/* The mount point a person means: as it was asked for, or where it came to be. */
static const char *find_place(const struct agent *a, const char *path)
{
	const struct config_mount *configured = config_find_mount(a->config, path);

	if (configured)
		return configured->mount_point;
	for (size_t i = 0; i < a->plan.count; i++)
		for (size_t j = 0; j < a->mounts[i].plan->share_count; j++) {
			const struct planned_share *share = &a->mounts[i].plan->shares[j];
			char *actual = mount_plan_path(a->mounts[i].target, share->point);
			bool same = actual && !strcmp(actual, path);

			free(actual);
			if (same)
				return share->source->mount_point;
		}
	return NULL;
}

static void umount_begin(struct agent *a, struct watcher *w)
{
	const char *wrong = NULL, *place;
	struct by_hand next;
	char *path = NULL;
	int rc = config_path_guest(w->change->argument, &path, &wrong);

	if (rc == -EINVAL) {
		refuse(w, ANSWER_WRONG, "\"%.200s\" %s", w->change->argument, wrong);
		return;
	}
	place = path ? find_place(a, path) : NULL;
	if (path && !place) {
		refuse(w, ANSWER_FAILED, "nothing is mounted at %s", path);
	} else {
		w->change->place = place ? strdup(place) : NULL;
		rc = w->change->place ? by_hand_clone(&a->by_hand, &next) : -ENOMEM;
		if (!rc && (rc = by_hand_umount(&next, w->change->place, w->change->words)) < 0)
			by_hand_clear(&next);
		if (rc < 0)
			refuse_errno(w, rc);
		else
			make_true(a, w, &next);
	}
	free(path);
}

static void umount_end(struct agent *a, struct watcher *w)
{
	char text[1200];
	const char *place = text_printable(text, sizeof(text), w->change->place, strlen(w->change->place));

	if (a->state != AGENT_CONNECTED) {
		refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; %s is unmounted when it is", a->dir->name, place);
		return;
	}
	ctl_client_line(w->client, 'o', "unmounted %s", place);
	agent_change_answer(w, ANSWER_DONE);
}

/* ------------------------------------------------------------------------------------------- forward and unforward */

static bool refuse_without_ports(struct agent *a, struct watcher *w)
{
	if (a->config->max_forwards == 0)
		refuse(w, ANSWER_FAILED, "%s forwards no ports (--no-ports, or maxForwards: 0)", a->dir->name);
	return a->config->max_forwards == 0;
}

/* "homeport forward 8080:80": how status names the rule. */
static int set_origin(struct rule_spec *spec, const char *words)
{
	char *origin;

	if (asprintf(&origin, "homeport %s", words) < 0)
		return -ENOMEM;
	free((char *)spec->origin);
	spec->origin = origin;
	return 0;
}

static bool has_by_hand(const struct agent *a, const struct rule_spec *spec)
{
	const struct by_hand_change *change;

	TAILQ_FOREACH(change, &a->by_hand.list, next)
	if (change->kind == BY_HAND_RULE && config_forward_equal(&change->rule, spec))
		return true;
	return false;
}

/* A range of one port is that port, as one would write it. */
static void use_single_port(unsigned *single, struct rule_range *range)
{
	if (range->first != range->last)
		return;
	*single = range->first;
	*range = (struct rule_range){0};
}

static void forward_begin(struct agent *a, struct watcher *w)
{
	char why[ARG_WHY_MAX];
	struct rule_spec spec;
	struct by_hand next;
	int rc;

	if (refuse_without_ports(a, w))
		return;
	rc = forward_arg_parse(w->change->argument, &spec, why);
	if (rc < 0) {
		if (rc == -EINVAL)
			refuse(w, ANSWER_WRONG, "%s", why);
		else
			refuse_errno(w, rc);
		return;
	}
	use_single_port(&spec.guest_port, &spec.guest_port_range);
	use_single_port(&spec.host_port, &spec.host_port_range);
	if (!has_by_hand(a, &spec)) {
		rc = set_origin(&spec, w->change->words);
		if (!rc)
			rc = by_hand_clone(&a->by_hand, &next);
		if (!rc && (rc = by_hand_rule(&next, &spec, w->change->words)) < 0)
			by_hand_clear(&next);
		if (!rc)
			make_true(a, w, &next);
	}
	if (rc < 0)
		refuse_errno(w, rc);
	config_forward_clear(&spec);
}

/* What is said of the rows of one rule. */
struct told_rows {
	struct ctl_client *client;
	const char *words;
	size_t rows, bad;
};

static void tell_row(void *ctx, const struct forward_info *info)
{
	struct told_rows *told = ctx;

	if (!info->by_hand || strncmp(info->rule, "homeport ", 9) != 0 || strcmp(info->rule + 9, told->words) != 0)
		return;
	told->rows++;
	told->bad += info->state != FORWARD_FORWARDED;
	agent_ctl_port_line(told->client, info);
}

static void forward_end(struct agent *a, struct watcher *w)
{
	struct told_rows told = {.client = w->client, .words = w->change->words};

	if (a->forward)
		forward_list(a->forward, tell_row, &told);
	if (a->state != AGENT_CONNECTED) {
		refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; the rule holds when it is", a->dir->name);
		return;
	}
	if (!told.rows)
		ctl_client_line(w->client, 'o', "%s: it answers as soon as something listens there in the guest",
				w->change->argument);
	agent_change_answer(w, told.bad ? ANSWER_FAILED : ANSWER_DONE);
}

/* The rule that HOST is the host's part of: "8080" as "8080:8080", "127.0.0.2:80" as "127.0.0.2:80:80". */
static int parse_host_part(const char *text, struct rule_spec *spec, char *why)
{
	const char *ports = strrchr(text, ':');
	char *whole;
	int rc;

	if (asprintf(&whole, "%s:%s", text, ports ? ports + 1 : text) < 0)
		return -ENOMEM;
	rc = strchr(text, ',') ? -EINVAL : forward_arg_parse(whole, spec, why);
	free(whole);
	if (rc == -EINVAL)
		snprintf(why, ARG_WHY_MAX, "\"%.200s\" is not [HOSTIP:]PORT, such as 8080", text);
	return rc;
}

/* Rules of the configuration for this port of the host alone are not there any more. */
static int drop_rules(const struct agent *a, struct by_hand *next, unsigned port, const char *words)
{
	int rc = 0;

	for (size_t i = 0; i < a->base->forward_count && !rc; i++) {
		const struct rule_spec *rule = &a->base->forwards[i];
		struct rule_range ports = by_hand_host_ports(rule);

		if (!rule->ignore && !rule->host_socket && !rule->guest_socket && ports.first == port &&
		    ports.last == port)
			rc = by_hand_drop_rule(next, rule, words);
	}
	return rc;
}

/* What would answer at the port all the same is ignored. */
struct ignoring {
	struct by_hand *next;
	const char *words;
	int rc;
};

static void ignore_listener(void *ctx, uint16_t guest_port)
{
	struct ignoring *i = ctx;
	struct rule_spec rule = {.guest_ip = "::", .guest_port = guest_port, .ignore = true};
	char origin[128];

	snprintf(origin, sizeof(origin), "homeport %s", i->words);
	rule.origin = origin;
	if (!i->rc)
		i->rc = by_hand_rule(i->next, &rule, i->words);
}

static int ignore_rest(struct agent *a, struct by_hand *next, uint16_t port, const char *words)
{
	struct config *config = config_clone(a->base);
	struct ignoring ignoring = {.next = next, .words = words, .rc = -ENOMEM};
	struct rules *rules = NULL;

	if (config && (ignoring.rc = by_hand_apply(next, config)) == 0)
		rules = agent_guest_rules(a, config);
	if (rules)
		forward_try_rules(a->forward, rules, port, ignore_listener, &ignoring);
	rules_free(rules);
	config_free(config);
	return rules ? ignoring.rc : -ENOMEM;
}

/* Of a range that is static each port is there from start to end: no rule before it takes one out. */
static bool is_in_static_range(const struct agent *a, unsigned port)
{
	for (size_t i = 0; i < a->base->forward_count; i++) {
		const struct rule_spec *rule = &a->base->forwards[i];
		struct rule_range ports = by_hand_host_ports(rule);

		if (rule->is_static && ports.first != ports.last && port >= ports.first && port <= ports.last)
			return true;
	}
	return false;
}

static int unforward(struct agent *a, struct by_hand *next, const struct rule_spec *spec, const char *words,
		     size_t *changes)
{
	size_t forgotten = by_hand_forget_forward(next, spec->host_ip, spec->host_port_range), before = next->count;
	unsigned port = spec->host_port_range.first;
	int rc = 0;

	if (port == spec->host_port_range.last) {
		rc = drop_rules(a, next, port, words);
		if (!rc && a->forward)
			rc = ignore_rest(a, next, (uint16_t)port, words);
	}
	*changes = forgotten + next->count - before;
	return rc;
}

static void unforward_begin(struct agent *a, struct watcher *w)
{
	char why[ARG_WHY_MAX];
	struct rule_spec spec;
	struct by_hand next;
	size_t changes = 0;
	int rc;

	if (refuse_without_ports(a, w))
		return;
	rc = parse_host_part(w->change->argument, &spec, why);
	if (rc < 0) {
		if (rc == -EINVAL)
			refuse(w, ANSWER_WRONG, "%s", why);
		else
			refuse_errno(w, rc);
		return;
	}
	rc = by_hand_clone(&a->by_hand, &next);
	if (!rc) {
		rc = unforward(a, &next, &spec, w->change->words, &changes);
		if (rc < 0 || !changes)
			by_hand_clear(&next);
	}
	if (rc < 0)
		refuse_errno(w, rc);
	else if (changes)
		make_true(a, w, &next);
	else if (is_in_static_range(a, spec.host_port_range.first))
		refuse(w, ANSWER_FAILED, "%s is one of a static range; change the file, and reload",
		       w->change->argument);
	else
		refuse(w, ANSWER_FAILED, "nothing of %s answers there", a->dir->name);
	config_forward_clear(&spec);
}

static void unforward_end(struct agent *a, struct watcher *w)
{
	ctl_client_line(w->client, 'o', "%s does not answer any more", w->change->argument);
	agent_change_answer(w, ANSWER_DONE);
}

/* ---------------------------------------------------------------------------------------------------- the commands */

/* One row a command. `begin` changes what is wanted; `end` tells what came of it, when all is settled. */
static const struct change_command commands[] = {
	{"reload", false, reload_begin, reload_end},         {"mount", true, mount_begin, mount_end},
	{"umount", true, umount_begin, umount_end},          {"forward", true, forward_begin, forward_end},
	{"unforward", true, unforward_begin, unforward_end},
};

/* What could not be mounted is not written down. */
static bool is_failed_mount(const struct agent *a, const struct change *change)
{
	size_t share;
	const struct agent_mount *mount = change->place ? find_share(a, change->place, &share) : NULL;

	return a->state == AGENT_CONNECTED && mount && mount->status == MOUNT_FAILED;
}

bool agent_change_update(struct agent *a, struct watcher *w)
{
	struct change *change = w->change;

	if (change->answered)
		return true;
	if (a->state == AGENT_STOPPED) {
		refuse(w, ANSWER_FAILED, "%s was stopped meanwhile", a->dir->name);
		return true;
	}
	if (change->reading || change->saving || (a->state == AGENT_CONNECTED && !agent_settled(a)))
		return false;
	if (change->save && !is_failed_mount(a, change) && agent_save_begin(a, w))
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
	change->command = command;
	change->argument = argument ? strdup(argument) : NULL;
	if (argument && (!change->argument || asprintf(&change->words, "%s %s", command->name, argument) < 0)) {
		change->words = NULL;
		refuse_errno(w, -ENOMEM);
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
	w->change->save = count == 3;
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
			commands[i].takes_word ? count == 2 || (count == 3 && !strcmp(words[2], "save")) : count == 1;

		found = fits && !strcmp(words[0], commands[i].name);
		if (found)
			carry_out(a, client, &commands[i], words, count);
	}
	free(copy);
	return found;
}
