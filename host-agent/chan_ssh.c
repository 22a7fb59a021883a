/* SPDX-License-Identifier: MIT */
/*
 * The running chan, by libssh, on the loop's thread; it never blocks.
 *
 * Theory of operation. The loop watches a duplicate of the socket (ssh_login.c says why). When it is readable, what it
 * has is read ahead (ssh_readahead.c), and ssh_event_dopoll() takes it a little at a time and calls on_data(), which
 * gives the bytes to the owner. But ssh_channel_write() reads too (it looks whether the window grew), so on_data() also
 * runs inside chan_write(), which must not call back: such bytes are held, and delivered at the end of the turn. In the
 * same way the owner may write from within on_data(), inside libssh's own reading: nothing is taken then, and
 * `writable` follows when libssh has returned.
 *
 * Nothing tells that the peer's window grew, or that a key exchange is over: so each return from libssh's reading is
 * followed by `writable`, if the owner waits for it. 0 and short writes are normal for the same reasons. libssh buffers
 * what the socket does not take; no more is given to it while it does, so at most WRITE_CHUNK bytes lie where they
 * cannot be reordered.
 *
 * The guest's sshd may fill libssh with requests that each want an answer, and read none: libssh buffers answers
 * without bound. So what it has not got rid of is counted, and beyond OUT_MAX nothing more is read until it has; a peer
 * that makes it grow all the same (each flush reads a little) loses the connection.
 *
 * libssh opens its window for 1.25 MB only, too little for a long link; the session above bounds what is on the way
 * (bounds.h), so the window is kept wider than that. (Towards the guest sshd's own window holds, 2 MiB.)
 *
 * What the command writes to stderr is logged, and its last line is remembered: it says why the command ended.
 */
#include "chan_ssh.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/tcp.h>

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include "chan.h"
#include "log.h"
#include "loop.h"
#include "ssh_login.h"
#include "ssh_readahead.h"

#define WRITE_CHUNK (256u << 10)

/* Ours is at most WRITE_CHUNK and what packets add to it; the rest are answers. */
#define OUT_MAX     (1u << 20)
#define OUT_TOO_BIG (4 * OUT_MAX)
/* libssh counts without headers, padding and MAC: an upper bound of these, so that the count errs to the safe side. */
#define PACKET_EXTRA 96u

/*
 * How far the window is kept open. sshd reads as much from the command as fits in it, whether the network keeps up or
 * not, and moves its buffer about: with 8 MiB it needs twice the CPU, with 32 MiB four times. On a link with a long
 * round trip that is not what limits it, and SESSION_UNACKED_MAX must fit, with as much again before the window is
 * opened anew.
 */
#define WINDOW_SHORT (4u << 20)
#define WINDOW_LONG  (32u << 20)
#define LONG_RTT_US  5000u
#define WINDOW_STEPS 4 /* opened anew when so much of it is used up */

/* What came before the chan stood: a guest says HELLO by then, and no more. */
#define CATCH_UP_MAX (1u << 20)

#define STDERR_BURST 10 /* lines a second */

/* What a shell says when it does not find, or may not run, a command. */
#define STATUS_NOT_RUNNABLE 126
#define STATUS_NOT_FOUND    127

struct chan_ssh {
	struct chan chan;
	struct loop *loop;
	struct loop_fd *watch;
	struct ssh_login *login;
	ssh_session session;
	ssh_channel channel;
	ssh_event event;
	struct ssh_readahead *ahead;
	struct ssh_channel_callbacks_struct callbacks;

	bool inside;   /* libssh is on the stack */
	bool writing;  /* ... called by chan_write() */
	bool wanted;   /* the owner waits for `writable` */
	bool deferred; /* chan_ssh_settle() will run at the end of the turn */
	bool gone;     /* the channel or the session is over: `closed` is due */
	bool ended;    /* `closed` was called */
	bool freed;

	struct ssh_counter_struct packed, sent; /* bytes libssh made, and those the socket took */
	uint64_t received, reopen;              /* bytes of stdout; at how many the window is opened anew */

