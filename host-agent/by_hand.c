/* SPDX-License-Identifier: MIT */
/* The list of what was changed by hand. See by_hand.h. */
#include "by_hand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------------- the list */

static void change_free(struct by_hand_change *change)
{
	config_mount_clear(&change->mount);
	config_forward_clear(&change->rule);
	free(change->words);
	free(change);
}

void by_hand_forget(struct by_hand *all, struct by_hand_change *change)
{
	TAILQ_REMOVE(&all->list, change, next);
	all->count--;
	change_free(change);
}

void by_hand_init(struct by_hand *all)
{
	TAILQ_INIT(&all->list);
	all->count = 0;
}

void by_hand_clear(struct by_hand *all)
{
	struct by_hand_change *change;

	while ((change = TAILQ_FIRST(&all->list)))
		by_hand_forget(all, change);
}

/* One with a copy of the mount, and of the rule, that are given. */
static int add(struct by_hand *all, enum by_hand_kind kind, const struct config_mount *mount,
	       const struct rule_spec *rule, const char *words)
{
	struct by_hand_change *change = all->count < BY_HAND_MAX ? calloc(1, sizeof(*change)) : NULL;
	int rc = 0;

	if (!change)
		return all->count < BY_HAND_MAX ? -ENOMEM : -ENOSPC;
	change->kind = kind;
	change->words = strdup(words);
	if (mount)
		rc = config_mount_clone(mount, &change->mount);
	if (rule && !rc)
		rc = config_forward_clone(rule, &change->rule);
	if (rc < 0 || !change->words) {
		change_free(change);
		return -ENOMEM;
	}
	change->mount.by_hand = change->rule.by_hand = true;
	TAILQ_INSERT_TAIL(&all->list, change, next);
	all->count++;
	return 0;
}

