/* SPDX-License-Identifier: MIT */
/* What `status` and `ports` show of an agent, as JSON for programs and as tables for people. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_state.h"
#include "config.h"
#include "forward.h"
#include "json.h"
#include "log.h"
#include "peer.h"
#include "reverse.h"
#include "runtime_dir.h"
#include "shares.h"
#include "table.h"

static const char *const mount_states[] = {
	[MOUNT_MOUNTING] = "mounting",
	[MOUNT_MOUNTED] = "mounted",
	[MOUNT_FAILED] = "failed",
	[MOUNT_UNMOUNTED] = "unmounted",
};
_Static_assert(sizeof(mount_states) / sizeof(mount_states[0]) == MOUNT_STATUS_COUNT, "each state has a name");

const char *agent_mount_state_name(enum control_mount_status status)
{
	return mount_states[status];
}

const char *agent_mount_trouble(const struct agent_mount *mount, size_t share)
{
	if (mount->status == MOUNT_FAILED)
		return mount->text;
	return served_error(mount->shares[share].served);
}

static struct status_text finish(struct json *j)
{
	struct status_text text = {0};

	if (!j->out.failed)
		text = (struct status_text){.text = (char *)j->out.data, .len = j->out.len};
	else
		json_free(j);
	return text;
}

/* -------------------------------------------------------------------------------------------------------------- JSON
 */

static void json_mount(struct json *j, const struct agent_mount *mount)
{
	for (size_t i = 0; i < mount->plan->share_count; i++) {
		const struct planned_share *share = &mount->plan->shares[i];
		char *path = mount_plan_path(mount->target, share->point);

		json_open(j, NULL, '{');
		json_bytes(j, "source", share->source->location.path);
		json_bytes(j, "target", path);
		json_bool(j, "writable", share->source->writable);
		json_string(j, "state", mount_states[mount->status]);
		json_bytes(j, "error", agent_mount_trouble(mount, i));
		json_bytes(j, "note", mount->status == MOUNT_MOUNTED && mount->text[0] ? mount->text : NULL);
		json_bool(j, "by_hand", share->source->by_hand);
		json_u64(j, "requests", served_requests(mount->shares[i].served));
		json_close(j, '}');
		free(path);
	}
}

static void json_port(void *ctx, const struct forward_info *info)
{
	struct json *j = ctx;

	json_open(j, NULL, '{');
	json_string(j, "proto", info->proto);
	json_string(j, "guest", info->guest);
	json_open(j, "host", '[');
	for (size_t i = 0; i < info->host_count; i++)
		json_string(j, NULL, info->host[i]);
	json_close(j, ']');
	json_string(j, "state", forward_state_name(info->state));
	json_string(j, "reason", info->reason);
	json_string(j, "process", info->process);
	json_string(j, "user", info->user);
	json_string(j, "unit", info->unit);
	json_bool(j, "by_hand", info->by_hand);
	json_u64(j, "connections", info->connections);
	json_u64(j, "bytes_in", info->bytes_in);
	json_u64(j, "bytes_out", info->bytes_out);
	json_bool(j, "reverse", info->reverse);
	json_close(j, '}');
}

static void json_ports(struct json *j, const char *key, const struct agent *a)
{
	json_open(j, key, '[');
	if (a->forward)
		forward_list(a->forward, json_port, j);
	if (a->reverse)
		reverse_list(a->reverse, json_port, j);
	json_close(j, ']');
}

static void json_guest(struct json *j, const struct agent *a)
{
	json_open(j, "guest", '{');
	json_bytes(j, "host", a->ssh_host[0] ? a->ssh_host : a->config->ssh.host);
	json_u64(j, "port", a->ssh_port);
	json_bytes(j, "user", a->ssh_user[0] ? a->ssh_user : a->config->ssh.user);
	json_string(j, "host_key", a->ssh_key[0] ? a->ssh_key : NULL);
	json_u64(j, "rtt_us", a->peer ? peer_rtt_us(a->peer) : 0);
	json_bool(j, "direct", a->direct.up);
	json_string(j, "direct_reason", a->direct.why[0] ? a->direct.why : NULL);
	json_bytes(j, "agent_version", a->guest.agent_version[0] ? a->guest.agent_version : NULL);
	json_bytes(j, "hostname", a->guest.hostname[0] ? a->guest.hostname : NULL);
	json_close(j, '}');
}

