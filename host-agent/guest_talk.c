/* SPDX-License-Identifier: MIT */
/*
 * The guest may say anything: lines and their number are bounded, letters that are not known are passed over, and none
 * of its bytes reaches a terminal as it is.
 */
#include "guest_talk.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chan.h"
#include "config.h"
#include "guest_command.h"
#include "link.h"
#include "log.h"
#include "loop.h"

#define LINE_MAX     8192u
#define SAID_MAX     (1u << 20)
#define STATUS_MOST  255
#define ANSWER_BYTES 16
#define OUT_MAX      64

struct talk {
	struct guest_command command;
	struct chan *chan;
	struct loop_fd *answer; /* while a question is open: stdin */
	const char *name;       /* of the host, for messages */
	guest_talk_line_fn *line;
	void *ctx;
	char text[LINE_MAX];
	size_t len;
	uint64_t said;
	char out[OUT_MAX]; /* that the chan did not take yet */
	size_t out_len;
	int status; /* -1: not told */
	struct link_error *err;
};

static void talk_over(struct talk *t)
{
	chan_free(t->chan);
	t->chan = NULL;
	loop_stop(t->command.loop);
}

/* What the chan does not take now, as it is reading, it takes in a moment. */
static void talk_flush(struct talk *t)
{
	size_t taken = chan_write(t->chan, (const uint8_t *)t->out, t->out_len);

	t->out_len -= taken;
	memmove(t->out, t->out + taken, t->out_len);
}

static void talk_say(struct talk *t, const char *word)
{
	size_t len = strlen(word);

	if (t->out_len + len > sizeof(t->out)) {
		link_error_set(t->err, LINK_ERROR_PROTOCOL, "%s: homeport-guest asks without end", t->name);
		talk_over(t);
		return;
	}
	memcpy(t->out + t->out_len, word, len);
	t->out_len += len;
	talk_flush(t);
}

/* ---------------------------------------------------------------------------------------------------------- questions
 */

static void on_answer(void *ctx, int fd, unsigned what)
{
	struct talk *t = ctx;
	char typed[ANSWER_BYTES];
	ssize_t n = read(fd, typed, sizeof(typed) - 1);
	bool yes;

	(void)what;
	typed[n > 0 ? n : 0] = '\0';
	typed[strcspn(typed, "\n")] = '\0';
	yes = !strcmp(typed, "y") || !strcmp(typed, "Y") || !strcmp(typed, "yes");
	loop_fd_free(t->answer);
	t->answer = NULL;
	talk_say(t, yes ? "y\n" : "n\n");
}

static void ask(struct talk *t)
{
	if (!t->answer)
		t->answer = loop_fd_new(t->command.loop, STDIN_FILENO, LOOP_READ, on_answer, t);
	if (!t->answer)
		talk_say(t, "n\n");
}

/* -------------------------------------------------------------------------------------------------------------- lines
 */

static void take_status(struct talk *t, const char *text)
{
	char *end;
	unsigned long status = strtoul(text, &end, 10);

	if (!*text || *end || status > STATUS_MOST)
		return;
	t->status = (int)status;
	talk_over(t);
}

static void take_line(struct talk *t)
{
	char printable[2 * LINE_MAX];
	char letter = t->len > 1 && t->text[1] == ' ' ? t->text[0] : '\0';

	t->text[t->len] = '\0';
	if (letter == 'x')
		take_status(t, t->text + 2);
	else if (letter)
		t->line(t->ctx, letter, text_printable(printable, sizeof(printable), t->text + 2, t->len - 2));
	t->len = 0;
	if (letter == 'q')
		ask(t);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct talk *t = ctx;

	t->said += len;
	for (size_t i = 0; i < len && t->chan; i++) {
		if (data[i] == '\n')
			take_line(t);
		else if (t->len + 1 < sizeof(t->text))
			t->text[t->len++] = (char)data[i];
	}
	if (!t->chan || t->said <= SAID_MAX)
		return;
	link_error_set(t->err, LINK_ERROR_PROTOCOL, "%s: homeport-guest prints without end", t->name);
	talk_over(t);
}

static void on_writable(void *ctx)
{
	talk_flush(ctx);
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct talk *t = ctx;

	(void)error;
	if (t->status < 0)
		link_error_set(t->err, LINK_ERROR_LOST, "%s", why);
	talk_over(t);
}

static const struct chan_events chan_events = {.data = on_data, .writable = on_writable, .closed = on_closed};

/* --------------------------------------------------------------------------------------------------------- connection
 */

static void on_connected(void *ctx, struct chan *chan, const struct link_info *info)
{
	struct talk *t = ctx;

	(void)info;
	t->chan = chan;
	chan_set_owner(chan, &chan_events, t);
	talk_say(t, "go\n");
}

static void on_failed(void *ctx, const struct link_error *err)
{
	struct talk *t = ctx;

	*t->err = *err;
	link_stop(t->command.link);
	loop_stop(t->command.loop);
}

static const struct link_events link_events = {.connected = on_connected, .failed = on_failed};

int guest_talk_run(const struct config *config, const char *words, guest_talk_line_fn *line, void *ctx,
		   struct link_error *err)
{
	struct talk *t = calloc(1, sizeof(*t));
	int status = -1;

	link_error_set(err, LINK_ERROR_LOCAL, "%s: out of memory or descriptors", config->ssh.host);
	if (!t)
		return -1;
	*t = (struct talk){.name = config->ssh.host, .line = line, .ctx = ctx, .status = -1, .err = err};
	if (guest_command_begin(&t->command, config, words, &link_events, t) == 0) {
		guest_command_run(&t->command);
		status = t->status;
	}
	loop_fd_free(t->answer);
	chan_free(t->chan);
	guest_command_end(&t->command);
	free(t);
	return status;
}
