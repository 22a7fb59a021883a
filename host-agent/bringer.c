/* SPDX-License-Identifier: MIT */
/*
 * What the shell of the guest says, line by line, and the build it asks for. See bringer.h, and bring.c for what runs
 * there.
 *
 * Nothing is sent before it is asked for, not even HELLO: what stands in a shell's stdin is whoever's reads it. That
 * costs no round trip. The guest's word that homeport-guest is there follows sshd's answer to exec at once, and the
 * host waits for that one anyway.
 *
 * The build is read here, on the loop: 64 KiB at a time of a file on a local disk, which was opened at the start.
 */
#include "bringer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "bring.h"
#include "chan.h"
#include "chan_ssh.h"
#include "guest_builds.h"
#include "link_error.h"
#include "log.h"
#include "loop.h"

/* As long as a connection may take for its HELLO; while a build is sent, from the last bytes that went. */
#define PATIENCE_US SESSION_GREETING_US
#define SENDING_US  30000000u
#define CHUNK       (64u << 10)
/* One a folder, and as many again: a guest does not make us send without end. */
#define SENDS_MAX 6u

struct bringer {
	struct loop *loop;
	struct bringer_params params;
	struct chan *chan;
	struct loop_timer *patience;
	bringer_done_cb *done;
	void *ctx;

	char line[BRING_LINE_MAX];
	size_t line_len;
	bool line_cut;
	char printed[BRINGER_PRINTED_MAX]; /* the beginning of what is not ours */
	size_t printed_len;
	uint64_t received; /* bytes of lines, all together */

	const struct guest_build *sending; /* NULL: nothing */
	uint64_t sent;
	unsigned sends;
};

void bringer_free(struct bringer *b)
{
	if (!b)
		return;
	chan_free(b->chan);
	loop_timer_free(b->patience);
	free(b);
}

/* The last thing that happens to b. */
static void finish(struct bringer *b, const struct link_error *err)
{
	struct chan *chan = b->chan;

	b->chan = NULL;
	if (err) {
		chan_free(chan);
		chan = NULL;
	} else {
		chan_set_owner(chan, NULL, NULL);
	}
	b->done(b->ctx, chan, err);
	bringer_free(b);
}

/* ---------------------------------------------------------------------------------------------------- what went wrong
 */

/* What was printed instead, or what is known of the end otherwise. */
static const char *said(const struct bringer *b, char *text, size_t size)
{
	if (b->printed_len > 0)
		return text_printable(text, size, b->printed, b->printed_len);
	return b->params.outcome->last_line;
}

static void fail_ignored(struct bringer *b, const char *when)
{
	struct link_error err;
	char text[BRINGER_PRINTED_MAX];
	const char *printed = said(b, text, sizeof(text)), *quote = *printed ? "\"" : "";

	link_error_set(&err, LINK_ERROR_COMMAND,
		       "%s: the guest does not run what homeport asks for; %s it printed %s%s%s", b->params.name, when,
		       quote, *printed ? printed : "nothing", quote);
	link_error_advise(&err, "the login shell, a ForceCommand of sshd's or a command= of the key stands in the way: "
				"use a login that may run sh");
	err.permanent = b->params.outcome->exit_status >= 0;
	finish(b, &err);
}

static void fail_no_build(struct bringer *b, const char *text)
{
	struct link_error err;
	char system[80], list[200];

	text_printable(system, sizeof(system), text, strlen(text));
	link_error_set(&err, LINK_ERROR_COMMAND, "%s: no homeport-guest is here for the guest, which is %s (here: %s)",
		       b->params.name, system, guest_builds_list(b->params.builds, list, sizeof(list)));
	link_error_advise(&err, "build it for there (CONTRIBUTING.md), or install homeport-guest %s in the guest",
			  HOMEPORT_VERSION);
	finish(b, &err);
}

static void fail_no_place(struct bringer *b, const char *text)
{
	struct link_error err;
	char why[BRINGER_PRINTED_MAX];

	link_error_set(&err, LINK_ERROR_COMMAND, "%s: there is no place for homeport-guest in the guest: %s",
		       b->params.name, text_printable(why, sizeof(why), text, strlen(text)));
	link_error_advise(&err, "make one of these possible, or install homeport-guest %s in the guest",
			  HOMEPORT_VERSION);
	finish(b, &err);
}

static void fail_protocol(struct bringer *b, const char *what)
{
	struct link_error err;

	link_error_set(&err, LINK_ERROR_PROTOCOL, "%s: what answers is not homeport-guest: %s", b->params.name, what);
	finish(b, &err);
}

/* ------------------------------------------------------------------------------------------------------------- sending
 */

/* As much as the chan takes; the rest when it is writable. False when it came to an end. */
static bool send_more(struct bringer *b)
{
	uint8_t chunk[CHUNK];

	while (b->sent < b->sending->size) {
		uint64_t left = b->sending->size - b->sent;
		ssize_t n = pread(b->sending->fd, chunk, left < sizeof(chunk) ? left : sizeof(chunk), (off_t)b->sent);
		struct link_error err;
		size_t taken;

		if (n <= 0) {
			link_error_set(&err, LINK_ERROR_LOCAL, "%s: homeport-guest cannot be read here",
				       b->params.name);
			finish(b, &err);
			return false;
		}
		taken = chan_write(b->chan, chunk, (size_t)n);
		b->sent += taken;
		if (taken < (size_t)n)
			break;
	}
	loop_timer_set(b->patience, SENDING_US);
	if (b->sent == b->sending->size)
		b->sending = NULL;
	return true;
}

