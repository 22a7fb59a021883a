/* SPDX-License-Identifier: MIT */
/*
 * The mounts that are wanted, and what has become of each; at first, and when others are wanted.
 *
 * Theory of operation. A mount is known by its target: what was wanted there before and is still goes on, with the
 * number the guest knows it by. Of its shares each that is served in the same way, at the same point, keeps its server;
 * where any is another, or gone, the guest is told the shares anew (MOUNT for a number that is there). A mount that is
 * not wanted any more is leaving: the guest is asked to unmount it, its servers have a moment to take what is still
 * written, and whatever is wanted above or below it waits until it has gone. agent_guest.c sends what is missing.
 *
 * What lies below another mount is a share of that one (mount_plan.h), with two exceptions: a mount that stands already
 * is not taken down for one above it, which is barred as long as both are wanted; and what lies below a mount that the
 * guest refused is mounted all the same.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "config.h"
#include "log.h"
#include "runtime_dir.h"
#include "shares.h"

/* ---------------------------------------------------------------------------------------------------------- shares
 */

static struct share_source source_of(const struct planned_mount *mount, const struct planned_share *share)
{
	return (struct share_source){.location = share->source->location.path,
				     .writable = share->source->writable,
				     .mask = share->source->mask,
				     .locks = mount->host_locks,
				     .virtual_owners = share->source->virtual_owners,
				     /* What is recorded has none. */
				     .acl = mount->acl && !share->source->virtual_owners};
}

static bool same_source(const struct share_source *a, const struct share_source *b)
{
	return !strcmp(a->location, b->location) && a->writable == b->writable && a->mask == b->mask &&
	       a->locks == b->locks && a->virtual_owners == b->virtual_owners && a->acl == b->acl;
}

/* The share that is served so at this point already, if one is. */
static const struct agent_share *share_kept(const struct agent_mount *old, const struct planned_mount *plan,
					    const struct planned_share *wanted)
{
	const struct share_source source = source_of(plan, wanted);

	for (size_t i = 0; old && i < old->plan->share_count; i++)
		if (!strcmp(old->plan->shares[i].point, wanted->point) &&
		    same_source(served_source(old->shares[i].served), &source))
			return &old->shares[i];
	return NULL;
}

static bool same_owners(const struct planned_mount *a, const struct planned_mount *b)
{
	for (size_t i = 0; i < a->share_count; i++)
		if (!id_map_equal(&a->shares[i].uids, &b->shares[i].uids) ||
		    !id_map_equal(&a->shares[i].gids, &b->shares[i].gids))
			return false;
	return true;
}

/* Whether the guest knows the mount as it is wanted now. */
static bool mount_is_known(const struct agent_mount *old, const struct agent_mount *wanted)
{
	if (old->plan->share_count != wanted->plan->share_count || old->plan->host_locks != wanted->plan->host_locks ||
	    old->plan->acl != wanted->plan->acl)
		return false;
	for (size_t i = 0; i < old->plan->share_count; i++)
		if (old->shares[i].number != wanted->shares[i].number)
			return false;
	return same_owners(old->plan, wanted->plan);
}

/* ---------------------------------------------------------------------------------------------------------- mounts
 */

static const struct agent_mount *mount_at(const struct agent_mount *mounts, size_t count, const char *target)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(mounts[i].plan->target, target))
			return &mounts[i];
	return NULL;
}

static bool has_share(const struct agent_mount *mounts, size_t count, uint32_t number)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; mounts[i].shares && j < mounts[i].plan->share_count; j++)
			if (mounts[i].shares[j].served && mounts[i].shares[j].number == number)
				return true;
	return false;
}

