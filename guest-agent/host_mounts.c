/* SPDX-License-Identifier: MIT */
/* The mounts of one host. See host_mounts.h. What ends is freed at the end of the turn. */
#include "host_mounts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "bounds.h"
#include "keep_socket.h"
#include "log.h"
#include "loop.h"
#include "wanted.h"

struct mount_entry {
	TAILQ_ENTRY(mount_entry) next;
	struct wanted *wanted;
	bool over; /* to be freed at the end of the turn */
};

struct host_mounts {
	struct loop *loop;
	const uint8_t *host;
	const char *guarded;
	struct op_meter *meter;
	const struct host_mounts_events *events;
	void *ctx;
	TAILQ_HEAD(, mount_entry) mounts;
	unsigned mount_count;
	bool sweeping, freed;
};

static void tell_if_empty(struct host_mounts *h)
{
	if (TAILQ_EMPTY(&h->mounts))
		h->events->empty(h->ctx);
}

static struct mount_entry *entry_find(struct host_mounts *h, const char *target)
{
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	if (!e->over && !strcmp(wanted_target(e->wanted), target))
		return e;
	return NULL;
}

static void entry_free(struct host_mounts *h, struct mount_entry *e)
{
	TAILQ_REMOVE(&h->mounts, e, next);
	h->mount_count--;
	wanted_free(e->wanted);
	free(e);
}

/* Frees what ended in this turn, when none of its functions can be on the stack any more. */
static void sweep(void *ctx)
{
	struct host_mounts *h = ctx;
	struct mount_entry *e, *after;

	h->sweeping = false;
	if (h->freed) {
		free(h);
		return;
	}
	for (e = TAILQ_FIRST(&h->mounts); e; e = after) {
		after = TAILQ_NEXT(e, next);
		if (e->over)
			entry_free(h, e);
	}
	tell_if_empty(h);
}

static void on_wanted_state(void *ctx, struct wanted *w, const struct control_mount_state *state)
{
	struct control_msg msg = {.type = CONTROL_MOUNT_STATE, .mount_state = *state};
	struct host_mounts *h = ctx;

	if (state->status == MOUNT_FAILED)
		log_warn("mount %s: %s", wanted_target(w), state->text[0] ? state->text : strerror((int)state->error));
	if (wanted_is_claimed(w))
		h->events->message(h->ctx, &msg);
}

static void on_wanted_ended(void *ctx, struct wanted *w)
{
	struct host_mounts *h = ctx;
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	if (e->wanted == w)
		e->over = true;
	if (!h->sweeping)
		loop_defer(h->loop, sweep, h);
	h->sweeping = true;
}

static const struct wanted_events wanted_events = {.state = on_wanted_state, .ended = on_wanted_ended};

static bool is_mount_of_ours(void *ctx, const char *path)
{
	struct host_mounts *h = ctx;
	char own[KEEP_SOCKET_PATH_MAX];
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	{
		keep_socket_path(h->guarded, h->host, wanted_target(e->wanted), own);
		if (strcmp(own, path) == 0)
			return true;
	}
	return false;
}

/* What an earlier agent left for this host, and the host does not want. */
static void give_up_unwanted(struct host_mounts *h)
{
	keep_socket_give_up(h->guarded, h->host, is_mount_of_ours, h);
}

void host_mounts_unmount_all(struct host_mounts *h)
{
	struct mount_entry *e;

	give_up_unwanted(h);
	TAILQ_FOREACH(e, &h->mounts, next)
	if (!e->over)
		wanted_unmount(e->wanted);
}

static void mount_failed(struct host_mounts *h, const struct control_mount *mount, int error, const char *text)
{
	struct control_msg msg = {.type = CONTROL_MOUNT_STATE};

	msg.mount_state.id = mount->id;
	msg.mount_state.status = MOUNT_FAILED;
	msg.mount_state.error = (uint32_t)error;
	snprintf(msg.mount_state.target, sizeof(msg.mount_state.target), "%s", mount->target);
	snprintf(msg.mount_state.text, sizeof(msg.mount_state.text), "%s", text);
	log_warn("mount %s: %s", mount->target, text);
	h->events->message(h->ctx, &msg);
}

