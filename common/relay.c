/* SPDX-License-Identifier: MIT */
/*
 * Bytes between a stream and a socket. See relay.h. Runs on the loop's thread.
 *
 * Theory of operation. Two directions that know nothing of each other but that both must end:
 *
 *   socket -> stream  read while the stream has space; when there is more than one read brings, the rest waits in the
 *                     socket and is read right to where it leaves from, as it can leave; end of file becomes FIN
 *   stream -> socket  written as it comes, bulk at the end of the turn, or moved by the connection itself; what the
 *                     socket does not take waits in `backlog`, uncredited, so that the peer's window bounds it; FIN,
 *                     once all is written, becomes shutdown(SHUT_WR)
 *
 * The stream may be over (both FINs passed) before the socket took the last bytes, and the socket before the stream's
 * queue has left: whichever ends first waits for the other. An error on either side ends both at once.
 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fifo.h"
#include "loop.h"

#define RELAY_BUF    (64u << 10)
#define RELAY_BULK   (4u << 10) /* a piece that large is bulk */
#define RELAY_GATHER (256u << 10)
/* A loop that polls sees a connection before its client has come to send: so long, it may. */
#define RELAY_FIRST_US 8u

struct relay {
	struct loop *loop;
	struct loop_fd *watch;
	struct mux_stream *stream; /* NULL: over */
	struct fifo backlog;
	struct relay_caller caller;
	int fd;
	int pull_error;   /* what reading failed with, while nothing could be done about it */
	bool pulling;     /* the stream asks for what the socket has */
	bool bulk;        /* what came last was: what begins as the rest of a frame goes on */
	bool read_ended;  /* the socket sends no more: FIN was queued */
	bool fin_came;    /* the stream brings no more */
	bool write_ended; /* and the socket was told */
	bool over;
};

/* One for all, which run on one thread: thousands of idle connections cost no buffers. */
static uint8_t relay_buf[RELAY_BUF];

/*
 * Bulk comes in pieces of a frame or less, each of which the kernel would carry all the way to its reader. What comes
 * for one relay in a turn is written in one go: at the turn's end, or when it is another's turn. While a relay's bytes
 * are here, its backlog is empty.
 */
static struct relay_gather {
	struct relay *relay; /* NULL: nothing is here */
	size_t len;
	bool deferred; /* on_relay_turn_end() will come */
	uint8_t data[RELAY_GATHER];
} gather;

static void relay_release(void *ctx)
{
	struct relay *r = ctx;

	fifo_clear(&r->backlog);
	free(r);
}

static void relay_close_fd(struct relay *r, bool abortive)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	if (r->fd < 0)
		return;
	loop_fd_free(r->watch);
	r->watch = NULL;
	/* Means RST on TCP, nothing on a unix socket, whose peer sees the end of file either way. */
	if (abortive)
		setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(r->fd);
	r->fd = -1;
}

static void relay_forget_gathered(const struct relay *r)
{
	if (gather.relay != r)
		return;
	gather.relay = NULL;
	gather.len = 0;
}

static void relay_end(struct relay *r, int error)
{
	if (r->over)
		return;
	r->over = true;
	relay_forget_gathered(r);
	relay_close_fd(r, error != 0);
	if (r->caller.done)
		r->caller.done(r->caller.ctx, error);
	/* Callers up the stack still look at the relay. */
	loop_defer(r->loop, relay_release, r);
}

static enum mux_reason relay_reason(int error)
{
	switch (-error) {
	case ETIMEDOUT:
		return MUX_REASON_TIMED_OUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
		return MUX_REASON_UNREACHABLE;
	case ENOMEM:
	case ENOBUFS:
		return MUX_REASON_RESOURCES;
	default:
		return MUX_REASON_RESET;
	}
}

static int relay_error(enum mux_reason reason)
{
	switch (reason) {
	case MUX_REASON_NONE:
		return 0;
	case MUX_REASON_REFUSED:
		return -ECONNREFUSED;
	case MUX_REASON_TIMED_OUT:
		return -ETIMEDOUT;
	case MUX_REASON_UNREACHABLE:
		return -EHOSTUNREACH;
	case MUX_REASON_PROHIBITED:
		return -EACCES;
	case MUX_REASON_NOT_FOUND:
		return -ENOENT;
	case MUX_REASON_RESOURCES:
		return -ENOBUFS;
	case MUX_REASON_LOST:
	case MUX_REASON_CANCELLED:
		return -ECONNABORTED;
	default:
		return -ECONNRESET;
	}
}