static int make_shares(struct agent *a, struct agent_mount *mount, const struct agent_mount *old)
{
	mount->shares = calloc(mount->plan->share_count, sizeof(*mount->shares));
	if (!mount->shares)
		return -ENOMEM;
	for (size_t i = 0; i < mount->plan->share_count; i++) {
		const struct planned_share *wanted = &mount->plan->shares[i];
		const struct agent_share *kept = share_kept(old, mount->plan, wanted);
		const struct share_source source = source_of(mount->plan, wanted);

		if (kept) {
			mount->shares[i] = *kept;
			continue;
		}
		mount->shares[i].served = shares_add(a->shares, &source);
		if (!mount->shares[i].served)
			return -ENOMEM;
		mount->shares[i].number = a->next_share++;
		mount->shares[i].told = MOUNT_STATUS_COUNT;
	}
	return 0;
}

static bool is_refused(const struct agent_mount *mount)
{
	return mount->sent && mount->status == MOUNT_FAILED;
}

/* As far as is known: without a session the guest has what the last one had. */
static bool is_live(const struct agent_mount *mount)
{
	return mount->tried && (mount->status == MOUNT_MOUNTING || mount->status == MOUNT_MOUNTED);
}

struct wanted_mounts {
	const struct agent *agent;
	const struct config *config;
};

static bool stands_alone(const void *ctx, const char *mount_point)
{
	const struct wanted_mounts *wanted = ctx;
	const struct agent *a = wanted->agent;

	for (size_t i = 0; i < a->plan.count; i++) {
		const char *target = a->mounts[i].plan->target;
		bool same = !strcmp(target, mount_point);

		if (same && is_refused(&a->mounts[i]))
			return true;
		if (!same && is_live(&a->mounts[i]) && mount_plan_within(target, mount_point) &&
		    config_find_mount(wanted->config, target))
			return true;
	}
	return false;
}

/* The first of the other mounts that lie below it; NULL: none does. */
static const char *first_below(const struct mount_plan *plan, const struct planned_mount *mount)
{
	for (size_t i = 0; mount->alone && i < plan->count; i++)
		if (&plan->mounts[i] != mount && mount_plan_within(plan->mounts[i].target, mount->target))
			return plan->mounts[i].target;
	return NULL;
}

/* Mounted, it would hide what lies below it. What the guest said of it stays. */
static void mount_bar(const struct agent *a, struct agent_mount *mount, const char *below)
{
	char text[sizeof(mount->text)];
	bool news = !mount->barred;

	mount->barred = true;
	mount->outdated = false;
	if (is_refused(mount))
		return;
	snprintf(text, sizeof(text), "%.180s contains %.180s, which is mounted: `homeport umount %.60s` that one first",
		 mount->plan->target, below, a->dir->name);
	text_printable(mount->text, sizeof(mount->text), text, strlen(text));
	mount->status = MOUNT_FAILED;
	mount->error = EBUSY;
	if (news)
		log_error("mount: %s", mount->text);
}

static void mount_unbar(struct agent_mount *mount)
{
	mount->barred = false;
	if (mount->sent)
		return;
	mount->status = MOUNT_MOUNTING;
	mount->error = 0;
	mount->text[0] = '\0';
}

/* What becomes of a planned mount: the one that was at its target, or a new one. */
static int make_mount(struct agent *a, const struct mount_plan *all, const struct planned_mount *plan,
		      struct agent_mount *mount)
{
	const char *below = first_below(all, plan);
	const struct agent_mount *old = mount_at(a->mounts, a->plan.count, plan->target);
	int rc;

	if (old)
		*mount = *old;
	else
		snprintf(mount->target, sizeof(mount->target), "%s", plan->target);
	mount->plan = plan;
	mount->shares = NULL;
	rc = make_shares(a, mount, old);
	if (rc < 0)
		return rc;
	if (!old)
		mount->id = ++a->last_mount;
	if (below && !is_live(mount))
		mount_bar(a, mount, below);
	else if (mount->barred)
		mount_unbar(mount);
	if (old && !mount->barred && !mount_is_known(old, mount))
		mount->outdated = mount->sent;
	return 0;
}

