/* SPDX-License-Identifier: MIT */
/*
 * The agent's end of the control socket. See ctl_socket.h.
 *
 * What a turn appended is sent by a hook after it, which also frees clients: whoever answers one inside a callback
 * still holds a valid pointer. `over` and `lost` say in between that nothing more is to happen to it.
 *
 * The guest's ports and their connections may take all descriptors there are. One is kept aside for a command, so that
 * `down` is heard all the same.
 */
#include "ctl_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chan.h"
#include "chan_fd.h"
#include "log.h"
#include "loop.h"
#include "wire.h"

#define PAUSE_US 100000u

struct ctl_client {
	TAILQ_ENTRY(ctl_client) next;
	struct ctl_socket *socket;
	struct chan *chan;
	struct wire_buf out;
	char request[CTL_REQUEST_MAX];
	size_t request_len;
	bool asked; /* the request was passed on */
	bool over;  /* answered to the end: goes when it has it all */
	bool lost;  /* to be freed */
};

struct ctl_socket {
	struct loop *loop;
	int fd;
	int spare; /* a descriptor to let go of when there is no other; -1: it is in use */
	struct loop_timer *pause;
	struct loop_fd *watch;
	struct loop_hook *hook;
	const struct ctl_events *events;
	void *ctx;
	TAILQ_HEAD(, ctl_client) clients;
	size_t count;
};

static void spare_take(struct ctl_socket *s)
{
	if (s->spare < 0)
		s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void client_free(struct ctl_client *c)
{
	TAILQ_REMOVE(&c->socket->clients, c, next);
	c->socket->count--;
	chan_free(c->chan);
	spare_take(c->socket);
	wire_buf_free(&c->out);
	free(c);
}

static void client_lose(struct ctl_client *c)
{
	if (c->lost)
		return;
	c->lost = true;
	chan_set_owner(c->chan, NULL, NULL);
	if (c->asked && !c->over)
		c->socket->events->gone(c->socket->ctx, c);
}

static void client_flush(struct ctl_client *c)
{
	size_t took;

	if (c->lost)
		return;
	took = chan_write(c->chan, c->out.data, c->out.len);
	wire_buf_consume(&c->out, took);
	if (c->out.failed || c->out.len > CTL_QUEUE_MAX || (c->over && !c->out.len))
		client_lose(c);
}

/* A line is one line: nothing in a text ends it, or speaks to the terminal it is shown on. */
static void flatten(uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] == 0x7f)
			text[i] = ' ';
}

void ctl_client_text(struct ctl_client *c, char tag, const char *text, size_t len)
{
	if (c->lost || c->over)
		return;
	wire_put_u8(&c->out, (uint8_t)tag);
	wire_put_u8(&c->out, ' ');
	wire_put_bytes(&c->out, text, len);
	if (!c->out.failed)
		flatten(c->out.data + c->out.len - len, len);
	wire_put_u8(&c->out, '\n');
}

void ctl_client_line(struct ctl_client *c, char tag, const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	ctl_client_text(c, tag, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void on_turn(void *ctx)
{
	struct ctl_socket *s = ctx;
	struct ctl_client *c, *after;

	for (c = TAILQ_FIRST(&s->clients); c; c = after) {
		after = TAILQ_NEXT(c, next);
		if (c->out.len || c->over)
			client_flush(c);
		if (c->lost)
			client_free(c);
	}
}

size_t ctl_client_waiting(const struct ctl_client *c)
{
	return c->out.len;
}

void ctl_client_exit(struct ctl_client *c, int status)
{
	ctl_client_line(c, 'x', "%d", status);
	c->over = true;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct ctl_client *c = ctx;
	char *end;

	if (c->asked)
		return; /* one request a connection; what comes behind it is nobody's */
	if (len > sizeof(c->request) - 1 - c->request_len) {
		client_lose(c);
		return;
	}
	memcpy(c->request + c->request_len, data, len);
	c->request_len += len;
	end = memchr(c->request, '\n', c->request_len);
	if (!end)
		return;
	*end = '\0';
	c->asked = true;
	c->socket->events->request(c->socket->ctx, c, c->request);
}

static void on_writable(void *ctx)
{
	(void)ctx; /* the hook of this turn sends */
}

static void on_closed(void *ctx, int error, const char *why)
{
	(void)error;
	(void)why;
	client_lose(ctx);
}

static const struct chan_events client_chan = {.data = on_data, .writable = on_writable, .closed = on_closed};

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.uid == geteuid();
}

static void on_pause_over(void *ctx)
{
	struct ctl_socket *s = ctx;

	spare_take(s);
	loop_fd_set(s->watch, LOOP_READ);
}

/* The next client's connection; when there is no descriptor for it but the spare one, that. */
static int accept_one(struct ctl_socket *s)
{
	int conn = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (conn >= 0 || (errno != EMFILE && errno != ENFILE))
		return conn;
	if (s->spare >= 0) {
		close(s->spare);
		s->spare = -1;
		conn = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	if (conn < 0) {
		/* Who waits makes the socket readable again and again. */
		loop_fd_set(s->watch, 0);
		loop_timer_set(s->pause, PAUSE_US);
	}
	return conn;
}

static void on_accept(void *ctx, int fd, unsigned what)
{
	struct ctl_socket *s = ctx;
	int conn = accept_one(s);
	struct ctl_client *c;

	(void)fd;
	(void)what;
	if (conn < 0)
		return;
	c = same_user(conn) && s->count < CTL_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(conn);
		return;
	}
	c->socket = s;
	c->chan = chan_fd_new(s->loop, conn, conn);
	if (!c->chan) {
		free(c);
		return;
	}
	TAILQ_INSERT_TAIL(&s->clients, c, next);
	s->count++;
	chan_set_owner(c->chan, &client_chan, c);
}

static int listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	/* The folder is 0700: nobody gets in between bind and chmod. */
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0600) < 0 || listen(fd, 16) < 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

struct ctl_socket *ctl_socket_new(struct loop *loop, const char *path, const struct ctl_events *events, void *ctx)
{
	struct ctl_socket *s = calloc(1, sizeof(*s));
	int error;

	if (!s)
		return NULL;
	*s = (struct ctl_socket){.loop = loop, .fd = listen_at(path), .spare = -1, .events = events, .ctx = ctx};
	TAILQ_INIT(&s->clients);
	error = errno;
	if (s->fd >= 0) {
		error = ENOMEM;
		s->hook = loop_hook_new(loop, on_turn, s);
		s->watch = loop_fd_new(loop, s->fd, LOOP_READ, on_accept, s);
		s->pause = loop_timer_new(loop, on_pause_over, s);
		spare_take(s);
		if (s->hook && s->watch && s->pause)
			return s;
	}
	ctl_socket_free(s);
	errno = error;
	return NULL;
}

void ctl_socket_free(struct ctl_socket *s)
{
	struct ctl_client *c;

	if (!s)
		return;
	while ((c = TAILQ_FIRST(&s->clients))) {
		if (!c->lost && c->out.len)
			chan_write(c->chan, c->out.data, c->out.len);
		client_free(c);
	}
	loop_fd_free(s->watch);
	loop_hook_free(s->hook);
	loop_timer_free(s->pause);
	if (s->spare >= 0)
		close(s->spare);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}
