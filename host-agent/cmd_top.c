/* SPDX-License-Identifier: MIT */
/*
 * homeport top: what a session does at the moment, again and again.
 *
 * The agent is asked once an interval for all it has counted (top_sample.h); what lies between two answers is shown. On
 * a terminal that is a page of its own, which the shell's lines come back from under whichever way it ends but SIGKILL;
 * else one table, or one line of JSON, after the other.
 *
 * Signals are blocked but where the command waits, so none is missed between a look at its flag and the wait.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"
#include "ctl_client.h"
#include "options.h"
#include "runtime_dir.h"
#include "top_sample.h"
#include "top_view.h"
#include "write_all.h"

#define TOP_TIMEOUT_S 10u
/* The agent goes on taking time for so long after it was asked: one interval, and a machine that is busy. */
#define TOP_TIMED_EXTRA_S 5u

#define PAGE_BEGIN "\033[?1049h\033[?25l"
#define PAGE_END   "\033[?25h\033[?1049l"
#define PAGE_HOME  "\033[H"
#define LINE_REST  "\033[K"
#define PAGE_REST  "\033[J"

struct top {
	const struct options *options;
	struct runtime_dir dir;
	bool page; /* on a terminal */
	bool colour;
	bool keys; /* the terminal's keys are read one by one */
	struct termios before;
	sigset_t waiting; /* the mask while it waits */
	struct top_sample *last, *now;
	unsigned shown;
};

static volatile sig_atomic_t got_signal; /* of those that end it, or stop it; SIGWINCH just ends a wait */

static void on_signal(int signo)
{
	if (signo != SIGWINCH && signo != SIGCONT)
		got_signal = signo;
}

