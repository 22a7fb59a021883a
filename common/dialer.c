/* SPDX-License-Identifier: MIT */
/*
 * From an offered stream to a connected socket. Runs on the loop's thread.
 *
 * On loopback, and of a unix socket, it is known at once: the stream is accepted or refused before dialer_connect()
 * returns. Elsewhere a `dialing` waits for the socket, for the stream's end or for a time-out, whichever comes first; a
 * unix socket whose queue is full cannot be waited for and is tried again. What the client sent right behind OPEN waits
 * in the stream until the relay takes it.
 */
#include "dialer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "bounds.h"
#include "log.h"
#include "loop.h"
#include "sock_address.h"
#include "udp_relay.h"

/* One stream, and what it is to be connected to. */
struct dialing {
	TAILQ_ENTRY(dialing) next;
	struct dialer *dialer;
	struct mux_stream *stream;
	struct relay_caller caller;
	struct sock_address to[DIALER_ADDRESSES_MAX];
	size_t count, at;
	struct loop_fd *watch;
	struct loop_timer *timer;
	uint64_t until_us; /* a unix socket is tried */
	int fd;
};

struct dialer {
	struct loop *loop;
	TAILQ_HEAD(, dialing) pending;
	unsigned count;
	struct log_limit limit;
};

enum mux_reason dialer_reason(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
		return MUX_REASON_REFUSED;
	case ENOENT:
	case ENOTDIR:
		return MUX_REASON_NOT_FOUND;
	case ETIMEDOUT:
		return MUX_REASON_TIMED_OUT;
	case EACCES:
	case EPERM:
		return MUX_REASON_PROHIBITED;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return MUX_REASON_RESOURCES;
	case ECANCELED:
		return MUX_REASON_CANCELLED;
	default:
		return MUX_REASON_UNREACHABLE;
	}
}

void dialer_refuse(struct dialer *d, struct mux_stream *stream, enum mux_reason reason)
{
	if (reason == MUX_REASON_RESOURCES && log_limit_pass(&d->limit, loop_now_us(d->loop), 1))
		log_warn("a connection from the other side was refused: out of descriptors or memory");
	mux_stream_refuse(stream, reason);
}

static void caller_done(const struct relay_caller *caller, int error)
{
	if (caller && caller->done)
		caller->done(caller->ctx, error);
}

/* --- one connection --------------------------------------------------------------------------------------------- */

/* Gives up the socket that is being connected. */
static void dialing_close(struct dialing *g)
{
	loop_fd_free(g->watch);
	g->watch = NULL;
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
}

static void dialing_free(struct dialing *g)
{
	TAILQ_REMOVE(&g->dialer->pending, g, next);
	g->dialer->count--;
	dialing_close(g);
	loop_timer_free(g->timer);
	free(g);
}

/* The stream is gone, or goes now, without a connection. */
static void dialing_end(struct dialing *g, int error)
{
	struct relay_caller caller = g->caller;

	dialing_free(g);
	caller_done(&caller, error);
}

static void dialing_refuse(struct dialing *g, int error)
{
	struct mux_stream *stream = g->stream;
	struct dialer *d = g->dialer;

	dialing_end(g, -error);
	dialer_refuse(d, stream, dialer_reason(error));
}

/* The relay takes the descriptor and the stream, and only then may data come. */
static void dialing_connected(struct dialing *g)
{
	struct relay_caller caller = g->caller;
	struct mux_stream *stream = g->stream;
	struct loop *loop = g->dialer->loop;
	int fd = g->fd;

	loop_fd_free(g->watch);
	g->watch = NULL;
	g->fd = -1;
	dialing_free(g);
	if (relay_new(loop, fd, stream, &caller))
		mux_stream_accept(stream, NULL, NULL);
	else
		caller_done(&caller, -ENOMEM);
}

static void dialing_try(struct dialing *g);

/* The present address does not answer; the one after it may. */
static void dialing_failed(struct dialing *g, int error)
{
	dialing_close(g);
	if (++g->at < g->count)
		dialing_try(g);
	else
		dialing_refuse(g, error);
}

static void on_connected(void *ctx, int fd, unsigned what)
{
	struct dialing *g = ctx;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error)
		dialing_failed(g, error);
	else
		dialing_connected(g);
}

