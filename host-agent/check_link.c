/* SPDX-License-Identifier: MIT */
/*
 * See check_link.h. The steps of a connection are a ladder: the error that ends an attempt says on which step it
 * stands, those before it were right, and those behind it are not known. In the end homeport-guest speaks: it is asked
 * by one list of mount points, and what it answers, which may be anything, is bounded in lines and in bytes.
 */
#include "check_link.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bringer.h"
#include "chan.h"
#include "config.h"
#include "ctl_words.h"
#include "guest_command.h"
#include "link.h"
#include "loop.h"
#include "mount_plan.h"
#include "wire.h"

#define ANSWER_US     30000000u
#define LINES_MAX     200u
#define TARGET_MAX    (3 * CONFIG_TARGET_MAX + 16)
#define CLOCK_APART_S 1.0

enum step { STEP_CONFIG, STEP_REACH, STEP_KEY, STEP_LOGIN, STEP_RUN, STEPS };

static const char *const step_names[STEPS] = {
	[STEP_CONFIG] = "ssh configuration",
	[STEP_REACH] = "connection",
	[STEP_KEY] = "host key",
	[STEP_LOGIN] = "login",
	[STEP_RUN] = "commands in the guest",
};

/* Where an attempt stood when it ended with this error. */
static const enum step steps[LINK_ERROR_KIND_COUNT] = {
	[LINK_ERROR_NONE] = STEP_REACH,
	[LINK_ERROR_RESOLVE] = STEP_REACH,
	[LINK_ERROR_CONNECT_REFUSED] = STEP_REACH,
	[LINK_ERROR_NO_ROUTE] = STEP_REACH,
	[LINK_ERROR_TIMEOUT] = STEP_REACH,
	[LINK_ERROR_HOST_KEY_UNKNOWN] = STEP_KEY,
	[LINK_ERROR_HOST_KEY_CHANGED] = STEP_KEY,
	[LINK_ERROR_AUTH] = STEP_LOGIN,
	[LINK_ERROR_COMMAND] = STEP_RUN,
	[LINK_ERROR_CONFIG] = STEP_CONFIG,
	[LINK_ERROR_PROTOCOL] = STEP_REACH,
	[LINK_ERROR_LOST] = STEP_REACH,
	[LINK_ERROR_LOCAL] = STEP_CONFIG,
	[LINK_ERROR_CANCELLED] = STEP_REACH,
};

struct asking {
	const struct config *config;
	struct guest_command command;
	struct chan *chan;
	struct loop_timer *patience;
	check_side_fn *each;
	void *ctx;

	enum step step; /* the next to be told */
	char printed[BRINGER_PRINTED_MAX];
	struct wire_buf question;
	double asked_at;
	char line[CHECK_LINE_MAX];
	size_t line_len;
	unsigned lines;
	bool done;
};

static double wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_step(struct asking *a, struct check *check)
{
	snprintf(check->name, sizeof(check->name), "%s", step_names[a->step++]);
	a->each(a->ctx, false, check);
}

/* ------------------------------------------------------------------------------------------------------ the ladder */

static void on_failed(void *ctx, const struct link_error *err)
{
	struct asking *a = ctx;
	struct check check;

	while (a->step < steps[err->kind]) {
		check_say(&check, CHECK_OK, "fine");
		tell_step(a, &check);
	}
	check_say(&check, CHECK_PROBLEM, "%s", err->sentence);
	check_advise(&check, "%s", err->advice);
	a->step = steps[err->kind];
	tell_step(a, &check);
	a->done = true;
	link_stop(a->command.link);
	loop_stop(a->command.loop);
}

static void tell_login(struct asking *a, const struct link_info *info)
{
	struct check check;

	check_say(&check, CHECK_OK, "%s is %s@%s, port %u", a->config->ssh.host, info->user, info->host, info->port);
	tell_step(a, &check);
	check_say(&check, CHECK_OK, "encrypted with %s", info->cipher);
	tell_step(a, &check);
	check_say(&check, CHECK_OK, "%s, %s", info->host_key, a->config->ssh.host_key ? "as pinned" : "accepted");
	tell_step(a, &check);
	check_say(&check, CHECK_OK, "%s, by a key, without a question", info->user);
	tell_step(a, &check);
}

/* homeport-guest runs there, and speaks. */
static void tell_commands(struct asking *a)
{
	struct check check;

	if (a->printed[0]) {
		check_say(&check, CHECK_NOTE, "they run, but the login shell prints before them: %s", a->printed);
		check_advise(&check, "have its start-up file print in interactive shells alone: sftp and rsync stumble "
				     "over it");
	} else {
		check_say(&check, CHECK_OK, "they run, and nothing is printed before them");
	}
	tell_step(a, &check);
}

/* ---------------------------------------------------------------------------------------------------- the question */

static void finish(struct asking *a, const char *why)
{
	struct check check = {.name = "homeport-guest doctor"};

	if (!a->done && why) {
		check_say(&check, CHECK_PROBLEM, "%s", why);
		check_advise(&check, "run `homeport-guest doctor` in the guest");
		a->each(a->ctx, true, &check);
	}
	a->done = true;
	loop_stop(a->command.loop);
}

