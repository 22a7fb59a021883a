/* SPDX-License-Identifier: MIT */
/*
 * homeport events: a line for each change of the session, its mounts and its ports, to each command that listens. See
 * agent_state.h. Nobody is waited for: a reader that lets more than EVENTS_QUEUE_MAX wait is told so and let go.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent_state.h"
#include "config.h"
#include "ctl_socket.h"
#include "forward.h"
#include "json.h"
#include "log.h"
#include "mount_plan.h"
#include "runtime_dir.h"

#define EVENTS_QUEUE_MAX (128u << 10) /* some hundred events beyond what the socket holds */

/* One event on its way to all who listen, in both forms. */
struct event {
	struct json json;
	char text[2048];
};

static void put_time(char out[32])
{
	struct timespec now;
	struct tm utc;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(out + n, 32 - n, ".%03ldZ", now.tv_nsec / 1000000);
}

static bool anybody_listens(const struct agent *a)
{
	const struct watcher *w;

	TAILQ_FOREACH(w, &a->watchers, next)
	if (w->kind == WATCHER_EVENTS && !w->over)
		return true;
	return false;
}

/* The beginning that each event has. */
static void event_begin(struct event *e, const struct agent *a, const char *kind)
{
	char when[32];

	*e = (struct event){0};
	put_time(when);
	snprintf(e->text, sizeof(e->text), "%s ", when);
	json_open(&e->json, NULL, '{');
	json_string(&e->json, "time", when);
	json_string(&e->json, "event", kind);
	json_bytes(&e->json, "name", a->dir->name);
}

static void __attribute__((format(printf, 2, 3))) event_say(struct event *e, const char *format, ...)
{
	size_t n = strlen(e->text);
	va_list args;

	va_start(args, format);
	vsnprintf(e->text + n, sizeof(e->text) - n, format, args);
	va_end(args);
}

static void let_go(struct watcher *w, const struct agent *a)
{
	struct event e;

	event_begin(&e, a, "dropped");
	json_close(&e.json, '}');
	if (w->json && !e.json.out.failed)
		ctl_client_text(w->client, 'o', (const char *)e.json.out.data, e.json.out.len);
	ctl_client_line(w->client, 'e', "homeport: events: this reader is too slow; what follows is missing");
	ctl_client_exit(w->client, 1);
	w->over = true;
	json_free(&e.json);
}

static void event_end(struct event *e, struct agent *a)
{
	struct watcher *w;

	json_close(&e->json, '}');
	TAILQ_FOREACH(w, &a->watchers, next)
	{
		if (w->kind != WATCHER_EVENTS || w->over)
			continue;
		if (ctl_client_waiting(w->client) > EVENTS_QUEUE_MAX || e->json.out.failed)
			let_go(w, a);
		else if (w->json)
			ctl_client_text(w->client, 'o', (const char *)e->json.out.data, e->json.out.len);
		else
			ctl_client_text(w->client, 'o', e->text, strlen(e->text));
	}
	json_free(&e->json);
}

/* ---------------------------------------------------------------------------------------------------------- events */

void agent_event_session(struct agent *a)
{
	const char *error = a->error.kind ? a->error.sentence : NULL;
	struct event e;

	if (!anybody_listens(a))
		return;
	event_begin(&e, a, "session");
	json_string(&e.json, "state", agent_state_name(a->state));
	json_bytes(&e.json, "error", error);
	event_say(&e, "session %s: %s%s%s", a->dir->name, agent_state_name(a->state), error ? ": " : "",
		  error ? error : "");
	event_end(&e, a);
}

void agent_event_share(struct agent *a, const char *target, const struct planned_share *share,
		       enum control_mount_status status, const char *error)
{
	const struct config_mount *source = share ? share->source : NULL;
	char shown[1200], *path;
	struct event e;

	if (!anybody_listens(a))
		return;
	path = mount_plan_path(target, share ? share->point : "");
	event_begin(&e, a, "mount");
	json_bytes(&e.json, "source", source ? source->location.path : NULL);
	json_bytes(&e.json, "target", path ? path : target);
	if (source)
		json_bool(&e.json, "writable", source->writable);
	json_string(&e.json, "state", agent_mount_state_name(status));
	json_bytes(&e.json, "error", error);
	event_say(&e, "mount %s: %s%s%s",
		  text_printable(shown, sizeof(shown), path ? path : target, strlen(path ? path : target)),
		  agent_mount_state_name(status), error ? ": " : "", error ? error : "");
	event_end(&e, a);
	free(path);
}

static void tell_mount(struct agent *a, struct agent_mount *mount)
{
	for (size_t i = 0; i < mount->plan->share_count; i++) {
		if (mount->shares[i].told == mount->status)
			continue;
		mount->shares[i].told = mount->status;
		agent_event_share(a, mount->target, &mount->plan->shares[i], mount->status,
				  mount->status == MOUNT_FAILED ? mount->text : NULL);
	}
}

void agent_event_mounts(struct agent *a)
{
	for (size_t i = 0; i < a->plan.count; i++)
		if (!a->mounts[i].outdated)
			tell_mount(a, &a->mounts[i]);
}

void agent_event_port(struct agent *a, const struct forward_info *info, bool gone)
{
	const char *state = gone ? "gone" : forward_state_name(info->state), *reason = gone ? NULL : info->reason;
	struct event e;

	if (!anybody_listens(a))
		return;
	event_begin(&e, a, "port");
	json_string(&e.json, "proto", info->proto);
	json_string(&e.json, "guest", info->guest);
	json_open(&e.json, "host", '[');
	for (size_t i = 0; i < info->host_count; i++)
		json_string(&e.json, NULL, info->host[i]);
	json_close(&e.json, ']');
	json_string(&e.json, "state", state);
	json_string(&e.json, "reason", reason);
	json_string(&e.json, "process", info->process);
	event_say(&e, "port %s %s", info->proto, info->guest);
	if (info->process)
		event_say(&e, " (%s)", info->process);
	event_say(&e, ": %s", state);
	for (size_t i = 0; i < info->host_count && !gone; i++)
		event_say(&e, "%s%s", i ? ", " : " at ", info->host[i]);
	if (reason)
		event_say(&e, ": %s", reason);
	event_end(&e, a);
}