/* Ends the shares of `mounts` that `others` do not have. */
static void retire_shares(const struct agent_mount *mounts, size_t count, const struct agent_mount *others,
			  size_t other_count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; mounts[i].shares && j < mounts[i].plan->share_count; j++)
			if (mounts[i].shares[j].served && !has_share(others, other_count, mounts[i].shares[j].number))
				served_retire(mounts[i].shares[j].served);
}

static void free_mounts(struct agent_mount *mounts, struct mount_plan *plan)
{
	for (size_t i = 0; mounts && i < plan->count; i++)
		free(mounts[i].shares);
	free(mounts);
	mount_plan_clear(plan);
}

/* A mount that the guest has, and that is not wanted: its number and its place are remembered until it is gone. */
static void mount_leave(struct agent *a, const struct agent_mount *mount)
{
	struct agent_leaving *leaving = calloc(1, sizeof(*leaving));

	if (!leaving)
		return; /* the guest keeps it until the session's end; nothing serves it */
	leaving->id = mount->id;
	snprintf(leaving->target, sizeof(leaving->target), "%s", mount->target);
	TAILQ_INSERT_TAIL(&a->leaving, leaving, next);
}

static bool has_point(const struct planned_mount *plan, const char *point)
{
	for (size_t i = 0; i < plan->share_count; i++)
		if (!strcmp(plan->shares[i].point, point))
			return true;
	return false;
}

/* What lies below a mount that stays is gone with its share; the mounts that are leaving are told when they have left.
 */
static void tell_dropped(struct agent *a, const struct agent_mount *mounts, size_t count)
{
	for (size_t i = 0; i < a->plan.count; i++) {
		const struct agent_mount *old = &a->mounts[i], *now = mount_at(mounts, count, old->plan->target);

		for (size_t j = 0; now && old->status == MOUNT_MOUNTED && j < old->plan->share_count; j++)
			if (!has_point(now->plan, old->plan->shares[j].point))
				agent_event_share(a, old->target, &old->plan->shares[j], MOUNT_UNMOUNTED, NULL);
	}
}

int agent_mounts_set(struct agent *a, const struct config *config)
{
	const struct wanted_mounts wanted = {a, config};
	struct agent_mount *mounts;
	struct mount_plan plan;
	int rc = mount_plan_make(&plan, config, stands_alone, &wanted);

	if (rc < 0)
		return rc;
	mounts = calloc(plan.count + 1, sizeof(*mounts));
	rc = mounts ? 0 : -ENOMEM;
	for (size_t i = 0; i < plan.count && !rc; i++)
		rc = make_mount(a, &plan, &plan.mounts[i], &mounts[i]);
	if (rc < 0) {
		if (mounts)
			retire_shares(mounts, plan.count, a->mounts, a->plan.count);
		free_mounts(mounts, &plan);
		return rc;
	}
	for (size_t i = 0; i < a->plan.count; i++)
		if (a->mounts[i].sent && !mount_at(mounts, plan.count, a->mounts[i].plan->target))
			mount_leave(a, &a->mounts[i]);
	tell_dropped(a, mounts, plan.count);
	retire_shares(a->mounts, a->plan.count, mounts, plan.count);
	free_mounts(a->mounts, &a->plan);
	a->mounts = mounts;
	a->plan = plan;
	agent_changed(a);
	return 0;
}

bool agent_mount_is_blocked(const struct agent *a, const struct agent_mount *mount)
{
	const struct agent_leaving *leaving;

	TAILQ_FOREACH(leaving, &a->leaving, next)
	if (mount_plan_overlap(leaving->target, mount->target))
		return true;
	return false;
}

void agent_leaving_free(struct agent *a, struct agent_leaving *leaving)
{
	TAILQ_REMOVE(&a->leaving, leaving, next);
	free(leaving);
}

void agent_mounts_end(struct agent *a)
{
	struct agent_leaving *leaving;

	while ((leaving = TAILQ_FIRST(&a->leaving)))
		agent_leaving_free(a, leaving);
	free_mounts(a->mounts, &a->plan);
	a->mounts = NULL;
}