static bool send_begin(struct bringer *b, const char *arch)
{
	const struct guest_build *build = guest_builds_get(b->params.builds, arch);

	if (!build || b->sending || ++b->sends > SENDS_MAX) {
		fail_protocol(b, "it asks for what it was not offered");
		return false;
	}
	log_info("%s: homeport-guest (%s, %llu bytes) is brought to the guest", b->params.name, arch,
		 (unsigned long long)build->size);
	b->sending = build;
	b->sent = 0;
	return send_more(b);
}

/* --------------------------------------------------------------------------------------------------------------- lines
 */

static void attach(struct bringer *b)
{
	char text[BRINGER_PRINTED_MAX];

	if (b->printed_len > 0)
		log_info("the guest's login shell printed, before homeport-guest: %s",
			 text_printable(text, sizeof(text), b->printed, b->printed_len));
	if (b->params.printed)
		text_printable(b->params.printed, BRINGER_PRINTED_MAX, b->printed, b->printed_len);
	finish(b, NULL);
}

static void remember(struct bringer *b, const char *line, size_t len)
{
	if (len == 0)
		return;
	if (b->printed_len > 0 && b->printed_len < BRINGER_PRINTED_MAX)
		b->printed[b->printed_len++] = ' ';
	len = len < BRINGER_PRINTED_MAX - b->printed_len ? len : BRINGER_PRINTED_MAX - b->printed_len;
	memcpy(b->printed + b->printed_len, line, len);
	b->printed_len += len;
}

/* False when the bringer has come to its end, and is gone. `last`: nothing came behind this line. */
static bool take_line(struct bringer *b, bool last)
{
	enum bring_word word;
	const char *text;
	size_t len = b->line_len;
	char other[200];

	b->line[len] = '\0';
	b->line_len = 0;
	if (b->line_cut || !bring_parse(b->line, &word, &text)) {
		b->line_cut = false;
		remember(b, b->line, len);
		return true;
	}
	switch (word) {
	case BRING_ATTACH:
		/* It has not heard from us. */
		if (last)
			attach(b);
		else
			fail_protocol(b, "it speaks before it was spoken to");
		return false;
	case BRING_SEND:
		return send_begin(b, text);
	case BRING_OTHER:
		log_info("%s: the guest has another version installed (%s): the one brought along is used",
			 b->params.name, text_printable(other, sizeof(other), text, strlen(text)));
		return true;
	case BRING_NO_BUILD:
		fail_no_build(b, text);
		return false;
	case BRING_NO_PLACE:
		fail_no_place(b, text);
		return false;
	case BRING_WORD_COUNT:
		break;
	}
	return true;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct bringer *b = ctx;

	b->received += len;
	if (b->received > SESSION_SKIP_MAX) {
		fail_protocol(b, "it prints without end");
		return;
	}
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			if (!take_line(b, i + 1 == len))
				return;
		} else if (b->line_len + 1 < sizeof(b->line)) {
			b->line[b->line_len++] = (char)data[i];
		} else {
			remember(b, b->line, b->line_len);
			b->line_len = 0;
			b->line_cut = true;
		}
	}
}

static void on_writable(void *ctx)
{
	struct bringer *b = ctx;

	if (b->sending)
		send_more(b);
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct bringer *b = ctx;
	const struct chan_ssh_outcome *outcome = b->params.outcome;

	(void)error;
	(void)why;
	remember(b, b->line, b->line_len);
	if (outcome->exit_status < 0 || b->sends > 0)
		finish(b, &outcome->error);
	else
		fail_ignored(b, "before it ended");
}

static void on_patience(void *ctx)
{
	struct bringer *b = ctx;

	remember(b, b->line, b->line_len);
	b->line_len = 0;
	if (b->sends > 0)
		fail_protocol(b, "it does not take what it asked for");
	else
		fail_ignored(b, "for 10 seconds");
}

static const struct chan_events bringer_chan = {.data = on_data, .writable = on_writable, .closed = on_closed};

struct bringer *bringer_new(struct loop *loop, struct chan *chan, const struct bringer_params *params,
			    bringer_done_cb *done, void *ctx)
{
	struct bringer *b = calloc(1, sizeof(*b));

	if (!b) {
		chan_free(chan);
		return NULL;
	}
	*b = (struct bringer){.loop = loop, .params = *params, .chan = chan, .done = done, .ctx = ctx};
	b->patience = loop_timer_new(loop, on_patience, b);
	if (!b->patience) {
		bringer_free(b);
		return NULL;
	}
	loop_timer_set(b->patience, PATIENCE_US);
	chan_set_owner(chan, &bringer_chan, b);
	return b;
}
