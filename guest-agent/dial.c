/* SPDX-License-Identifier: MIT */
/*
 * From an offered stream to a connected socket. Runs on the loop's thread.
 *
 * On loopback it is known at once: the stream is accepted or refused before dial_open() returns. Elsewhere a
 * `dialing` waits for the socket, for the stream's end or for a time-out, whichever comes first. What the client sent
 * right behind OPEN waits in the stream until the relay takes it.
 */
#include "dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "address.h"
#include "bounds.h"
#include "control_msg.h"
#include "log.h"
#include "loop.h"
#include "mux.h"
#include "ports.h"
#include "relay.h"
#include "udp_relay.h"

struct dialing {
	TAILQ_ENTRY(dialing) next;
	struct dial *dial;
	struct mux_stream *stream;
	struct loop_fd *watch;
	struct loop_timer *timer;
	int fd;
};

struct dial {
	struct loop *loop;
	const struct ports *ports;
	TAILQ_HEAD(, dialing) pending;
	unsigned count;
	struct log_limit limit;
};

/* --- who may be connected to ------------------------------------------------------------------------------------ */

static const uint8_t zero[16];

static bool is_unspecified(const struct tcp_target *t)
{
	return memcmp(t->addr, zero, t->family == 4 ? 4 : 16) == 0;
}

static bool is_loopback(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	return t->family == 4 ? t->addr[0] == 127 : memcmp(t->addr, loopback6, 16) == 0;
}

static bool is_reported(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	return d->ports && ports_is_listening(d->ports, proto, t);
}

static bool (*const dial_table[])(const struct dial *d, uint8_t proto, const struct tcp_target *t) = {
	is_loopback, /* what is meant for this machine, whoever listens there */
	is_reported, /* another address of the guest, once the host was told of it; nothing beyond the guest */
};

static bool dial_allows(const struct dial *d, uint8_t proto, const struct tcp_target *t)
{
	for (size_t i = 0; i < sizeof(dial_table) / sizeof(dial_table[0]); i++)
		if (dial_table[i](d, proto, t))
			return true;
	return false;
}

/* --- connecting ------------------------------------------------------------------------------------------------- */

static enum mux_reason reason_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
		return MUX_REASON_REFUSED;
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
	default:
		return MUX_REASON_UNREACHABLE;
	}
}

/* The relay takes the descriptor and the stream, and only then may data come. */
static void dial_connected(struct dial *d, int fd, struct mux_stream *stream)
{
	if (relay_new(d->loop, fd, stream, NULL, NULL, NULL))
		mux_stream_accept(stream, NULL, NULL);
}

static void dial_refuse(struct dial *d, struct mux_stream *stream, enum mux_reason reason)
{
	if (reason == MUX_REASON_RESOURCES && log_limit_pass(&d->limit, loop_now_us(d->loop), 1))
		log_warn("a connection from the host was refused: out of descriptors or memory");
	mux_stream_refuse(stream, reason);
}

static void dialing_free(struct dial *d, struct dialing *g)
{
	TAILQ_REMOVE(&d->pending, g, next);
	d->count--;
	loop_fd_free(g->watch);
	loop_timer_free(g->timer);
	if (g->fd >= 0)
		close(g->fd);
	free(g);
}

static void dialing_refuse(struct dial *d, struct dialing *g, enum mux_reason reason)
{
	struct mux_stream *stream = g->stream;

	dialing_free(d, g);
	dial_refuse(d, stream, reason);
}

static void on_connected(void *ctx, int fd, unsigned what)
{
	struct dialing *g = ctx;
	struct dial *d = g->dial;
	struct mux_stream *stream = g->stream;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		dialing_refuse(d, g, reason_of(error));
		return;
	}
	g->fd = -1;
	dialing_free(d, g);
	dial_connected(d, fd, stream);
}

static void on_timeout(void *ctx)
{
	struct dialing *g = ctx;

	dialing_refuse(g->dial, g, MUX_REASON_TIMED_OUT);
}

