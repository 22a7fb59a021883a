/* SPDX-License-Identifier: MIT */
/*
 * by_hand: what was changed in a running session by a command, on top of its configuration: a list of changes that is
 * applied again to whatever the configuration becomes. Pure.
 */
#ifndef HOMEPORT_BY_HAND_H
#define HOMEPORT_BY_HAND_H

#include <stdbool.h>
#include <sys/queue.h>

#include "config.h"

#define BY_HAND_MAX 256 /* changes of one session */

enum by_hand_kind {
	BY_HAND_MOUNT,     /* mount: there */
	BY_HAND_UMOUNT,    /* mount.mount_point: nothing of the configuration's there */
	BY_HAND_RULE,      /* rule: before all others */
	BY_HAND_DROP_RULE, /* rule: not there */
	BY_HAND_KINDS,
};

struct by_hand_change {
	TAILQ_ENTRY(by_hand_change) next;
	enum by_hand_kind kind;
	char *words; /* as a person would type it: "mount /home/me/src:/src:w" */
	struct config_mount mount;
	struct rule_spec rule;
};

struct by_hand {
	TAILQ_HEAD(by_hand_list, by_hand_change) list; /* oldest first */
	size_t count;
};

void by_hand_init(struct by_hand *all);
void by_hand_clear(struct by_hand *all);

/* Into *out, which is not initialised. 0, or -ENOMEM with nothing to clear. */
int by_hand_clone(const struct by_hand *all, struct by_hand *out);

/* Makes the changes to a configuration. 0; -ENOMEM or -ENOSPC, and it is of no use. */
int by_hand_apply(const struct by_hand *all, struct config *config);

int by_hand_apply_one(const struct by_hand_change *change, struct config *config);

/*
 * Adds a change; what an earlier one did at the same place is forgotten. The mount, or rule, is copied. 0; -ENOMEM or
 * -ENOSPC with the list as it was but for what was forgotten.
 */
int by_hand_mount(struct by_hand *all, const struct config_mount *mount, const char *words);
int by_hand_umount(struct by_hand *all, const char *mount_point, const char *words);
int by_hand_rule(struct by_hand *all, const struct rule_spec *rule, const char *words);
int by_hand_drop_rule(struct by_hand *all, const struct rule_spec *rule, const char *words);

/* Takes back the mount that these words added, if it is the one at its mount point: what `before` has there is there
 * again. 1: it did; 0: it is not; or -ENOMEM or -ENOSPC, and the list is of no use. */
int by_hand_take_back_mount(struct by_hand *all, const char *words, const struct by_hand *before);

/* Forgets the rules that have these ports of the host, at this address (NULL: localhost); returns how many. */
size_t by_hand_forget_forward(struct by_hand *all, const char *host_ip, struct rule_range host_ports);

/* Forgets one change, which is freed. */
void by_hand_forget(struct by_hand *all, struct by_hand_change *change);

/* Forgets what the configuration has by itself. */
void by_hand_prune(struct by_hand *all, const struct config *config);

/* The ports of the host a rule names; of a rule without any, its guest's. */
struct rule_range by_hand_host_ports(const struct rule_spec *rule);

#endif