int by_hand_clone(const struct by_hand *all, struct by_hand *out)
{
	const struct by_hand_change *change;

	by_hand_init(out);
	TAILQ_FOREACH(change, &all->list, next)
	{
		int rc = add(out, change->kind, &change->mount, &change->rule, change->words);

		if (rc < 0) {
			by_hand_clear(out);
			return rc;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- applying it
 */

static int apply_mount(const struct by_hand_change *change, struct config *config)
{
	struct config_mount mount;
	int rc = config_mount_clone(&change->mount, &mount);

	config->default_mounts = false; /* they stay, and are asked for as the others are */
	return rc < 0 ? rc : config_add_mount(config, &mount);
}

static int apply_umount(const struct by_hand_change *change, struct config *config)
{
	config->default_mounts = false;
	config_remove_mount(config, change->mount.mount_point);
	return 0;
}

static int apply_rule(const struct by_hand_change *change, struct config *config)
{
	struct rule_spec rule;
	int rc = config_forward_clone(&change->rule, &rule);

	return rc < 0 ? rc : config_put_forwards_first(config, &rule, 1);
}

static int apply_drop_rule(const struct by_hand_change *change, struct config *config)
{
	config_remove_forward(config, &change->rule);
	return 0;
}

static int (*const appliers[])(const struct by_hand_change *change, struct config *config) = {
	[BY_HAND_MOUNT] = apply_mount,
	[BY_HAND_UMOUNT] = apply_umount,
	[BY_HAND_RULE] = apply_rule,
	[BY_HAND_DROP_RULE] = apply_drop_rule,
};
_Static_assert(sizeof(appliers) / sizeof(appliers[0]) == BY_HAND_KINDS, "each kind is applied");

int by_hand_apply_one(const struct by_hand_change *change, struct config *config)
{
	return appliers[change->kind](change, config);
}

int by_hand_apply(const struct by_hand *all, struct config *config)
{
	const struct by_hand_change *change;
	int rc = 0;

	TAILQ_FOREACH(change, &all->list, next)
	{
		rc = by_hand_apply_one(change, config);
		if (rc < 0)
			break;
	}
	return rc;
}

/* --------------------------------------------------------------------------------------------------------- changing it
 */

static void forget_mount(struct by_hand *all, const char *mount_point)
{
	struct by_hand_change *change, *after;

	for (change = TAILQ_FIRST(&all->list); change; change = after) {
		after = TAILQ_NEXT(change, next);
		if ((change->kind == BY_HAND_MOUNT || change->kind == BY_HAND_UMOUNT) &&
		    !strcmp(change->mount.mount_point, mount_point))
			by_hand_forget(all, change);
	}
}

int by_hand_mount(struct by_hand *all, const struct config_mount *mount, const char *words)
{
	forget_mount(all, mount->mount_point);
	return add(all, BY_HAND_MOUNT, mount, NULL, words);
}

int by_hand_umount(struct by_hand *all, const char *mount_point, const char *words)
{
	const struct config_mount mount = {.mount_point = (char *)mount_point};

	forget_mount(all, mount_point);
	return add(all, BY_HAND_UMOUNT, &mount, NULL, words);
}

int by_hand_take_back_mount(struct by_hand *all, const char *words, const struct by_hand *before)
{
	struct by_hand_change *change;
	const struct by_hand_change *old;
	int rc = 0;

	TAILQ_FOREACH(change, &all->list, next)
	if (change->kind == BY_HAND_MOUNT && !strcmp(change->words, words))
		break;
	if (!change)
		return 0;
	TAILQ_FOREACH(old, &before->list, next)
	if ((old->kind == BY_HAND_MOUNT || old->kind == BY_HAND_UMOUNT) && !rc &&
	    !strcmp(old->mount.mount_point, change->mount.mount_point))
		rc = add(all, old->kind, &old->mount, NULL, old->words);
	by_hand_forget(all, change);
	return rc < 0 ? rc : 1;
}

static struct rule_range ports_of(unsigned single, struct rule_range range)
{
	return range.first ? range : (struct rule_range){single, single};
}

struct rule_range by_hand_host_ports(const struct rule_spec *rule)
{
	struct rule_range host = ports_of(rule->host_port, rule->host_port_range);

	return host.first ? host : ports_of(rule->guest_port, rule->guest_port_range);
}

static bool same_range(struct rule_range a, struct rule_range b)
{
	return a.first == b.first && a.last == b.last;
}

static const char *host_of(const char *host_ip)
{
	return host_ip ? host_ip : "localhost";
}

size_t by_hand_forget_forward(struct by_hand *all, const char *host_ip, struct rule_range host_ports)
{
	struct by_hand_change *change, *after;
	size_t n = 0;

	for (change = TAILQ_FIRST(&all->list); change; change = after) {
		after = TAILQ_NEXT(change, next);
		if (change->kind != BY_HAND_RULE || change->rule.ignore ||
		    strcmp(host_of(change->rule.host_ip), host_of(host_ip)) != 0 ||
		    !same_range(by_hand_host_ports(&change->rule), host_ports))
			continue;
		by_hand_forget(all, change);
		n++;
	}
	return n;
}

/* What hides these ports of the guest, by hand, does so no more. */
static void forget_ignored(struct by_hand *all, struct rule_range guest_ports)
{
	struct by_hand_change *change, *after;

	for (change = TAILQ_FIRST(&all->list); change; change = after) {
		after = TAILQ_NEXT(change, next);
		if (change->kind == BY_HAND_RULE && change->rule.ignore &&
		    change->rule.guest_port >= guest_ports.first && change->rule.guest_port <= guest_ports.last)
			by_hand_forget(all, change);
	}
}

int by_hand_rule(struct by_hand *all, const struct rule_spec *rule, const char *words)
{
	forget_ignored(all, ports_of(rule->guest_port, rule->guest_port_range));
	if (!rule->ignore)
		by_hand_forget_forward(all, rule->host_ip, by_hand_host_ports(rule));
	return add(all, BY_HAND_RULE, NULL, rule, words);
}

int by_hand_drop_rule(struct by_hand *all, const struct rule_spec *rule, const char *words)
{
	return add(all, BY_HAND_DROP_RULE, NULL, rule, words);
}

static bool has_rule(const struct config *config, const struct rule_spec *rule)
{
	for (size_t i = 0; i < config->forward_count; i++)
		if (config_forward_equal(&config->forwards[i], rule))
			return true;
	return false;
}

/* Whether the configuration is as the change would have it, by itself. */
static bool is_so(const struct by_hand_change *change, const struct config *config)
{
	const struct config_mount *mount =
		change->mount.mount_point ? config_find_mount(config, change->mount.mount_point) : NULL;

	switch (change->kind) {
	case BY_HAND_MOUNT:
		return mount && config_mount_equal(mount, &change->mount);
	case BY_HAND_UMOUNT:
		return !mount;
	case BY_HAND_RULE: /* behind others it may never be asked */
		return config->forward_count > 0 && config_forward_equal(&config->forwards[0], &change->rule);
	case BY_HAND_DROP_RULE:
		return !has_rule(config, &change->rule);
	case BY_HAND_KINDS:
		break;
	}
	return false;
}

void by_hand_prune(struct by_hand *all, const struct config *config)
{
	struct by_hand_change *change, *after;

	for (change = TAILQ_FIRST(&all->list); change; change = after) {
		after = TAILQ_NEXT(change, next);
		if (is_so(change, config))
			by_hand_forget(all, change);
	}
}