/* The opener gave up, or the session ended: the stream is gone. */
static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	struct dialing *g = ctx;

	dialing_free(g->dial, g);
}

/* Nothing is given before the answer; the mux asks for the function. */
static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
}

static const struct mux_stream_events dialing_events = {
	.data = on_stream_data,
	.closed = on_stream_closed,
};

static void dial_wait(struct dial *d, int fd, struct mux_stream *stream)
{
	struct dialing *g = d->count < DIAL_PENDING_MAX ? calloc(1, sizeof(*g)) : NULL;

	if (!g) {
		close(fd);
		dial_refuse(d, stream, MUX_REASON_RESOURCES);
		return;
	}
	g->dial = d;
	g->stream = stream;
	g->fd = fd;
	g->watch = loop_fd_new(d->loop, fd, LOOP_WRITE, on_connected, g);
	g->timer = loop_timer_new(d->loop, on_timeout, g);
	TAILQ_INSERT_TAIL(&d->pending, g, next);
	d->count++;
	if (!g->watch || !g->timer) {
		dialing_refuse(d, g, MUX_REASON_RESOURCES);
		return;
	}
	loop_timer_set(g->timer, DIAL_TIMEOUT_US);
	mux_stream_set_events(stream, &dialing_events, g);
}

/*
 * 0, or a negative errno: -EINPROGRESS when it will be known later. On loopback the answer has come when connect()
 * returns, but it was looked at before that; a second call says what it is.
 */
static int dial_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	if (connect(fd, sa, len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return -errno;
	if (connect(fd, sa, len) == 0 || errno == EISCONN)
		return 0;
	return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

static void dial_tcp(struct dial *d, struct mux_stream *stream, const struct tcp_target *t)
{
	struct sockaddr_storage sa;
	socklen_t len = address_sockaddr(&sa, t->family, t->addr, t->scope, t->port);
	int on = 1, error;
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		dial_refuse(d, stream, reason_of(errno));
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	error = dial_connect(fd, (struct sockaddr *)&sa, len);
	if (!error) {
		dial_connected(d, fd, stream);
	} else if (error == -EINPROGRESS) {
		dial_wait(d, fd, stream);
	} else {
		close(fd);
		dial_refuse(d, stream, reason_of(-error));
	}
}

/* A connection of UDP's stands at once: it only says who the two ends are. */
static void dial_udp(struct dial *d, struct mux_stream *stream, const struct tcp_target *t)
{
	struct sockaddr_storage sa;
	socklen_t len = address_sockaddr(&sa, t->family, t->addr, t->scope, t->port);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, len) < 0) {
		dial_refuse(d, stream, reason_of(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	udp_relay_start(d->loop, fd, stream);
}

void dial_open(struct dial *d, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	uint8_t proto = kind == MUX_KIND_UDP ? LISTENER_UDP : LISTENER_TCP;
	struct tcp_target t;

	if (tcp_target_get(args, len, &t) < 0) {
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	if (is_unspecified(&t)) {
		t.addr[0] = t.family == 4 ? 127 : 0;
		t.addr[t.family == 4 ? 3 : 15] = 1;
	}
	if (!dial_allows(d, proto, &t)) {
		if (log_limit_pass(&d->limit, loop_now_us(d->loop), 1))
			log_warn("the host may connect to loopback and to what listens here, not to port %u elsewhere",
				 t.port);
		mux_stream_refuse(stream, MUX_REASON_PROHIBITED);
		return;
	}
	if (proto == LISTENER_UDP)
		dial_udp(d, stream, &t);
	else
		dial_tcp(d, stream, &t);
}

struct dial *dial_new(struct loop *loop, const struct ports *ports)
{
	struct dial *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = loop;
	d->ports = ports;
	TAILQ_INIT(&d->pending);
	return d;
}

void dial_free(struct dial *d)
{
	struct dialing *g, *next;

	if (!d)
		return;
	for (g = TAILQ_FIRST(&d->pending); g; g = next) {
		next = TAILQ_NEXT(g, next);
		dialing_refuse(d, g, MUX_REASON_CANCELLED);
	}
	free(d);
}