static bool make_question(struct asking *a)
{
	struct mount_plan plan;
	char line[TARGET_MAX];

	if (mount_plan_make(&plan, a->config, NULL, NULL) < 0)
		return false;
	for (size_t i = 0; i < plan.count; i++) {
		line[0] = '\0';
		if (!ctl_words_add(line, sizeof(line), "mount") ||
		    !ctl_words_add(line, sizeof(line), plan.mounts[i].target))
			continue;
		wire_put_bytes(&a->question, line, strlen(line));
		wire_put_u8(&a->question, '\n');
	}
	mount_plan_clear(&plan);
	wire_put_bytes(&a->question, "end\n", 4);
	return !a->question.failed;
}

static void send_more(struct asking *a)
{
	wire_buf_consume(&a->question, chan_write(a->chan, a->question.data, a->question.len));
	if (!a->question.len)
		a->asked_at = wall_clock();
}

/* ------------------------------------------------------------------------------------------------------ the answer */

/* Between question and answer the guest's clock was read: when exactly is known to half of that time. */
static void judge_clock(struct asking *a, const char *text)
{
	double now = wall_clock(), slack = (now - a->asked_at) / 2, apart;
	struct check check = {.name = "clock"};
	char *end;

	apart = strtod(text, &end) - (now - slack);
	if (*end || end == text || !(apart > -1e12 && apart < 1e12)) {
		check_say(&check, CHECK_PROBLEM, "the guest does not say what time it is there");
	} else if (apart - slack > CLOCK_APART_S || apart + slack < -CLOCK_APART_S) {
		check_say(&check, CHECK_PROBLEM,
			  "the guest's is %.1f s %s: files seem to be of another time, and make "
			  "goes wrong",
			  apart < 0 ? -apart : apart, apart < 0 ? "behind" : "ahead");
		check_advise(&check, "set it there (sudo apt-get install chrony, or systemd-timesyncd)");
	} else {
		check_say(&check, CHECK_OK, "the guest's is this machine's, to %.2f s",
			  (apart < 0 ? -apart : apart) + slack);
	}
	a->each(a->ctx, true, &check);
}

static void take_line(struct asking *a)
{
	struct check check;

	a->line[a->line_len] = '\0';
	a->line_len = 0;
	if (++a->lines == 1)
		tell_commands(a);
	if (a->lines > LINES_MAX) {
		finish(a, "what answers there does not stop");
	} else if (!strcmp(a->line, "done")) {
		a->done = true;
		finish(a, NULL);
	} else if (a->lines == 1 && !strncmp(a->line, "clock ", 6)) {
		judge_clock(a, a->line + 6);
	} else if (a->lines > 1 && check_get(a->line, &check)) {
		a->each(a->ctx, true, &check);
	} else {
		finish(a, "what answers there is not homeport-guest doctor");
	}
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct asking *a = ctx;

	for (size_t i = 0; i < len && !a->done; i++) {
		if (data[i] == '\n')
			take_line(a);
		else if (a->line_len + 1 < sizeof(a->line))
			a->line[a->line_len++] = (char)data[i];
		else
			finish(a, "what answers there is not homeport-guest doctor");
	}
}

static void on_writable(void *ctx)
{
	send_more(ctx);
}

/* Why it never said a word the link may know: there is no such command. */
static void on_closed(void *ctx, int error, const char *why)
{
	struct asking *a = ctx;

	if (a->lines == 0)
		link_lost(a->command.link);
	finish(a, "it ended before it was through");
}

static void on_patience(void *ctx)
{
	finish(ctx, "it did not answer for 30 s: something there hangs");
}

static const struct chan_events chan_events = {.data = on_data, .writable = on_writable, .closed = on_closed};

static void on_connected(void *ctx, struct chan *chan, const struct link_info *info)
{
	struct asking *a = ctx;

	a->chan = chan;
	snprintf(a->printed, sizeof(a->printed), "%s", info->printed);
	tell_login(a, info);
	chan_set_owner(chan, &chan_events, a);
	loop_timer_set(a->patience, ANSWER_US);
	send_more(a);
}

/* ----------------------------------------------------------------------------------------------------- all together */

static const struct link_events link_events = {.connected = on_connected, .failed = on_failed};

void check_link(const struct config *config, check_side_fn *each, void *ctx)
{
	struct asking a = {.config = config, .each = each, .ctx = ctx};
	struct check check;

	if (guest_command_begin(&a.command, config, "doctor --lines", &link_events, &a) == 0 && make_question(&a)) {
		a.patience = loop_timer_new(a.command.loop, on_patience, &a);
		if (a.patience)
			guest_command_run(&a.command);
	}
	if (!a.done) {
		check_say(&check, CHECK_PROBLEM, "out of memory or descriptors");
		tell_step(&a, &check);
	}
	chan_free(a.chan);
	loop_timer_free(a.patience);
	guest_command_end(&a.command);
	wire_buf_free(&a.question);
}