/* The socket failed. */
static void relay_fail(struct relay *r, int error)
{
	if (r->stream)
		mux_stream_reset(r->stream, relay_reason(error));
	r->stream = NULL;
	relay_end(r, error);
}

static void relay_update(struct relay *r)
{
	unsigned interest = 0;

	if (r->over || r->fd < 0)
		return;
	if (r->read_ended && r->write_ended) {
		relay_close_fd(r, false);
		return;
	}
	if (r->stream && !r->read_ended && !r->pulling && mux_stream_space(r->stream) > 0)
		interest |= LOOP_READ;
	if (r->backlog.len)
		interest |= LOOP_WRITE;
	if (loop_fd_set(r->watch, interest) < 0)
		relay_fail(r, -ENOMEM);
}

static void relay_progress(struct relay *r)
{
	if (r->over)
		return;
	if (r->fin_came && !r->backlog.len && gather.relay != r && !r->write_ended) {
		r->write_ended = true;
		/* Closing, which follows if it has ended as well, says the same. Fails only when the other side has
		 * gone already, which reading tells better. */
		if (!r->read_ended)
			shutdown(r->fd, SHUT_WR);
	}
	relay_update(r);
	if (!r->over && r->fd < 0 && !r->stream)
		relay_end(r, 0);
}