	uint8_t *held; /* arrived inside a write, or before there was an owner */
	size_t held_len, held_size;

	char line[CHAN_SSH_LINE]; /* of stderr, so far */
	size_t line_len;
	struct log_limit limit;
	struct chan_ssh_outcome *outcome;
};

static void chan_ssh_later(struct chan_ssh *c);

/* Around each call of libssh that may read. */
static void libssh_enter(struct chan_ssh *c)
{
	c->inside = true;
	ssh_readahead_enter(c->ahead);
}

static void libssh_leave(struct chan_ssh *c)
{
	c->inside = c->writing = false;
	ssh_readahead_leave();
}

void chan_ssh_outcome_unref(struct chan_ssh_outcome *outcome)
{
	if (outcome && --outcome->refs == 0)
		free(outcome);
}

/* ------------------------------------------------------------------------------------------------------- the end */

/* Fills in the outcome: why there is no connection any more. */
static void explain(struct chan_ssh *c, struct link_error *err)
{
	const char *name = ssh_login_name(c->login), *command = ssh_login_command(c->login);
	const char *last_line = c->outcome->last_line;
	int status = c->outcome->exit_status, word;

	/* The agent's way of leaving no shell between: the program's name comes after it. */
	if (strncmp(command, "exec ", strlen("exec ")) == 0)
		command += strlen("exec ");
	/* And its way of finding it, or bringing it: a line of sh (bring.c). */
	if (strncmp(command, "sh -c ", strlen("sh -c ")) == 0)
		command = "homeport-guest";
	word = (int)strcspn(command, " ");

	if (status == STATUS_NOT_FOUND || status == STATUS_NOT_RUNNABLE) {
		link_error_set(err, LINK_ERROR_COMMAND, "%s: %.*s %s in the guest: %s", name, word, command,
			       status == STATUS_NOT_FOUND ? "was not found" : "cannot be run",
			       last_line[0] ? last_line : "the shell does not say why");
		link_error_advise(err, "correct --guest-command, or leave it out: homeport brings its own along");
	} else if (status > 0) {
		link_error_set(err, LINK_ERROR_COMMAND, "%s: %.*s failed in the guest with status %d%s%s", name, word,
			       command, status, last_line[0] ? ": " : "", last_line);
		err->permanent = false;
	} else if (*ssh_login_exit_signal(c->login)) {
		link_error_set(err, LINK_ERROR_LOST, "%s: %.*s was ended in the guest by SIG%s", name, word, command,
			       ssh_login_exit_signal(c->login));
	} else if (status == 0) {
		link_error_set(err, LINK_ERROR_LOST, "%s: %.*s ended in the guest", name, word, command);
	} else {
		const char *why = ssh_get_error(c->session);

		link_error_set(err, LINK_ERROR_LOST, "%s: the connection was lost%s%s", name, why && *why ? ": " : "",
			       why ? why : "");
	}
}

/* Calls the owner last: it may free the chan. */
static void chan_ssh_end(struct chan_ssh *c)
{
	const struct chan_events *events = c->chan.events;
	struct link_error *err = &c->outcome->error;

	c->ended = true;
	loop_fd_set(c->watch, 0);
	explain(c, err);
	events->closed(c->chan.ctx, err->kind == LINK_ERROR_LOST && c->outcome->exit_status != 0 ? -ECONNRESET : 0,
		       err->sentence);
}

static bool session_is_over(const struct chan_ssh *c)
{
	return !ssh_is_connected(c->session) || (ssh_get_status(c->session) & (SSH_CLOSED | SSH_CLOSED_ERROR));
}

/* ------------------------------------------------------------------------------------------- what libssh tells us */