/* What commands changed, as they were typed. */
static void json_by_hand(struct json *j, const struct agent *a)
{
	const struct by_hand_change *change;
	char words[2400];

	json_open(j, "by_hand", '[');
	TAILQ_FOREACH(change, &a->by_hand.list, next)
	json_string(j, NULL, text_printable(words, sizeof(words), change->words, strlen(change->words)));
	json_close(j, ']');
}

struct status_text status_json(const struct agent *a)
{
	struct json j = {0};
	char since[32];
	struct tm utc;

	gmtime_r(&a->since, &utc);
	strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_open(&j, NULL, '{');
	json_bytes(&j, "name", a->dir->name);
	json_u64(&j, "pid", (uint64_t)getpid());
	json_string(&j, "state", agent_state_name(a->state));
	json_string(&j, "since", since);
	json_u64(&j, "reconnects", a->reconnects);
	json_bytes(&j, "error", a->error.kind ? a->error.sentence : NULL);
	json_guest(&j, a);
	json_by_hand(&j, a);
	json_open(&j, "mounts", '[');
	for (size_t i = 0; i < a->plan.count; i++)
		json_mount(&j, &a->mounts[i]);
	json_close(&j, ']');
	json_ports(&j, "ports", a);
	json_close(&j, '}');
	return finish(&j);
}

struct status_text ports_json(const struct agent *a)
{
	struct json j = {0};

	json_ports(&j, NULL, a);
	return finish(&j);
}

/* ------------------------------------------------------------------------------------------------------------ people
 */

/* Text that came from outside, or from a path, fit for a terminal. */
static void add_printable(struct table *t, const char *raw)
{
	char text[1200];

	table_add(t, text_printable(text, sizeof(text), raw, strlen(raw)));
}

static void add_bytes(struct table *t, uint64_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double scaled = (double)n;
	size_t unit = 0;

	while (scaled >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		scaled /= 1024;
		unit++;
	}
	table_addf(t, unit ? "%.1f %s" : "%.0f %s", scaled, units[unit]);
}

static void human_mounts(const struct agent *a, FILE *out)
{
	struct table t = {.columns = 5};
	static const char *const head[] = {"MOUNT", "HOST FOLDER", "ACCESS", "REQUESTS", "STATE"};

	if (!a->plan.count)
		return;
	for (size_t i = 0; i < t.columns; i++)
		table_add(&t, head[i]);
	for (size_t i = 0; i < a->plan.count; i++) {
		const struct agent_mount *mount = &a->mounts[i];

		for (size_t j = 0; j < mount->plan->share_count; j++) {
			const struct planned_share *share = &mount->plan->shares[j];
			const char *trouble = agent_mount_trouble(mount, j);
			char *path = mount_plan_path(mount->target, share->point);

			add_printable(&t, path ? path : mount->target);
			add_printable(&t, share->source->location.path);
			table_add(&t, share->source->writable ? "writable" : "read-only");
			table_addf(&t, "%" PRIu64, served_requests(mount->shares[j].served));
			table_addf(&t, "%s%s", mount_states[mount->status], share->source->by_hand ? ", by hand" : "");
			if (trouble)
				table_note(&t, trouble);
			free(path);
		}
	}
	fputc('\n', out);
	table_print(&t, "  ", out);
	table_clear(&t);
}

/* Both loopback addresses with one port are what programs call localhost. */
static void add_endpoints(struct table *t, const struct forward_info *info)
{
	static const char v4[] = "127.0.0.1:", v6[] = "[::1]:";
	const char *first = info->host_count > 0 ? info->host[0] : "",
		   *second = info->host_count > 1 ? info->host[1] : "";

	if (!strncmp(first, v4, strlen(v4)) && !strncmp(second, v6, strlen(v6)) &&
	    !strcmp(first + strlen(v4), second + strlen(v6)))
		table_addf(t, "localhost:%s", first + strlen(v4));
	else
		table_addf(t, "%s%s%s", first, *second ? ", " : "", second);
}

