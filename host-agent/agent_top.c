/* SPDX-License-Identifier: MIT */
/*
 * What `homeport top` looks at: once a look, all that was counted, by the guest (asked for it, COUNT and COUNTERS), by
 * the shares' servers and by the ports. See agent_state.h; top_sample.h has the form of the answer.
 *
 * The guest is asked only when somebody looks, and once at a time: who looks meanwhile has the same answer. One that
 * does not answer within TOP_PATIENCE_US is left out, and so is one that cannot be asked: the rest is worth seeing.
 * What it says is numbers of bounded count, and nothing is done with them here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_state.h"
#include "bounds.h"
#include "ctl_socket.h"
#include "ctl_words.h"
#include "forward.h"
#include "loop.h"
#include "peer.h"
#include "reverse.h"
#include "runtime_dir.h"
#include "shares.h"

#define TOP_PATIENCE_US 1000000u
#define TOP_LINE_MAX    CTL_REQUEST_MAX

/* -------------------------------------------------------------------------------------------------------- the answer
 */

static void words_line(struct ctl_client *client, const char *const *words, size_t count)
{
	char line[TOP_LINE_MAX] = "";
	bool fits = true;

	for (size_t i = 0; i < count; i++)
		fits &= ctl_words_add(line, sizeof(line), words[i] && words[i][0] ? words[i] : "-");
	if (fits)
		ctl_client_text(client, 'o', line, strlen(line));
}

#define WORDS_LINE(client, ...)                                \
	words_line(client, (const char *const[]){__VA_ARGS__}, \
		   sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static const char *number(char text[24], uint64_t n)
{
	snprintf(text, 24, "%" PRIu64, n);
	return text;
}

/* BUCKET:COUNT of those that hold something, with commas between. */
static void put_times(const uint64_t times[HISTOGRAM_BUCKETS], char text[TOP_LINE_MAX])
{
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (times[i])
			len += (size_t)snprintf(text + len, TOP_LINE_MAX - len, "%s%u:%" PRIu64, len ? "," : "", i,
						times[i]);
}

static void tell_counters(struct ctl_client *client, const char *whose, const struct op_counters *counters)
{
	char count[24], at_once[24], times[TOP_LINE_MAX];

	for (unsigned i = 0; i < OP_KINDS; i++) {
		const struct op_counter *counter = &counters->kinds[i];

		if (!counter->count)
			continue;
		put_times(counter->times, times);
		WORDS_LINE(client, whose, op_kind_name((enum op_kind)i), number(count, counter->count),
			   number(at_once, counter->at_once), times);
	}
}

static void tell_share(struct ctl_client *client, const struct agent_mount *mount, size_t index)
{
	const struct served *served = mount->shares[index].served;
	char *path = mount_plan_path(mount->target, mount->plan->shares[index].point);
	enum control_mount_status status = mount->status;
	char requests[24], read[24], written[24];
	uint64_t bytes_read, bytes_written;

	if (status == MOUNT_MOUNTED && agent_mount_trouble(mount, index))
		status = MOUNT_FAILED;
	served_bytes(served, &bytes_read, &bytes_written);
	WORDS_LINE(client, "mount", path ? path : mount->target, agent_mount_state_name(status),
		   number(requests, served_requests(served)), number(read, bytes_read), number(written, bytes_written));
	free(path);
}

static void tell_port(void *ctx, const struct forward_info *info)
{
	char connections[24], in[24], out[24];

	if (info->state == FORWARD_FORWARDED)
		WORDS_LINE(ctx, "port", info->proto, info->guest, info->process, number(connections, info->connections),
			   number(in, info->bytes_in), number(out, info->bytes_out));
}

static void answer(struct agent *a, struct watcher *w, const struct control_counters *counters)
{
	struct op_counters *host = calloc(1, sizeof(*host));
	char rtt[24], waiting[24];

	WORDS_LINE(w->client, "session", a->dir->name, agent_state_name(a->state),
		   a->peer && a->state == AGENT_CONNECTED ? number(rtt, peer_rtt_us(a->peer)) : NULL,
		   counters ? number(waiting, counters->waiting) : NULL, a->error.kind ? a->error.sentence : NULL);
	if (counters)
		tell_counters(w->client, "guest", counters->counters);
	for (size_t i = 0; i < a->plan.count; i++)
		for (size_t j = 0; j < a->plan.mounts[i].share_count; j++) {
			tell_share(w->client, &a->mounts[i], j);
			if (host)
				served_count(a->mounts[i].shares[j].served, host);
		}
	if (host)
		tell_counters(w->client, "host", host);
	if (a->forward)
		forward_list(a->forward, tell_port, w->client);
	if (a->reverse)
		reverse_list(a->reverse, tell_port, w->client);
	ctl_client_exit(w->client, 0);
	free(host);
	agent_ctl_unwatch(a, w);
}

/* Those who look, each with what the guest said, or without it. */
static void answer_all(struct agent *a, const struct control_counters *counters)
{
	struct watcher *w, *after;

	loop_timer_stop(a->top.patience);
	for (w = TAILQ_FIRST(&a->watchers); w; w = after) {
		after = TAILQ_NEXT(w, next);
		if (w->kind == WATCHER_TOP)
			answer(a, w, counters);
	}
}

/* ------------------------------------------------------------------------------------------------------ the question
 */

static void on_patience(void *ctx)
{
	answer_all(ctx, NULL);
}

static void on_timed(void *ctx)
{
	struct agent *a = ctx;

	shares_time(a->shares, false);
}

int agent_top_begin(struct agent *a)
{
	a->top.patience = loop_timer_new(a->loop, on_patience, a);
	a->top.timed = loop_timer_new(a->loop, on_timed, a);
	return a->top.patience && a->top.timed ? 0 : -ENOMEM;
}

void agent_top_end(struct agent *a)
{
	loop_timer_free(a->top.patience);
	loop_timer_free(a->top.timed);
}

bool agent_top_request(struct agent *a, struct ctl_client *client, const char *line)
{
	struct watcher *w;
	unsigned seconds;

	if (sscanf(line, "top %u", &seconds) != 1)
		return false;
	if (seconds > COUNT_TIMED_MAX_S)
		seconds = COUNT_TIMED_MAX_S;
	w = agent_ctl_watch(a, client, WATCHER_TOP);
	if (!w) {
		ctl_client_exit(client, 1);
		return true;
	}
	shares_time(a->shares, true);
	loop_timer_set(a->top.timed, (uint64_t)seconds * 1000000);
	if (!control_stream_is_open(&a->control) || !a->guest_known || a->state != AGENT_CONNECTED) {
		answer(a, w, NULL);
		return true;
	}
	if (!loop_timer_is_set(a->top.patience))
		loop_timer_set(a->top.patience, TOP_PATIENCE_US);
	if (a->top.asked == a->top.answered)
		agent_guest_count(a, &(struct control_count){.number = ++a->top.asked, .seconds = seconds});
	return true;
}

int agent_top_counters(struct agent *a, const struct control_counters *counters)
{
	if (a->top.asked == a->top.answered || counters->number != a->top.answered + 1)
		return -EPROTO;
	a->top.answered++;
	answer_all(a, counters);
	return 0;
}

void agent_top_session(struct agent *a)
{
	a->top.asked = a->top.answered = 0;
	answer_all(a, NULL);
}