static void log_stderr_line(struct chan_ssh *c)
{
	while (c->line_len > 0 && (c->line[c->line_len - 1] == '\r' || c->line[c->line_len - 1] == ' '))
		c->line_len--;
	if (c->line_len == 0)
		return;
	text_printable(c->outcome->last_line, sizeof(c->outcome->last_line), c->line, c->line_len);
	c->line_len = 0;
	if (log_limit_pass(&c->limit, loop_now_us(c->loop), STDERR_BURST))
		log_info("%s: guest: %s", ssh_login_name(c->login), c->outcome->last_line);
}

static void take_stderr(struct chan_ssh *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n' || c->line_len == sizeof(c->line))
			log_stderr_line(c);
		if (data[i] != '\n')
			c->line[c->line_len++] = data[i];
	}
}

/* False: out of memory. */
static bool hold(struct chan_ssh *c, const uint8_t *data, size_t len)
{
	if (c->held_len + len > c->held_size) {
		size_t size = (c->held_len + len) * 2;
		uint8_t *held = realloc(c->held, size);

		if (!held)
			return false;
		c->held = held;
		c->held_size = size;
	}
	memcpy(c->held + c->held_len, data, len);
	c->held_len += len;
	chan_ssh_later(c);
	return true;
}

/* All is always taken: what was left would stay in libssh, with nothing to say that it is there. */
static int on_data(ssh_session session, ssh_channel channel, void *data, uint32_t len, int is_stderr, void *ctx)
{
	struct chan_ssh *c = ctx;

	(void)session;
	(void)channel;
	c->received += is_stderr ? 0 : len;
	if (is_stderr) {
		take_stderr(c, data, len);
	} else if (c->freed || c->ended || c->gone) {
		return (int)len;
	} else if (c->writing || c->held_len > 0 || !c->chan.events) {
		if (!hold(c, data, len))
			c->gone = true;
	} else {
		ssh_readahead_leave();
		c->chan.events->data(c->chan.ctx, data, len);
		ssh_readahead_enter(c->ahead);
	}
	return (int)len;
}

static void on_close(ssh_session session, ssh_channel channel, void *ctx)
{
	struct chan_ssh *c = ctx;

	(void)session;
	(void)channel;
	c->gone = true;
	chan_ssh_later(c);
}

static void on_exit_status(ssh_session session, ssh_channel channel, int status, void *ctx)
{
	struct chan_ssh *c = ctx;

	(void)session;
	(void)channel;
	c->outcome->exit_status = status;
}

/* ------------------------------------------------------------------------------------------------------ the work */

/* Bytes that lie in libssh unsent, at most. Counted anew from each time there were none. */
static uint64_t unsent(struct chan_ssh *c)
{
	uint64_t made = c->packed.out_bytes + c->packed.out_packets * PACKET_EXTRA;

	if (ssh_get_status(c->session) & SSH_WRITE_PENDING)
		return made > c->sent.out_bytes ? made - c->sent.out_bytes : 0;
	c->packed.out_bytes = c->packed.out_packets = c->sent.out_bytes = 0;
	return 0;
}

