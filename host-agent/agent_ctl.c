/* SPDX-License-Identifier: MIT */
/*
 * What the commands ask of a running agent. ctl_socket.h has the form of questions and answers; the words are:
 *
 *	status text|json [watch]	ports text|json [watch]
 *	events text|json		each change from now on
 *	listens				the host's addresses it listens on, for another session
 *	config				the configuration that was read, as YAML
 *	shell				for `shell`: "STATE [TYPE OF HOST KEY]", then "MOUNT STATE SOURCE TARGET" a
 *					share and "env NAME=VALUE" a variable, in the form of ctl_words.h
 *	top SECONDS			what was counted, in the form of top_sample.h; for so long time is taken
 *	doctor				what is not as wanted, a line each as of check.h
 *	wait				progress until all is as wanted; what `up` prints; its exit status
 *	why				what `wait` still waits for
 *	down				stops; answers when that is done
 *
 * Those that change a running session are agent_change.c's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "config.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "forward.h"
#include "log.h"
#include "loop.h"
#include "reverse.h"
#include "runtime_dir.h"

#define EXIT_OK            0
#define EXIT_FAILED        1
#define EXIT_NOT_CONNECTED 4

/* Counters of a watched status are looked at this often; every other change is shown at once. */
#define WATCH_EVERY_US 1000000u

/* ----------------------------------------------------------------------------------------------------- what is shown
 */

static void text_lines(struct ctl_client *client, const struct status_text *shown)
{
	const char *at = shown->text, *end = at + shown->len;

	while (at < end) {
		const char *line = memchr(at, '\n', (size_t)(end - at));

		if (!line)
			line = end;
		ctl_client_text(client, 'o', at, (size_t)(line - at));
		at = line + 1;
	}
}

static struct status_text render(const struct agent *a, enum watcher_kind kind, bool json)
{
	if (kind == WATCHER_STATUS)
		return json ? status_json(a) : status_human(a);
	return json ? ports_json(a) : ports_human(a);
}

static int status_exit(const struct agent *a)
{
	return a->state == AGENT_CONNECTED ? EXIT_OK : EXIT_NOT_CONNECTED;
}

/* FNV-1a; 0 is kept for "nothing shown yet". */
static uint64_t digest(const char *text, size_t len)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)text[i]) * 1099511628211u;
	return h ? h : 1;
}

/* Who has not read yet what was shown before is shown what holds when they have. */
static void show(struct agent *a, struct watcher *w)
{
	struct status_text shown;
	uint64_t now;

	if (ctl_client_waiting(w->client) > 0)
		return;
	shown = render(a, w->kind, w->json);
	now = shown.text ? digest(shown.text, shown.len) : w->shown;

	if (now != w->shown) {
		if (!w->json)
			ctl_client_text(w->client, 'c', "", 0);
		text_lines(w->client, &shown);
		w->shown = now;
	}
	free(shown.text);
}

/* ----------------------------------------------------------------------------------------------------- what `up` says
 */

static const char *kind_of(const char *end)
{
	return end[0] == '/' ? "socket" : "port";
}

static void reverse_line(struct ctl_client *client, const struct forward_info *info)
{
	const char *kind = info->process ? info->process : "reverse";
	const char *host = info->host_count > 0 ? info->host[0] : "the name servers";

	if (info->state == FORWARD_FORWARDED)
		ctl_client_line(client, 'o', "%s %s: guest %s", kind, host, info->guest);
	else
		ctl_client_line(client, 'e', "homeport: %s: %s does not answer in the guest: %s", kind, host,
				info->reason ? info->reason : forward_state_name(info->state));
}

void agent_ctl_port_line(struct ctl_client *client, const struct forward_info *info)
{
	if (info->reverse) {
		reverse_line(client, info);
		return;
	}
	switch (info->state) {
	case FORWARD_FORWARDED:
		ctl_client_line(client, 'o', "%s %s%s%s: guest %s%s%s%s", kind_of(info->host[0]), info->host[0],
				info->host_count > 1 ? ", " : "", info->host_count > 1 ? info->host[1] : "",
				info->guest, info->process ? " (" : "", info->process ? info->process : "",
				info->process ? ")" : "");
		break;
	case FORWARD_CONFLICT:
	case FORWARD_FAILED:
		ctl_client_line(client, 'e', "homeport: %s: guest %s does not answer here: %s", kind_of(info->guest),
				info->guest, info->reason ? info->reason : forward_state_name(info->state));
		break;
	default:
		break;
	}
}