static void on_timer(void *ctx)
{
	struct dialing *g = ctx;

	if (g->watch || loop_now_us(g->dialer->loop) >= g->until_us)
		dialing_failed(g, ETIMEDOUT);
	else
		dialing_try(g);
}

/*
 * 0, or a negative errno: -EINPROGRESS when it will be known later, -EAGAIN when a unix socket's queue is full. On
 * loopback the answer has come when connect() returns, but it was looked at before that; a second call says what it is.
 */
static int dial_once(int fd, const struct sock_address *to)
{
	if (connect(fd, &to->any, to->len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	if (connect(fd, &to->any, to->len) == 0 || errno == EISCONN)
		return 0;
	return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

static int dialing_begin(struct dialing *g)
{
	const struct sock_address *to = &g->to[g->at];
	int on = 1, rc;

	g->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->fd < 0)
		return -errno;
	if (!sock_address_is_unix(to))
		setsockopt(g->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rc = dial_once(g->fd, to);
	if (rc == -EINPROGRESS) {
		g->watch = loop_fd_new(g->dialer->loop, g->fd, LOOP_WRITE, on_connected, g);
		return g->watch ? rc : -ENOMEM;
	}
	return rc;
}

static void dialing_wait(struct dialing *g, uint64_t us)
{
	if (!g->timer)
		g->timer = loop_timer_new(g->dialer->loop, on_timer, g);
	if (g->timer)
		loop_timer_set(g->timer, us);
	else
		dialing_refuse(g, ENOMEM);
}

static void dialing_try(struct dialing *g)
{
	int rc = dialing_begin(g);

	switch (rc) {
	case 0:
		dialing_connected(g);
		break;
	case -EINPROGRESS:
		dialing_wait(g, DIAL_TIMEOUT_US);
		break;
	case -EAGAIN:
		dialing_close(g);
		dialing_wait(g, DIAL_AGAIN_US);
		break;
	default:
		dialing_failed(g, -rc);
	}
}

/* The opener gave up, or the session ended: the stream is gone. */
static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	dialing_end(ctx, -ECONNABORTED);
}

/* Nothing is given before the answer; the mux asks for the function. */
static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
}

static const struct mux_stream_events dialing_events = {
	.data = on_stream_data,
	.closed = on_stream_closed,
};

void dialer_connect(struct dialer *d, struct mux_stream *stream, const struct sock_address *to, size_t count,
		    const struct relay_caller *caller)
{
	struct dialing *g = d->count < DIAL_PENDING_MAX ? calloc(1, sizeof(*g)) : NULL;

	if (!g) {
		caller_done(caller, -ENOMEM);
		dialer_refuse(d, stream, MUX_REASON_RESOURCES);
		return;
	}
	g->dialer = d;
	g->stream = stream;
	if (caller)
		g->caller = *caller;
	g->fd = -1;
	g->count = count;
	g->until_us = loop_now_us(d->loop) + DIAL_TIMEOUT_US;
	memcpy(g->to, to, count * sizeof(*to));
	TAILQ_INSERT_TAIL(&d->pending, g, next);
	d->count++;
	mux_stream_set_events(stream, &dialing_events, g);
	dialing_try(g);
}

/* A connection of UDP's stands at once: it only says who the two ends are. */
void dialer_connect_udp(struct dialer *d, struct mux_stream *stream, const struct sock_address *to,
			const struct relay_caller *caller)
{
	int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = fd < 0 || connect(fd, &to->any, to->len) < 0 ? errno : 0;

	if (error == 0 && udp_relay_start(d->loop, fd, stream, caller))
		return;
	if (fd >= 0)
		close(fd);
	error = error ? error : ENOMEM;
	caller_done(caller, -error);
	dialer_refuse(d, stream, dialer_reason(error));
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct dialer *dialer_new(struct loop *loop)
{
	struct dialer *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = loop;
	TAILQ_INIT(&d->pending);
	return d;
}

void dialer_free(struct dialer *d)
{
	struct dialing *g, *next;

	if (!d)
		return;
	for (g = TAILQ_FIRST(&d->pending); g; g = next) {
		next = TAILQ_NEXT(g, next);
		dialing_refuse(g, ECANCELED);
	}
	free(d);
}