static uint32_t wanted_window(const struct chan_ssh *c)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	/* Through a proxy it is a socket pair, whose far end nobody can see. */
	if (getsockopt(ssh_login_watch_fd(c->login), IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return WINDOW_SHORT;
	/* The least there was (Linux 4.6): the present one also has what waits in a queue of ours. */
	return info.tcpi_min_rtt < LONG_RTT_US ? WINDOW_SHORT : WINDOW_LONG;
}

/* Opens the window again when a part of it is used up. libssh does so for reads that want more than it has open. */
static void open_window(struct chan_ssh *c)
{
	uint32_t window;
	uint8_t nothing;

	if (c->gone || c->received < c->reopen)
		return;
	window = wanted_window(c);
	c->reopen = c->received + window / WINDOW_STEPS;
	c->writing = true;
	libssh_enter(c);
	/* on_data() takes all that comes, so there is never a byte to put anywhere. */
	if (ssh_channel_read_timeout(c->channel, &nothing, window, 0, 0) == SSH_ERROR)
		c->gone = true;
	libssh_leave(c);
}

static void rearm(struct chan_ssh *c)
{
	unsigned interest = c->chan.events && unsent(c) < OUT_MAX ? LOOP_READ : 0;

	if (ssh_get_status(c->session) & SSH_WRITE_PENDING)
		interest |= LOOP_WRITE;
	loop_fd_set(c->watch, interest);
}

/* True while the chan is its owner's and has not ended: after each call of the owner this must be asked. */
static bool alive(const struct chan_ssh *c)
{
	return !c->freed && !c->ended && c->chan.events;
}

/* One poll of libssh, and what follows from it. False when nothing did, or will any more. */
static bool libssh_poll(struct chan_ssh *c)
{
	int rc;

	libssh_enter(c);
	rc = ssh_event_dopoll(c->event, 0);
	libssh_leave(c);
	return rc != SSH_AGAIN && rc != SSH_ERROR;
}

/* What was read ahead, for as long as somebody takes it. The socket does not tell of it again: see settle(). */
static void take_ahead(struct chan_ssh *c)
{
	while (ssh_readahead_left(c->ahead) && alive(c) && !c->gone && unsent(c) < OUT_MAX)
		if (!libssh_poll(c))
			break;
}

/*
 * What follows each use of libssh, never inside it: the window, held bytes, then `writable`, then the end. The end
 * comes last because the last words of the guest often stand before it.
 */
static void settle(struct chan_ssh *c)
{
	/* Left behind when there was no owner, or too much unsent. */
	take_ahead(c);
	if (alive(c))
		open_window(c);
	if (alive(c) && c->held_len > 0) {
		uint8_t *held = c->held;
		size_t len = c->held_len;

		c->held = NULL;
		c->held_len = c->held_size = 0;
		c->chan.events->data(c->chan.ctx, held, len);
		free(held);
	}
	if (alive(c) && c->wanted && !c->gone && !(ssh_get_status(c->session) & SSH_WRITE_PENDING)) {
		c->wanted = false;
		c->chan.events->writable(c->chan.ctx);
	}
	if (!alive(c))
		return;
	if (c->held_len > 0) /* came with what was just written */
		chan_ssh_later(c);
	else if (c->gone || session_is_over(c))
		chan_ssh_end(c);
	else
		rearm(c);
}

static void chan_ssh_settle(void *ctx)
{
	struct chan_ssh *c = ctx;

	c->deferred = false;
	settle(c);
}

static void chan_ssh_later(struct chan_ssh *c)
{
	if (c->deferred || c->freed)
		return;
	c->deferred = true;
	loop_defer(c->loop, chan_ssh_settle, c);
}

static void on_socket(void *ctx, int fd, unsigned what)
{
	struct chan_ssh *c = ctx;

	(void)fd;
	if (what & LOOP_READ)
		ssh_readahead_fill(c->ahead, chan_turn(&c->chan, SSH_READAHEAD_MAX));
	take_ahead(c);
	/*
	 * Also with nothing left: the socket takes more, or has an end to tell. And when libssh knows already that it
	 * takes more, what is written next is sent without a poll in front of it.
	 */
	if (!c->gone)
		libssh_poll(c);
	if (unsent(c) > OUT_TOO_BIG)
		c->gone = true;
	settle(c);
}

static size_t chan_ssh_write(struct chan *chan, const uint8_t *data, size_t len, bool kept)
{
	struct chan_ssh *c = (struct chan_ssh *)chan;
	size_t done = 0;

	/* libssh copies it all the same. */
	(void)kept;
	while (done < len && !c->inside && !c->gone && !c->ended) {
		size_t n = len - done < WRITE_CHUNK ? len - done : WRITE_CHUNK;
		int rc;

		if (ssh_get_status(c->session) & SSH_WRITE_PENDING)
			break;
		c->writing = true;
		libssh_enter(c);
		rc = ssh_channel_write(c->channel, data + done, (uint32_t)n);
		libssh_leave(c);
		if (rc < 0) {
			c->gone = true;
			break;
		}
		done += (size_t)rc;
		if ((size_t)rc < n)
			break;
	}
	c->wanted = done < len;
	if (c->ended)
		return done;
	if (c->gone || session_is_over(c))
		chan_ssh_later(c);
	else
		rearm(c);
	return done;
}

static void chan_ssh_owned(struct chan *chan)
{
	struct chan_ssh *c = (struct chan_ssh *)chan;

	c->wanted = false;
	if (!c->ended)
		chan_ssh_later(c);
}

/* -------------------------------------------------------------------------------------------------- begin and end */

static void chan_ssh_release(void *ctx)
{
	struct chan_ssh *c = ctx;

	if (c->event) {
		ssh_event_remove_session(c->event, c->session);
		ssh_event_free(c->event);
	}
	ssh_login_free(c->login);
	ssh_readahead_free(c->ahead);
	chan_ssh_outcome_unref(c->outcome);
	free(c->held);
	free(c);
}

/* libssh may be on the stack: the rest waits for the end of the turn. */
static void chan_ssh_free(struct chan *chan)
{
	struct chan_ssh *c = (struct chan_ssh *)chan;

	c->freed = true;
	c->chan.events = NULL;
	loop_fd_free(c->watch);
	c->watch = NULL;
	loop_defer(c->loop, chan_ssh_release, c);
}

/* What came while the worker waited for the answer to exec lies in libssh, which would tell only when more comes. */
static bool catch_up(struct chan_ssh *c)
{
	char buf[4096];
	int n;

	while ((n = ssh_channel_read_nonblocking(c->channel, buf, sizeof(buf), 1)) > 0)
		take_stderr(c, buf, (size_t)n);
	/* Of a guest that talks without end the rest comes with what follows it. */
	while (c->held_len < CATCH_UP_MAX && (n = ssh_channel_read_nonblocking(c->channel, buf, sizeof(buf), 0)) > 0) {
		if (!hold(c, (uint8_t *)buf, (size_t)n))
			return false;
	}
	if (!ssh_channel_is_closed(c->channel) && !ssh_channel_is_eof(c->channel))
		return true;
	c->outcome->exit_status = ssh_channel_get_exit_status(c->channel);
	c->gone = ssh_channel_is_closed(c->channel);
	return true;
}

static const struct chan_ops chan_ssh_ops = {
	.owned = chan_ssh_owned,
	.write = chan_ssh_write,
	.free = chan_ssh_free,
};

struct chan *chan_ssh_new(struct loop *loop, struct ssh_login *login, struct chan_ssh_outcome **outcome)
{
	struct chan_ssh *c = calloc(1, sizeof(*c));

	if (!c) {
		ssh_login_free(login);
		return NULL;
	}
	c->chan.ops = &chan_ssh_ops;
	c->loop = loop;
	c->login = login;
	c->session = ssh_login_session(login);
	c->channel = ssh_login_channel(login);
	ssh_set_counters(c->session, &c->sent, &c->packed);
	c->callbacks = (struct ssh_channel_callbacks_struct){
		.userdata = c,
		.channel_data_function = on_data,
		.channel_close_function = on_close,
		.channel_exit_status_function = on_exit_status,
	};
	ssh_callbacks_init(&c->callbacks);
	c->outcome = calloc(1, sizeof(*c->outcome));
	if (c->outcome)
		c->outcome->exit_status = -1;
	c->event = ssh_event_new();
	c->ahead = ssh_readahead_new(ssh_get_fd(c->session), ssh_login_watch_fd(login));
	c->watch = loop_fd_new(loop, ssh_login_watch_fd(login), 0, on_socket, c);
	if (!c->outcome || !c->event || !c->ahead || !c->watch || !catch_up(c) ||
	    ssh_event_add_session(c->event, c->session) != SSH_OK ||
	    ssh_set_channel_callbacks(c->channel, &c->callbacks) != SSH_OK) {
		if (c->outcome)
			c->outcome->refs = 1;
		chan_ssh_free(&c->chan);
		return NULL;
	}
	c->outcome->refs = 2;
	*outcome = c->outcome;
	return &c->chan;
}