static void on_port(void *ctx, const struct forward_info *info)
{
	agent_ctl_port_line(ctx, info);
}

/* A path of the guest's, fit for a terminal. */
static const char *shown_path(char text[1200], const char *path)
{
	return text_printable(text, 1200, path, strlen(path));
}

void agent_ctl_mount_line(const struct agent_mount *mount, size_t index, struct ctl_client *client)
{
	const struct planned_share *share = &mount->plan->shares[index];
	char text[1200], *path = mount_plan_path(mount->target, share->point);

	ctl_client_line(client, 'o', "mount %s: %s, %s", shown_path(text, path ? path : mount->target),
			share->source->location.path, share->source->writable ? "writable" : "read-only");
	free(path);
}

static void mount_lines(const struct agent_mount *mount, struct ctl_client *client)
{
	for (size_t i = 0; i < mount->plan->share_count; i++)
		agent_ctl_mount_line(mount, i, client);
	if (mount->text[0])
		ctl_client_line(client, 'o', "  %s", mount->text);
}

/* Everything is mounted or cannot be: `up` has done what it can. */
static void tell_settled(struct agent *a, struct ctl_client *client)
{
	size_t failed = agent_failed_mounts(a);

	for (size_t i = 0; i < a->plan.count; i++)
		if (a->mounts[i].status == MOUNT_MOUNTED)
			mount_lines(&a->mounts[i], client);
	if (a->forward)
		forward_list(a->forward, on_port, client);
	if (a->reverse)
		reverse_list(a->reverse, on_port, client);
	for (size_t i = 0; i < a->plan.count; i++)
		if (a->mounts[i].status == MOUNT_FAILED)
			ctl_client_line(client, 'e', "homeport: mount: %s", a->mounts[i].text);
	ctl_client_exit(client, failed ? EXIT_NOT_CONNECTED : EXIT_OK);
}

static void tell_error(const struct agent *a, struct ctl_client *client)
{
	ctl_client_line(client, 'e', "homeport: %s%s%s",
			a->error.kind ? a->error.sentence : "up: it was stopped meanwhile",
			a->error.advice[0] ? "; " : "", a->error.advice);
}

static void tell_progress(const struct agent *a, struct ctl_client *client)
{
	size_t mounted = 0;

	for (size_t i = 0; i < a->plan.count; i++)
		mounted += a->mounts[i].status == MOUNT_MOUNTED || a->mounts[i].status == MOUNT_FAILED;
	if (a->state != AGENT_CONNECTED && a->error.kind)
		ctl_client_line(client, 'p', "%s; trying again ...", a->error.sentence);
	else if (a->state != AGENT_CONNECTED)
		ctl_client_line(client, 'p', "%s to %s ...", agent_state_name(a->state), a->config->ssh.host);
	else if (mounted < a->plan.count)
		ctl_client_line(client, 'p', "mounting: %zu of %zu ...", mounted, a->plan.count);
	else
		ctl_client_line(client, 'p', "waiting for the guest's ports ...");
}

/* For an `up` that has waited long enough. */
static void tell_why(const struct agent *a, struct ctl_client *client)
{
	char text[1200];

	for (size_t i = 0; i < a->plan.count && a->state == AGENT_CONNECTED; i++)
		if (a->mounts[i].status == MOUNT_MOUNTING) {
			ctl_client_line(client, 'e', "homeport: up: gave up: %s is still not mounted",
					shown_path(text, a->mounts[i].target));
			return;
		}
	if (a->state == AGENT_CONNECTED)
		ctl_client_line(client, 'e', "homeport: up: gave up: the guest does not tell its ports");
	else if (a->error.kind)
		ctl_client_line(client, 'e', "homeport: up: gave up: %s%s%s", a->error.sentence,
				a->error.advice[0] ? "; " : "", a->error.advice);
	else
		ctl_client_line(client, 'e', "homeport: up: gave up: %s does not answer", a->config->ssh.host);
}

/* ---------------------------------------------------------------------------------------------------------- watchers
 */

void agent_ctl_unwatch(struct agent *a, struct watcher *w)
{
	TAILQ_REMOVE(&a->watchers, w, next);
	agent_change_free(w->change);
	free(w);
}

