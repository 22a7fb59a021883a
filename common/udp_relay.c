/* SPDX-License-Identifier: MIT */
/* See udp_relay.h. Runs on the loop's thread. */
#include "udp_relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "datagram.h"
#include "loop.h"
#include "mux.h"
#include "relay.h"

#define READS_TURN 64

struct udp_relay {
	struct loop *loop;
	struct loop_fd *watch;
	struct mux_stream *stream;
	struct datagram_reader reader;
	struct relay_caller caller;
	int fd;
};

/* One for all, which run on one thread. */
static struct datagram incoming;

static void udp_relay_release(void *ctx)
{
	struct udp_relay *r = ctx;

	datagram_reader_clear(&r->reader);
	free(r);
}

/* The stream is over. Callers up the stack may still look at the relay. */
static void udp_relay_end(struct udp_relay *r)
{
	r->stream = NULL;
	loop_fd_free(r->watch);
	close(r->fd);
	loop_defer(r->loop, udp_relay_release, r);
	if (r->caller.done)
		r->caller.done(r->caller.ctx, 0);
	r->caller.counters = NULL;
}

static void udp_relay_count(const struct udp_relay *r, size_t in, size_t out)
{
	if (!r->caller.counters)
		return;
	r->caller.counters->bytes_in += in;
	r->caller.counters->bytes_out += out;
}

static void udp_relay_reset(struct udp_relay *r, enum mux_reason reason)
{
	mux_stream_reset(r->stream, reason);
	udp_relay_end(r);
}

/* An error of the socket's is about the server: who is not there, or cannot be reached any more. */
static bool is_fatal(int error)
{
	return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN;
}

static void on_socket(void *ctx, int fd, unsigned what)
{
	struct udp_relay *r = ctx;

	(void)what;
	for (int i = 0; i < READS_TURN; i++) {
		ssize_t n = recv(fd, incoming.data, sizeof(incoming.data), 0);

		if (n < 0 && is_fatal(errno)) {
			udp_relay_reset(r, errno == ECONNREFUSED ? MUX_REASON_REFUSED : MUX_REASON_UNREACHABLE);
			return;
		}
		if (n < 0)
			return;
		if (datagram_write(r->stream, &incoming, (size_t)n))
			udp_relay_count(r, (size_t)n, 0);
	}
}

static int on_datagram(void *ctx, const uint8_t *data, size_t len)
{
	const struct udp_relay *r = ctx;

	/* What the last datagram met is told by the next call, which then has not sent anything. */
	if (send(r->fd, data, len, MSG_NOSIGNAL) >= 0)
		udp_relay_count(r, 0, len);
	else if (is_fatal(errno))
		return -errno;
	return 0;
}

static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
	struct udp_relay *r = ctx;
	int rc = datagram_read(&r->reader, data, len, on_datagram, r);

	if (rc == 0)
		mux_stream_consumed(r->stream, len);
	else if (rc == -ECONNREFUSED)
		udp_relay_reset(r, MUX_REASON_REFUSED);
	else
		udp_relay_reset(r, rc == -ENOMEM ? MUX_REASON_RESOURCES : MUX_REASON_UNREACHABLE);
}

/* There is no FIN in such a stream. */
static void on_stream_fin(void *ctx)
{
	udp_relay_reset(ctx, MUX_REASON_INTERNAL);
}

static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	(void)reason;
	udp_relay_end(ctx);
}

static const struct mux_stream_events stream_events = {
	.data = on_stream_data,
	.fin = on_stream_fin,
	.closed = on_stream_closed,
};

bool udp_relay_start(struct loop *loop, int fd, struct mux_stream *stream, const struct relay_caller *caller)
{
	struct udp_relay *r = calloc(1, sizeof(*r));

	if (r)
		r->watch = loop_fd_new(loop, fd, LOOP_READ, on_socket, r);
	if (!r || !r->watch) {
		free(r);
		return false;
	}
	r->loop = loop;
	r->fd = fd;
	r->stream = stream;
	if (caller)
		r->caller = *caller;
	mux_stream_accept(stream, &stream_events, r);
	return true;
}
