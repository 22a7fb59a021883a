/* SPDX-License-Identifier: MIT */
/*
 * homeport forward, unforward: ports of a running session. See agent_change.h.
 *
 * A forward is a rule before all others. To take one away is to forget that rule, to drop the configuration's for that
 * port alone, and to ignore what would answer there by the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_change.h"
#include "agent_state.h"
#include "config.h"
#include "ctl_socket.h"
#include "forward.h"
#include "host_arg.h"
#include "rules.h"
#include "runtime_dir.h"

static bool refuse_without_ports(struct agent *a, struct watcher *w)
{
	if (a->config->max_forwards == 0)
		change_refuse(w, ANSWER_FAILED, "%s forwards no ports (--no-ports, or maxForwards: 0)", a->dir->name);
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

/* False: it was refused. */
static bool take_argument(struct watcher *w, int (*parse)(const char *text, struct rule_spec *spec, char *why),
			  struct rule_spec *spec)
{
	char why[ARG_WHY_MAX];
	int rc = parse(w->change->argument, spec, why);

	if (rc == -EINVAL)
		change_refuse(w, ANSWER_WRONG, "%s", why);
	else if (rc < 0)
		change_refuse_errno(w, rc);
	return rc == 0;
}

void change_forward_begin(struct agent *a, struct watcher *w)
{
	struct rule_spec spec;
	struct by_hand next;
	int rc = 0;

	if (refuse_without_ports(a, w))
		return;
	if (!take_argument(w, forward_arg_parse, &spec))
		return;
	use_single_port(&spec.guest_port, &spec.guest_port_range);
	use_single_port(&spec.host_port, &spec.host_port_range);
	if (!has_by_hand(a, &spec)) {
		rc = set_origin(&spec, w->change->words);
		if (!rc)
			rc = by_hand_clone(&a->by_hand, &next);
		if (!rc && (rc = by_hand_rule(&next, &spec, w->change->words)) < 0)
			by_hand_clear(&next);
		if (!rc)
			change_make_true(a, w, &next);
	}
	if (rc < 0)
		change_refuse_errno(w, rc);
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

void change_forward_end(struct agent *a, struct watcher *w)
{
	struct told_rows told = {.client = w->client, .words = w->change->words};

	if (a->forward)
		forward_list(a->forward, tell_row, &told);
	if (a->state != AGENT_CONNECTED) {
		change_refuse(w, ANSWER_NOT_CONNECTED, "%s is not connected; the rule holds when it is", a->dir->name);
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

void change_unforward_begin(struct agent *a, struct watcher *w)
{
	struct rule_spec spec;
	struct by_hand next;
	size_t changes = 0;
	int rc;

	if (refuse_without_ports(a, w))
		return;
	if (!take_argument(w, parse_host_part, &spec))
		return;
	rc = by_hand_clone(&a->by_hand, &next);
	if (!rc) {
		rc = unforward(a, &next, &spec, w->change->words, &changes);
		if (rc < 0 || !changes)
			by_hand_clear(&next);
	}
	if (rc < 0)
		change_refuse_errno(w, rc);
	else if (changes)
		change_make_true(a, w, &next);
	else if (is_in_static_range(a, spec.host_port_range.first))
		change_refuse(w, ANSWER_FAILED, "%s is one of a static range; change the file, and reload",
			      w->change->argument);
	else
		change_refuse(w, ANSWER_FAILED, "nothing of %s answers there", a->dir->name);
	config_forward_clear(&spec);
}

void change_unforward_end(struct agent *a, struct watcher *w)
{
	ctl_client_line(w->client, 'o', "%s does not answer any more", w->change->argument);
	agent_change_answer(w, ANSWER_DONE);
}