static void catch_signals(struct top *t)
{
	static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		struct sigaction was;

		/* What whoever started it ignores stays so. */
		if (sigaction(caught[i], NULL, &was) == 0 && was.sa_handler == SIG_IGN)
			continue;
		sigaction(caught[i], &action, NULL);
		sigaddset(&blocked, caught[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, &t->waiting);
}

/* -------------------------------------------------------------------------------------------------------- the terminal
 */

static void page_begin(struct top *t)
{
	struct termios raw;

	if (!t->page)
		return;
	t->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &t->before) == 0;
	if (t->keys) {
		raw = t->before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	write_all(STDOUT_FILENO, PAGE_BEGIN, strlen(PAGE_BEGIN));
}

static void page_end(const struct top *t)
{
	if (!t->page)
		return;
	write_all(STDOUT_FILENO, PAGE_END, strlen(PAGE_END));
	if (t->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
}

/* ^Z: the shell has its terminal back until it says `fg`. */
static void page_pause(struct top *t)
{
	page_end(t);
	got_signal = 0;
	raise(SIGSTOP);
	page_begin(t);
}

/* What is drawn stands still where nothing changed: each line is written over, nothing is cleared first. */
static int page_write(const char *text, size_t len)
{
	struct wire_buf out = {0};
	const char *end;
	int rc;

	wire_put_bytes(&out, PAGE_HOME, strlen(PAGE_HOME));
	for (; len; len -= (size_t)(end - text) + 1, text = end + 1) {
		end = memchr(text, '\n', len);
		if (!end)
			break;
		wire_put_bytes(&out, text, (size_t)(end - text));
		wire_put_bytes(&out, LINE_REST "\r\n", strlen(LINE_REST "\r\n"));
	}
	wire_put_bytes(&out, PAGE_REST, strlen(PAGE_REST));
	rc = out.failed ? -ENOMEM : write_all(STDOUT_FILENO, out.data, out.len);
	wire_buf_free(&out);
	return rc;
}

/* --------------------------------------------------------------------------------------------------------- what is
 * shown */

static void look_of(const struct top *t, struct top_look *look, char clock[16])
{
	struct winsize size = {0};
	time_t now = time(NULL);
	struct tm local;

	localtime_r(&now, &local);
	strftime(clock, 16, "%H:%M:%S", &local);
	*look = (struct top_look){.clock = clock, .width = TOP_WIDTH_MIN, .colour = t->colour};
	if (!t->page)
		return;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
		size = (struct winsize){.ws_col = TOP_WIDTH_MIN, .ws_row = 24};
	look->width = size.ws_col;
	look->height = size.ws_row > 1 ? size.ws_row - 1u : 1; /* the cursor stands on the last one */
}

static int show_json(const struct top_interval *interval)
{
	struct wire_buf out = {0};
	struct timespec now;
	struct tm utc;
	char when[48];
	size_t n;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = strftime(when, 32, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(when + n, sizeof(when) - n, ".%03ldZ", now.tv_nsec / 1000000);
	top_view_json(interval, when, &out);
	wire_put_u8(&out, '\n');
	rc = out.failed ? -ENOMEM : write_all(STDOUT_FILENO, out.data, out.len);
	wire_buf_free(&out);
	return rc;
}

static int show_table(const struct top *t, const struct top_interval *interval)
{
	struct top_look look;
	char clock[16], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc;

	if (!out)
		return -ENOMEM;
	look_of(t, &look, clock);
	if (!t->page && t->shown)
		fputc('\n', out);
	top_view_table(interval, &look, out);
	if (fclose(out) < 0)
		rc = -ENOMEM;
	else
		rc = t->page ? page_write(text, len) : write_all(STDOUT_FILENO, text, len);
	free(text);
	return rc;
}

static int show(struct top *t, const struct top_sample *before)
{
	struct top_interval interval;
	int rc;

	if (!top_interval_make(&interval, before, t->now))
		return -ENOMEM;
	rc = t->options->json ? show_json(&interval) : show_table(t, &interval);
	top_interval_free(&interval);
	return rc;
}

/* --------------------------------------------------------------------------------------------------------- the agent
 */

static void on_line(void *ctx, char tag, const char *text, size_t len)
{
	struct top_sample *sample = ctx;
	char *copy = tag == 'o' ? strndup(text, len) : NULL;

	if (copy)
		top_sample_line(sample, copy);
	else
		sample->failed = true; /* it knows no such question */
	free(copy);
}

/* Asks until there is an answer or a signal that means something. */
static int ask(struct top *t)
{
	unsigned seconds = t->options->interval_ms / 1000 + TOP_TIMED_EXTRA_S;
	char question[32];
	sigset_t blocked;
	int rc;

	snprintf(question, sizeof(question), "top %u", seconds);
	do {
		if (got_signal == SIGTSTP)
			page_pause(t);
		top_sample_reset(t->now, clock_us(CLOCK_MONOTONIC));
		sigprocmask(SIG_SETMASK, &t->waiting, &blocked);
		rc = ctl_ask(&t->dir, question, TOP_TIMEOUT_S, on_line, t->now);
		sigprocmask(SIG_SETMASK, &blocked, NULL);
	} while (rc == -EINTR && (!got_signal || got_signal == SIGTSTP));
	return rc;
}

/* A new sample in t->now, the one of before in t->last. 0, or the negative errno of ctl_ask(). */
static int look(struct top *t)
{
	struct top_sample *spare = t->last;
	int rc;

	t->last = t->now;
	t->now = spare;
	rc = ask(t);
	if (rc < 0)
		return rc;
	if (t->now->failed)
		return -EPROTO;
	top_sample_end(t->now, t->last);
	return rc > 0 || !t->now->whole ? -ECONNRESET : 0;
}

/* Until the next look is due. False: it is to end. */
static bool wait_until(struct top *t, uint64_t due)
{
	for (;;) {
		struct pollfd input = {.fd = t->keys ? STDIN_FILENO : -1, .events = POLLIN};
		uint64_t now = clock_us(CLOCK_MONOTONIC), left = due > now ? due - now : 0;
		struct timespec rest = {.tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000) * 1000};
		int n = ppoll(&input, 1, &rest, &t->waiting);
		char key;

		if (got_signal == SIGTSTP)
			page_pause(t);
		if (got_signal)
			return false;
		if (n == 0)
			return true;
		/* The window has another size, or it goes on after ^Z: what is shown is drawn anew. */
		if (n < 0 && t->page && t->shown && show(t, t->last) < 0)
			return false;
		if (n > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
			return false;
	}
}

/* ------------------------------------------------------------------------------------------------------------ the
 * whole */

/* 0: it was ended by whoever looks; else what look() or the writing came to. */
static int run(struct top *t)
{
	uint64_t interval = (uint64_t)t->options->interval_ms * 1000, due;
	int rc = look(t);

	due = clock_us(CLOCK_MONOTONIC) + interval;
	if (!rc && t->page)
		rc = show(t, t->now);
	while (!rc && wait_until(t, due)) {
		due += interval;
		if (due < clock_us(CLOCK_MONOTONIC)) /* it was stopped, or the machine slept */
			due = clock_us(CLOCK_MONOTONIC) + interval;
		rc = look(t);
		if (!rc)
			rc = show(t, t->last);
		t->shown++;
		if (t->shown == t->options->count)
			break;
	}
	return rc == -EINTR ? 0 : rc;
}

static int outcome(const struct top *t, int rc)
{
	switch (rc) {
	case 0:
	case -EPIPE:
		return EXIT_DONE;
	case -ENOENT:
	case -ECONNRESET:
	case -ECONNREFUSED:
		if (t->now->us && t->last->us)
			return cmd_fail(EXIT_NOT_RUNNING, "top: the session %s has ended", t->dir.name);
		return cmd_asked(t->options, &t->dir, -ENOENT);
	case -EPROTO:
		return cmd_fail(EXIT_FAILED,
				"top: the running agent is of another version; stop it with `homeport down %s`",
				t->dir.name);
	case -ETIMEDOUT:
		return cmd_fail(EXIT_FAILED, "top: the agent of %s has not answered for %u seconds", t->dir.name,
				TOP_TIMEOUT_S);
	default:
		return cmd_asked(t->options, &t->dir, rc);
	}
}

int cmd_top(const struct options *options)
{
	struct top t = {.options = options, .last = calloc(1, sizeof(*t.last)), .now = calloc(1, sizeof(*t.now))};
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	int rc = cmd_session(options, &t.dir);

	if (rc != EXIT_DONE || !t.last || !t.now) {
		top_sample_free(t.last);
		top_sample_free(t.now);
		return rc != EXIT_DONE ? rc : cmd_fail(EXIT_FAILED, "top: out of memory");
	}
	t.page = !options->json && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
	t.colour = t.page && !(no_colour && *no_colour);
	catch_signals(&t);
	page_begin(&t);
	rc = run(&t);
	page_end(&t);
	rc = outcome(&t, rc);
	top_sample_free(t.last);
	top_sample_free(t.now);
	/* ^C is a way to end it; any other signal did what it does to all programs. */
	if (got_signal && got_signal != SIGINT) {
		signal(got_signal, SIG_DFL);
		sigprocmask(SIG_SETMASK, &t.waiting, NULL);
		raise(got_signal);
	}
	return rc;
}