/* One look at one watcher. Those that got their answer are freed. */
static void watcher_update(struct agent *a, struct watcher *w)
{
	if (w->kind == WATCHER_STATUS || w->kind == WATCHER_PORTS) {
		show(a, w);
		return;
	}
	if (w->kind == WATCHER_EVENTS) {
		if (w->over)
			agent_ctl_unwatch(a, w);
		return;
	}
	if (w->kind == WATCHER_CHANGE) {
		if (agent_change_update(a, w))
			agent_ctl_unwatch(a, w);
		return;
	}
	if (w->kind == WATCHER_TOP && a->state != AGENT_STOPPED)
		return;
	if (a->state == AGENT_STOPPED) {
		if (w->kind == WATCHER_WAIT) {
			tell_error(a, w->client);
			agent_told(a);
		}
		ctl_client_exit(w->client, w->kind == WATCHER_DOWN ? EXIT_OK : EXIT_FAILED);
	} else if (w->kind == WATCHER_WAIT && agent_settled(a)) {
		tell_settled(a, w->client);
	} else {
		if (w->kind == WATCHER_WAIT)
			tell_progress(a, w->client);
		return;
	}
	agent_ctl_unwatch(a, w);
}

void agent_ctl_update(struct agent *a)
{
	struct watcher *w, *after;

	for (w = TAILQ_FIRST(&a->watchers); w; w = after) {
		after = TAILQ_NEXT(w, next);
		watcher_update(a, w);
	}
}

static void on_watch_timer(void *ctx)
{
	struct agent *a = ctx;

	if (TAILQ_EMPTY(&a->watchers))
		return;
	agent_ctl_update(a);
	loop_timer_set(a->watch_timer, WATCH_EVERY_US);
}

struct watcher *agent_ctl_watch(struct agent *a, struct ctl_client *client, enum watcher_kind kind)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct watcher){.client = client, .kind = kind};
	TAILQ_INSERT_TAIL(&a->watchers, w, next);
	if (!loop_timer_is_set(a->watch_timer))
		loop_timer_set(a->watch_timer, WATCH_EVERY_US);
	return w;
}

static void watch(struct agent *a, struct ctl_client *client, enum watcher_kind kind, bool json)
{
	struct watcher *w = agent_ctl_watch(a, client, kind);

	if (!w) {
		ctl_client_exit(client, EXIT_FAILED);
		return;
	}
	w->json = json;
	watcher_update(a, w);
}

/* ---------------------------------------------------------------------------------------------------------- requests
 */

static void answer_shown(struct agent *a, struct ctl_client *client, enum watcher_kind kind, bool json)
{
	struct status_text shown = render(a, kind, json);

	if (shown.text)
		text_lines(client, &shown);
	ctl_client_exit(client, shown.text ? status_exit(a) : EXIT_FAILED);
	free(shown.text);
}

static void answer_config(struct agent *a, struct ctl_client *client)
{
	struct status_text shown = {0};
	FILE *out = open_memstream(&shown.text, &shown.len);

	if (out) {
		config_show(a->base, out);
		fclose(out);
	}
	if (shown.text)
		text_lines(client, &shown);
	ctl_client_exit(client, shown.text ? EXIT_OK : EXIT_FAILED);
	free(shown.text);
}

static void on_address(void *ctx, const char *address)
{
	ctl_client_text(ctx, 'o', address, strlen(address));
}

/* For another session, which finds one of these taken. */
static void answer_listens(struct agent *a, struct ctl_client *client)
{
	if (a->forward)
		forward_each_address(a->forward, on_address, client);
	ctl_client_exit(client, EXIT_OK);
}

static void shell_share(struct ctl_client *client, const struct agent_mount *mount, size_t index)
{
	const struct planned_share *share = &mount->plan->shares[index];
	char line[CTL_REQUEST_MAX] = "", *path = mount_plan_path(mount->target, share->point);
	enum control_mount_status status = mount->status;

	if (status == MOUNT_MOUNTED && agent_mount_trouble(mount, index))
		status = MOUNT_FAILED;
	if (path && ctl_words_add(line, sizeof(line), agent_mount_state_name(status)) &&
	    ctl_words_add(line, sizeof(line), share->source->location.path) && ctl_words_add(line, sizeof(line), path))
		ctl_client_text(client, 'o', line, strlen(line));
	free(path);
}