static void human_port(void *ctx, const struct forward_info *info)
{
	struct table *t = ctx;

	table_addf(t, "%s %s", info->proto, info->guest);
	table_add(t, info->process ? info->process : "");
	add_endpoints(t, info);
	if (info->state == FORWARD_FORWARDED) {
		table_addf(t, "%u", info->connections);
		add_bytes(t, info->bytes_in);
		add_bytes(t, info->bytes_out);
	} else {
		table_add(t, "");
		table_add(t, "");
		table_add(t, "");
	}
	table_addf(t, "%s%s%s", info->reverse ? "reverse, " : "", forward_state_name(info->state),
		   info->by_hand ? ", by hand" : "");
	if (info->reason)
		table_note(t, info->reason);
}

static void human_ports(const struct agent *a, const char *indent, FILE *out)
{
	struct table t = {.columns = 7};
	static const char *const head[] = {"GUEST PORT", "PROCESS", "HERE", "OPEN", "IN", "OUT", "STATE"};

	for (size_t i = 0; i < t.columns; i++)
		table_add(&t, head[i]);
	if (a->forward)
		forward_list(a->forward, human_port, &t);
	if (a->reverse)
		reverse_list(a->reverse, human_port, &t);
	if (t.count > t.columns)
		table_print(&t, indent, out);
	else
		fprintf(out, "%snothing listens in the guest\n", indent);
	table_clear(&t);
}

static void count_row(void *ctx, const struct forward_info *info)
{
	(void)info;
	++*(size_t *)ctx;
}

/* A session without ports may have services of its own. */
static bool any_ports(const struct agent *a)
{
	size_t count = 0;

	if (a->reverse)
		reverse_list(a->reverse, count_row, &count);
	return a->config->max_forwards > 0 || count > 0;
}

static void human_age(time_t since, FILE *out)
{
	long seconds = time(NULL) - since;

	if (seconds < 120)
		fprintf(out, "%ld s", seconds < 0 ? 0 : seconds);
	else if (seconds < 7200)
		fprintf(out, "%ld min", seconds / 60);
	else if (seconds < 172800)
		fprintf(out, "%ld h", seconds / 3600);
	else
		fprintf(out, "%ld days", seconds / 86400);
}

static void human_session(const struct agent *a, FILE *out)
{
	char text[256], version[128];

	fprintf(out, "%s: %s", a->dir->name, agent_state_name(a->state));
	if (a->ssh_host[0])
		fprintf(out, ", %s@%s port %u", a->ssh_user, a->ssh_host, a->ssh_port);
	fputs(", for ", out);
	human_age(a->since, out);
	if (a->peer && a->state == AGENT_CONNECTED)
		fprintf(out, ", round trip %.2f ms", peer_rtt_us(a->peer) / 1000.0);
	if (a->reconnects)
		fprintf(out, ", %u reconnect%s", a->reconnects, a->reconnects == 1 ? "" : "s");
	fputc('\n', out);
	if (a->error.kind)
		fprintf(out, "  %s%s%s\n", a->error.sentence, a->error.advice[0] ? "; " : "", a->error.advice);
	if (a->guest_known)
		fprintf(out, "  %s runs homeport-guest %s%s\n  host key %s\n",
			text_printable(text, sizeof(text), a->guest.hostname, strlen(a->guest.hostname)),
			text_printable(version, sizeof(version), a->guest.agent_version,
				       strlen(a->guest.agent_version)),
			a->direct.up ? ", reached directly" : "", a->ssh_key);
}

static void human_by_hand(const struct agent *a, FILE *out)
{
	const struct by_hand_change *change;
	char words[2400];

	TAILQ_FOREACH(change, &a->by_hand.list, next)
	fprintf(out, "  changed by hand: %s\n",
		text_printable(words, sizeof(words), change->words, strlen(change->words)));
}

struct status_text status_human(const struct agent *a)
{
	struct status_text shown = {0};
	FILE *out = open_memstream(&shown.text, &shown.len);

	if (!out)
		return shown;
	human_session(a, out);
	human_by_hand(a, out);
	human_mounts(a, out);
	if (any_ports(a)) {
		fputc('\n', out);
		human_ports(a, "  ", out);
	}
	fclose(out);
	return shown;
}

struct status_text ports_human(const struct agent *a)
{
	struct status_text shown = {0};
	FILE *out = open_memstream(&shown.text, &shown.len);

	if (!out)
		return shown;
	human_ports(a, "", out);
	fclose(out);
	return shown;
}
