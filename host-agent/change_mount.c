/* SPDX-License-Identifier: MIT */
/* homeport mount, umount: folders of a running session. See agent_change.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent_change.h"
#include "agent_state.h"
#include "config.h"
#include "config_fields.h"
#include "ctl_socket.h"
#include "host_arg.h"
#include "log.h"
#include "mount_plan.h"
#include "runtime_dir.h"

void change_mount_begin(struct agent *a, struct watcher *w)
{
	const struct config_mount *there;
	struct config_mount mount;
	char why[ARG_WHY_MAX];
	struct by_hand next;
	int rc = mount_arg_parse(w->change->argument, "/", &mount, why);

	if (rc == -EINVAL) {
		change_refuse(w, ANSWER_WRONG, "%s", why);
		return;
	}
	if (rc < 0) {
		change_refuse_errno(w, rc);
		return;
	}
	w->change->place = strdup(mount.mount_point);
	there = config_find_mount(a->config, mount.mount_point);
	rc = w->change->place ? 0 : -ENOMEM;
	if (!rc && (!there || !config_mount_equal(there, &mount))) {
		rc = by_hand_clone(&a->by_hand, &next);
		if (!rc && (rc = by_hand_mount(&next, &mount, w->change->words)) < 0)
			by_hand_clear(&next);
		if (!rc && (rc = by_hand_clone(&a->by_hand, &w->change->before)) < 0)
			by_hand_clear(&next);
		if (!rc)
			w->change->made = change_make_true(a, w, &next);
	}
	if (rc < 0)
		change_refuse_errno(w, rc);
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

/* What cannot be mounted is not wanted any more, either: all is as it was before the command. */
static void take_back(struct agent *a, const struct change *change)
{
	struct by_hand next;
	int rc = change->made ? by_hand_clone(&a->by_hand, &next) : 0;

	if (!change->made || rc < 0)
		return;
	rc = by_hand_take_back_mount(&next, change->words, &change->before);
	if (rc == 1 && (rc = agent_live_set(a, NULL, &next)) < 0)
		log_error("session %s: what failed is still wanted: %s", a->dir->name, strerror(-rc));
	by_hand_clear(&next);
}

void change_mount_end(struct agent *a, struct watcher *w)
{
	const char *place = w->change->place;
	size_t share;
	const struct agent_mount *mount = find_share(a, place, &share);

	if (!mount) {
		change_refuse(w, ANSWER_FAILED, "%s was unmounted meanwhile", place);
	} else if (a->state != AGENT_CONNECTED) {
		change_refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; it is mounted when it is", a->dir->name);
	} else if (mount->status == MOUNT_FAILED) {
		change_refuse(w, ANSWER_FAILED, "%s", mount->text);
		take_back(a, w->change);
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

void change_umount_begin(struct agent *a, struct watcher *w)
{
	const char *wrong = NULL, *place;
	struct by_hand next;
	char *path = NULL;
	int rc = config_path_guest(w->change->argument, &path, &wrong);

	if (rc == -EINVAL) {
		change_refuse(w, ANSWER_WRONG, "\"%.200s\" %s", w->change->argument, wrong);
		return;
	}
	place = path ? find_place(a, path) : NULL;
	if (path && !place) {
		change_refuse(w, ANSWER_FAILED, "nothing is mounted at %s", path);
	} else {
		w->change->place = place ? strdup(place) : NULL;
		rc = w->change->place ? by_hand_clone(&a->by_hand, &next) : -ENOMEM;
		if (!rc && (rc = by_hand_umount(&next, w->change->place, w->change->words)) < 0)
			by_hand_clear(&next);
		if (rc < 0)
			change_refuse_errno(w, rc);
		else
			change_make_true(a, w, &next);
	}
	free(path);
}

void change_umount_end(struct agent *a, struct watcher *w)
{
	char text[1200];
	const char *place = text_printable(text, sizeof(text), w->change->place, strlen(w->change->place));

	if (a->state != AGENT_CONNECTED) {
		change_refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; %s is unmounted when it is", a->dir->name,
			      place);
		return;
	}
	ctl_client_line(w->client, 'o', "unmounted %s", place);
	agent_change_answer(w, ANSWER_DONE);
}

bool change_mount_failed(const struct agent *a, const struct change *change)
{
	size_t share;
	const struct agent_mount *mount = change->place ? find_share(a, change->place, &share) : NULL;

	return a->state == AGENT_CONNECTED && mount && mount->status == MOUNT_FAILED;
}