/* Writes to the socket; returns what it took, or a negative errno. */
static ssize_t relay_push(struct relay *r, const uint8_t *data, size_t len)
{
	ssize_t n;

	do
		n = send(r->fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (r->caller.counters)
		r->caller.counters->bytes_out += (size_t)n;
	if (r->stream)
		mux_stream_consumed(r->stream, (size_t)n);
	return n;
}

static void relay_flush(struct relay *r)
{
	while (r->backlog.len) {
		size_t len;
		const uint8_t *data = fifo_peek(&r->backlog, &len);
		ssize_t n = relay_push(r, data, len);

		if (n < 0) {
			relay_fail(r, (int)n);
			return;
		}
		fifo_drop(&r->backlog, (size_t)n);
		if ((size_t)n < len)
			return;
	}
}

/* One read. If it brings all that it may, the rest is for the stream to ask for. False: there is nothing. */
static bool relay_read(struct relay *r)
{
	size_t space = mux_stream_space(r->stream);
	size_t want = space < RELAY_BUF ? space : RELAY_BUF;
	ssize_t n;

	if (!want)
		return true;
	n = recv(r->fd, relay_buf, want, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0) {
		if (mux_stream_write(r->stream, relay_buf, (size_t)n) < (size_t)n) {
			relay_fail(r, -ENOMEM);
			return true;
		}
		if (r->caller.counters)
			r->caller.counters->bytes_in += (size_t)n;
		if (n == RELAY_BUF) {
			r->pulling = true;
			mux_stream_set_pullable(r->stream);
		}
	} else if (n == 0) {
		r->read_ended = true;
		mux_stream_fin(r->stream);
	} else {
		relay_fail(r, -errno);
	}
	return true;
}

static size_t on_relay_pull(void *ctx, uint8_t *place, size_t max)
{
	struct relay *r = ctx;
	ssize_t n = recv(r->fd, place, max, 0);

	/* The end is read again; an error is told once. Both wait until we may use the mux: on_relay_writable(). */
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		r->pull_error = -errno;
	if (n > 0 && r->caller.counters)
		r->caller.counters->bytes_in += (size_t)n;
	r->pulling = n == (ssize_t)max;
	return n > 0 ? (size_t)n : 0;
}

/* Writes what there is, and keeps what the socket does not take. */
static void relay_deliver(struct relay *r, const uint8_t *data, size_t len)
{
	ssize_t n = 0;

	if (!r->backlog.len)
		n = relay_push(r, data, len);
	if (n >= 0 && (size_t)n < len && !fifo_append(&r->backlog, data + n, len - (size_t)n))
		n = -ENOMEM;
	if (n < 0)
		relay_fail(r, (int)n);
	else
		relay_update(r);
}

static void relay_deliver_gathered(void)
{
	struct relay *r = gather.relay;
	size_t len = gather.len;

	if (!r)
		return;
	relay_forget_gathered(r);
	r->bulk = len >= RELAY_BULK;
	relay_deliver(r, gather.data, len);
	relay_progress(r);
}

static void on_relay_turn_end(void *ctx)
{
	(void)ctx;
	gather.deferred = false;
	relay_deliver_gathered();
}

static void on_relay_socket(void *ctx, int fd, unsigned what)
{
	struct relay *r = ctx;

	(void)fd;
	/* A reset may have been told to splice(2): then reading shows an end of file, and only writing still fails. */
	if (gather.relay == r)
		relay_deliver_gathered();
	if (what & LOOP_WRITE)
		relay_flush(r);
	else if (!r->over && r->stream && !r->pulling)
		relay_read(r);
	relay_progress(r);
}

static void relay_gather(struct relay *r, const uint8_t *data, size_t len)
{
	if (gather.relay != r || len > sizeof(gather.data) - gather.len)
		relay_deliver_gathered();
	if (r->over)
		return;
	if (r->backlog.len || len > sizeof(gather.data)) {
		relay_deliver(r, data, len);
		return;
	}
	if (!gather.deferred)
		loop_defer(r->loop, on_relay_turn_end, NULL);
	gather.deferred = true;
	gather.relay = r;
	memcpy(gather.data + gather.len, data, len);
	gather.len += len;
}

static void on_relay_data(void *ctx, const uint8_t *data, size_t len)
{
	struct relay *r = ctx;

	if (len >= RELAY_BULK || gather.relay == r || r->bulk)
		relay_gather(r, data, len);
	else
		relay_deliver(r, data, len);
}

/* Without bytes of its own in between, the connection may write to the socket. */
static int on_relay_outlet(void *ctx)
{
	struct relay *r = ctx;

	if (gather.relay == r)
		relay_deliver_gathered();
	return r->over || r->backlog.len ? -1 : r->fd;
}

static void on_relay_passed(void *ctx, size_t n)
{
	struct relay *r = ctx;

	if (r->caller.counters)
		r->caller.counters->bytes_out += n;
	if (r->stream)
		mux_stream_consumed(r->stream, n);
}

static void on_relay_writable(void *ctx)
{
	struct relay *r = ctx;

	if (r->pull_error && !r->over)
		relay_fail(r, r->pull_error);
	else
		relay_update(r);
}

static void on_relay_fin(void *ctx)
{
	struct relay *r = ctx;

	r->fin_came = true;
	relay_progress(r);
}

static void on_relay_closed(void *ctx, enum mux_reason reason)
{
	struct relay *r = ctx;

	r->stream = NULL;
	/* What came before a reset can still be read by whoever is reset. */
	if (gather.relay == r)
		relay_deliver_gathered();
	if (reason != MUX_REASON_NONE)
		relay_end(r, relay_error(reason));
	else
		relay_progress(r);
}

static const struct mux_stream_events relay_events = {
	.data = on_relay_data,
	.writable = on_relay_writable,
	.pull = on_relay_pull,
	.outlet = on_relay_outlet,
	.passed = on_relay_passed,
	.fin = on_relay_fin,
	.closed = on_relay_closed,
};

struct relay *relay_new(struct loop *loop, int fd, struct mux_stream *stream, const struct relay_caller *caller)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r) {
		r->loop = loop;
		r->fd = fd;
		r->stream = stream;
		if (caller)
			r->caller = *caller;
		r->watch = loop_fd_new(loop, fd, mux_stream_space(stream) > 0 ? LOOP_READ : 0, on_relay_socket, r);
	}
	if (!r || !r->watch) {
		mux_stream_reset(stream, MUX_REASON_RESOURCES);
		close(fd);
		free(r);
		return NULL;
	}
	mux_stream_set_events(stream, &relay_events, r);
	return r;
}

void relay_read_now(struct relay *r)
{
	uint64_t until = loop_now_us(r->loop) + RELAY_FIRST_US;

	while (!relay_read(r) && loop_now_us(r->loop) < until)
		;
	relay_progress(r);
}

void relay_abort(struct relay *r, enum mux_reason reason)
{
	if (r->over)
		return;
	r->over = true;
	relay_forget_gathered(r);
	if (r->stream)
		mux_stream_reset(r->stream, reason);
	r->stream = NULL;
	relay_close_fd(r, true);
	loop_defer(r->loop, relay_release, r);
}