static void answer_shell(struct agent *a, struct ctl_client *client)
{
	ctl_client_line(client, 'o', "%s%s%s", agent_state_name(a->state), a->ssh_key_type[0] ? " " : "",
			a->ssh_key_type);
	for (size_t i = 0; i < a->plan.count; i++)
		for (size_t j = 0; j < a->plan.mounts[i].share_count; j++)
			shell_share(client, &a->mounts[i], j);
	agent_services_shell(a, client);
	ctl_client_exit(client, EXIT_OK);
}

static void on_request(void *ctx, struct ctl_client *client, const char *line)
{
	static const struct {
		const char *line;
		enum watcher_kind kind;
		bool json, watch;
	} shows[] = {
		{"status text", WATCHER_STATUS, false, false},      {"status json", WATCHER_STATUS, true, false},
		{"status text watch", WATCHER_STATUS, false, true}, {"status json watch", WATCHER_STATUS, true, true},
		{"ports text", WATCHER_PORTS, false, false},        {"ports json", WATCHER_PORTS, true, false},
		{"ports text watch", WATCHER_PORTS, false, true},   {"ports json watch", WATCHER_PORTS, true, true},
	};
	struct agent *a = ctx;

	for (size_t i = 0; i < sizeof(shows) / sizeof(shows[0]); i++) {
		if (strcmp(line, shows[i].line) != 0)
			continue;
		if (shows[i].watch)
			watch(a, client, shows[i].kind, shows[i].json);
		else
			answer_shown(a, client, shows[i].kind, shows[i].json);
		return;
	}
	if (!strcmp(line, "events text") || !strcmp(line, "events json")) {
		watch(a, client, WATCHER_EVENTS, !strcmp(line, "events json"));
	} else if (!strcmp(line, "listens")) {
		answer_listens(a, client);
	} else if (!strcmp(line, "config")) {
		answer_config(a, client);
	} else if (!strcmp(line, "shell")) {
		answer_shell(a, client);
	} else if (!strcmp(line, "doctor")) {
		agent_doctor_answer(a, client);
	} else if (!strcmp(line, "wait")) {
		watch(a, client, WATCHER_WAIT, false);
	} else if (!strcmp(line, "why")) {
		tell_why(a, client);
		ctl_client_exit(client, EXIT_OK);
	} else if (!strcmp(line, "down")) {
		watch(a, client, WATCHER_DOWN, false);
		agent_stop(a);
	} else if (!agent_top_request(a, client, line) && !agent_change_request(a, client, line)) {
		ctl_client_line(client, 'e',
				"homeport: the running agent is of another version; stop it with `homeport down`");
		ctl_client_exit(client, EXIT_FAILED);
	}
}

static void on_gone(void *ctx, struct ctl_client *client)
{
	struct agent *a = ctx;
	struct watcher *w, *after;

	for (w = TAILQ_FIRST(&a->watchers); w; w = after) {
		after = TAILQ_NEXT(w, next);
		if (w->client == client)
			agent_ctl_unwatch(a, w);
	}
}

static const struct ctl_events ctl_events = {.request = on_request, .gone = on_gone};

int agent_ctl_begin(struct agent *a)
{
	char path[RUNTIME_PATH_MAX];

	TAILQ_INIT(&a->watchers);
	runtime_dir_socket_path(a->dir, path);
	a->watch_timer = loop_timer_new(a->loop, on_watch_timer, a);
	a->ctl = ctl_socket_new(a->loop, path, &ctl_events, a);
	if (a->ctl && a->watch_timer && agent_top_begin(a) == 0)
		return 0;
	return errno ? -errno : -ENOMEM;
}

void agent_ctl_end(struct agent *a)
{
	struct watcher *w;

	if (!a->loop)
		return;
	a->state = AGENT_STOPPED;
	while (a->ctl && (w = TAILQ_FIRST(&a->watchers))) {
		if (w->kind == WATCHER_STATUS || w->kind == WATCHER_PORTS || (w->kind == WATCHER_EVENTS && !w->over)) {
			ctl_client_exit(w->client, EXIT_OK);
			agent_ctl_unwatch(a, w);
		} else {
			watcher_update(a, w);
		}
	}
	ctl_socket_free(a->ctl);
	loop_timer_free(a->watch_timer);
	agent_top_end(a);
}