static void mount_new_one(struct host_mounts *h, struct mux *mux, const struct control_config *config, uint32_t seconds,
			  const struct control_mount *mount, bool instead)
{
	struct mount_entry *e;

	if (h->mount_count >= CONTROL_MOUNTS_MAX) {
		mount_failed(h, mount, ENOSPC, "there are too many mounts already");
		return;
	}
	h->events->take_over(h->ctx, mount->target);
	e = calloc(1, sizeof(*e));
	if (!e) {
		mount_failed(h, mount, ENOMEM, "out of memory");
		return;
	}
	TAILQ_INSERT_TAIL(&h->mounts, e, next);
	h->mount_count++;
	e->wanted = wanted_new(h->loop, mux, mount, config, h->guarded,
			       &(struct wanted_keep){h->host, seconds, instead}, h->meter, &wanted_events, h);
	if (!e->wanted) {
		entry_free(h, e);
		mount_failed(h, mount, ENOMEM, "out of memory");
	} else if (wanted_status(e->wanted) == MOUNT_FAILED) {
		on_wanted_ended(h, e->wanted); /* it ended before the entry knew it */
	}
}

void host_mounts_want(struct host_mounts *h, struct mux *mux, const struct control_config *config, uint32_t seconds,
		      const struct control_mount *mount)
{
	struct mount_entry *e = entry_find(h, mount->target);
	bool instead = e != NULL;

	if (e && wanted_claim(e->wanted, mux, mount) == 0)
		return;
	if (e)
		entry_free(h, e);
	mount_new_one(h, mux, config, seconds, mount, instead);
}

void host_mounts_unwant(struct host_mounts *h, uint32_t id)
{
	struct control_msg answer = {.type = CONTROL_MOUNT_STATE};
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	if (!e->over && wanted_is_claimed(e->wanted) && wanted_id(e->wanted) == id) {
		wanted_unmount(e->wanted);
		return;
	}
	answer.mount_state.id = id;
	answer.mount_state.status = MOUNT_UNMOUNTED;
	snprintf(answer.mount_state.target, sizeof(answer.mount_state.target), "/");
	h->events->message(h->ctx, &answer);
}

void host_mounts_settle(struct host_mounts *h)
{
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	if (!e->over && !wanted_is_claimed(e->wanted))
		wanted_unmount(e->wanted);
	give_up_unwanted(h);
}

bool host_mounts_give_up(struct host_mounts *h, const char *target)
{
	struct mount_entry *e = entry_find(h, target);

	if (e)
		entry_free(h, e);
	return e != NULL;
}

void host_mounts_set_linked(struct host_mounts *h, bool linked)
{
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	wanted_set_linked(e->wanted, linked);
}

void host_mounts_orphan(struct host_mounts *h)
{
	struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	wanted_orphan(e->wanted);
}

/* ---------------------------------------------------------------------------------------------------- begin, end */

struct host_mounts *host_mounts_new(struct loop *loop, const uint8_t *host, const char *guarded, struct op_meter *meter,
				    const struct host_mounts_events *events, void *ctx)
{
	struct host_mounts *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct host_mounts){
		.loop = loop, .host = host, .guarded = guarded, .meter = meter, .events = events, .ctx = ctx};
	TAILQ_INIT(&h->mounts);
	return h;
}

void host_mounts_leave(struct host_mounts *h)
{
	struct mount_entry *e;

	while ((e = TAILQ_FIRST(&h->mounts))) {
		TAILQ_REMOVE(&h->mounts, e, next);
		h->mount_count--;
		wanted_leave(e->wanted);
		free(e);
	}
}

void host_mounts_free(struct host_mounts *h)
{
	struct mount_entry *e;

	if (!h)
		return;
	while ((e = TAILQ_FIRST(&h->mounts)))
		entry_free(h, e);
	h->freed = true;
	if (!h->sweeping)
		free(h);
}

bool host_mounts_is_empty(const struct host_mounts *h)
{
	return TAILQ_EMPTY(&h->mounts);
}

void host_mounts_report(const struct host_mounts *h, FILE *out)
{
	static const char *const states[] = {[MOUNT_MOUNTING] = "mounting",
					     [MOUNT_MOUNTED] = "mounted",
					     [MOUNT_FAILED] = "failed",
					     [MOUNT_UNMOUNTED] = "unmounted"};
	const struct mount_entry *e;

	TAILQ_FOREACH(e, &h->mounts, next)
	fprintf(out, "  %s: %s\n", wanted_target(e->wanted), states[wanted_status(e->wanted)]);
}
