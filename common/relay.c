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
 *
 * Leaving is an end like any other, of the stream alone: LEAVE stands for FIN, and does not wait for what is queued, so
 * that it takes a round trip whoever reads or not; when the stream is over, the socket goes to the carrier, and both
 * queues. Where one direction had ended before, the other end of the ride finds that out by itself: the end of a
 * socket's bytes is read again. Who fails meanwhile is given away all the same, without a socket: the other side's
 * waits for it.
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
/* So many bytes within such a time are bulk that had better be carried elsewhere. */
#define RELAY_HEAVY    (2u << 20)
#define RELAY_HEAVY_US 500000u

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
	bool leaving;        /* LEAVE was queued, */
	bool leave_came;     /* or came */
	int broken;          /* and the socket failed then, with this, and is closed */
	uint32_t left_id;    /* the stream's then */
	struct fifo rest;    /* of what was queued for it */
	size_t unowed;       /* of the backlog: it came on another stream, which was credited nothing for it */
	uint64_t weighed;    /* bytes since */
	uint64_t weighed_us; /* then */
	void *ride;          /* the carrier has the socket */
};

/*
 * Bulk comes in pieces of a frame or less, each of which the kernel would carry all the way to its reader. What comes
 * for one relay in a turn is written in one go: at the turn's end, or when it is another's turn. While a relay's bytes
 * are here, its backlog is empty.
 */
struct relay_gather {
	struct relay *relay; /* NULL: nothing is here */
	size_t len;
	bool deferred; /* on_relay_turn_end() will come */
	uint8_t data[RELAY_GATHER];
};

/* One for all that run on one thread: thousands of idle connections cost no buffers. */
struct relay_buffers {
	struct relay_gather gather;
	uint8_t read[RELAY_BUF];
};

static _Thread_local struct relay_buffers *buffers;

static bool buffers_make(void)
{
	if (buffers)
		return true;
	/* Not calloc: pages are touched only when they are used. */
	buffers = malloc(sizeof(*buffers));
	if (buffers)
		memset(&buffers->gather, 0, offsetof(struct relay_gather, data));
	return buffers;
}

void relay_thread_end(void)
{
	free(buffers);
	buffers = NULL;
}

static void relay_release(void *ctx)
{
	struct relay *r = ctx;

	fifo_clear(&r->backlog);
	fifo_clear(&r->rest);
	free(r);
}

void relay_reset_socket(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void relay_close_fd(struct relay *r, bool abortive)
{
	if (r->fd < 0)
		return;
	loop_fd_free(r->watch);
	r->watch = NULL;
	if (abortive)
		relay_reset_socket(r->fd);
	else
		close(r->fd);
	r->fd = -1;
}

static void relay_forget_gathered(const struct relay *r)
{
	if (buffers->gather.relay != r)
		return;
	buffers->gather.relay = NULL;
	buffers->gather.len = 0;
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
	if (r->leaving || r->leave_came) {
		r->broken = error;
		fifo_clear(&r->backlog);
		relay_close_fd(r, true);
		return;
	}
	if (r->stream)
		mux_stream_reset(r->stream, relay_reason(error));
	r->stream = NULL;
	relay_end(r, error);
}

static void on_relay_heavy(void *ctx);

/* So many bytes have passed, in or out. Nothing of the mux may be called here. */
static void relay_weigh(struct relay *r, size_t n)
{
	const struct relay_carrier *carrier = r->caller.carrier;
	uint64_t now_us, since_us = r->weighed_us;

	if (!carrier || !carrier->wanted || (r->weighed += n) < RELAY_HEAVY)
		return;
	now_us = loop_now_us(r->loop);
	r->weighed = 0;
	r->weighed_us = now_us;
	if (since_us && now_us - since_us < RELAY_HEAVY_US && !r->over)
		loop_defer(r->loop, on_relay_heavy, r);
}

static void relay_count_in(struct relay *r, size_t n)
{
	if (r->caller.counters)
		r->caller.counters->bytes_in += n;
	relay_weigh(r, n);
}

static void relay_count_out(struct relay *r, size_t n)
{
	if (r->caller.counters)
		r->caller.counters->bytes_out += n;
	relay_weigh(r, n);
}

static void relay_update(struct relay *r)
{
	unsigned interest = 0;

	if (r->over || r->fd < 0)
		return;
	if (r->read_ended && r->write_ended && !r->leave_came) {
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

/* The stream is over. */
static void relay_ride(struct relay *r)
{
	const struct relay_carrier *carrier = r->caller.carrier;
	struct relay_luggage luggage = {r->fd, r->broken, r->rest, r->backlog};

	loop_fd_free(r->watch);
	r->watch = NULL;
	r->fd = -1;
	r->rest = r->backlog = (struct fifo){0};
	r->leaving = false;
	r->ride = carrier->take(carrier->ctx, r, r->left_id, &luggage);
	if (!r->ride)
		relay_end(r, -ECONNABORTED);
}

static void relay_progress(struct relay *r)
{
	if (r->over)
		return;
	if (r->fin_came && r->fd >= 0 && !r->backlog.len && buffers->gather.relay != r && !r->write_ended) {
		r->write_ended = true;
		/* Closing, which follows if it has ended as well, says the same. Fails only when the other side has
		 * gone already, which reading tells better. */
		if (!r->read_ended)
			shutdown(r->fd, SHUT_WR);
	}
	relay_update(r);
	if (r->over || r->stream || r->ride)
		return;
	if (r->leaving || r->leave_came)
		relay_ride(r);
	else if (r->fd < 0)
		relay_end(r, 0);
}

/* So many bytes are passed on: the peer may send as many again. */
static void relay_credit(struct relay *r, size_t n)
{
	size_t unowed = n < r->unowed ? n : r->unowed;

	r->unowed -= unowed;
	if (r->stream)
		mux_stream_consumed(r->stream, n - unowed);
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
	relay_count_out(r, (size_t)n);
	relay_credit(r, (size_t)n);
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
	n = recv(r->fd, buffers->read, want, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0) {
		if (mux_stream_write(r->stream, buffers->read, (size_t)n) < (size_t)n) {
			relay_fail(r, -ENOMEM);
			return true;
		}
		relay_count_in(r, (size_t)n);
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
	if (n > 0)
		relay_count_in(r, (size_t)n);
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
	struct relay *r = buffers->gather.relay;
	size_t len = buffers->gather.len;

	if (!r)
		return;
	relay_forget_gathered(r);
	r->bulk = len >= RELAY_BULK;
	relay_deliver(r, buffers->gather.data, len);
	relay_progress(r);
}

static void on_relay_turn_end(void *ctx)
{
	(void)ctx;
	buffers->gather.deferred = false;
	relay_deliver_gathered();
}

static void on_relay_socket(void *ctx, int fd, unsigned what)
{
	struct relay *r = ctx;

	(void)fd;
	/* A reset may have been told to splice(2): then reading shows an end of file, and only writing still fails. */
	if (buffers->gather.relay == r)
		relay_deliver_gathered();
	if (what & LOOP_WRITE)
		relay_flush(r);
	else if (!r->over && r->stream && !r->pulling)
		relay_read(r);
	relay_progress(r);
}

static void relay_gather(struct relay *r, const uint8_t *data, size_t len)
{
	if (buffers->gather.relay != r || len > sizeof(buffers->gather.data) - buffers->gather.len)
		relay_deliver_gathered();
	if (r->over)
		return;
	if (r->backlog.len || len > sizeof(buffers->gather.data)) {
		relay_deliver(r, data, len);
		return;
	}
	if (!buffers->gather.deferred)
		loop_defer(r->loop, on_relay_turn_end, NULL);
	buffers->gather.deferred = true;
	buffers->gather.relay = r;
	memcpy(buffers->gather.data + buffers->gather.len, data, len);
	buffers->gather.len += len;
}

static void on_relay_data(void *ctx, const uint8_t *data, size_t len)
{
	struct relay *r = ctx;

	if (r->broken) {
		mux_stream_consumed(r->stream, len);
		return;
	}
	if (len >= RELAY_BULK || buffers->gather.relay == r || r->bulk)
		relay_gather(r, data, len);
	else
		relay_deliver(r, data, len);
}

/* Without bytes of its own in between, the connection may write to the socket. */
static int on_relay_outlet(void *ctx)
{
	struct relay *r = ctx;

	if (buffers->gather.relay == r)
		relay_deliver_gathered();
	return r->over || r->backlog.len || r->broken ? -1 : r->fd;
}

static void on_relay_passed(void *ctx, size_t n)
{
	struct relay *r = ctx;

	relay_count_out(r, n);
	relay_credit(r, n);
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

/* Also where the other side has ended its direction, or we ours: what is left of the connection goes. */
static void relay_leave(struct relay *r)
{
	r->left_id = mux_stream_id(r->stream);
	r->pulling = false;
	r->leaving = mux_stream_leave(r->stream, &r->rest);
}

static void on_relay_heavy(void *ctx)
{
	struct relay *r = ctx;
	const struct relay_carrier *carrier = r->caller.carrier;

	if (r->over || !r->stream || r->leaving || r->read_ended || r->fin_came || r->pull_error)
		return;
	if (!mux_stream_id(r->stream) || !carrier->wanted(carrier->ctx))
		return;
	relay_leave(r);
	if (!r->leaving)
		carrier->stayed(carrier->ctx, 0);
	relay_update(r);
}

/* The side that says when has said it; it answers nothing itself. */
static void on_relay_leave(void *ctx)
{
	struct relay *r = ctx;
	const struct relay_carrier *carrier = r->caller.carrier;

	if (!carrier || (carrier->wanted && !r->leaving)) {
		relay_fail(r, -EPROTO);
		return;
	}
	r->leave_came = true;
	if (!r->leaving)
		relay_leave(r);
	relay_progress(r);
}

/* Ends without having been given away. */
static void relay_not_taken(struct relay *r, uint32_t id)
{
	const struct relay_carrier *carrier = r->caller.carrier;

	if (r->leaving && carrier->stayed)
		carrier->stayed(carrier->ctx, id);
	r->leaving = false;
}

static void on_relay_closed(void *ctx, enum mux_reason reason)
{
	struct relay *r = ctx;

	r->stream = NULL;
	if (reason != MUX_REASON_NONE) {
		relay_not_taken(r, 0);
		r->leave_came = false;
	}
	/* What came before a reset can still be read by whoever is reset. */
	if (buffers->gather.relay == r)
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
	.leave = on_relay_leave,
	.closed = on_relay_closed,
};

struct relay *relay_new(struct loop *loop, int fd, struct mux_stream *stream, const struct relay_caller *caller)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r && buffers_make()) {
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

void relay_luggage_drop(struct relay_luggage *luggage)
{
	if (luggage->fd >= 0)
		relay_reset_socket(luggage->fd);
	luggage->fd = -1;
	fifo_clear(&luggage->to_stream);
	fifo_clear(&luggage->to_socket);
}

/* All that was queued fits into the queue of a stream without any. */
static bool luggage_send(struct relay_luggage *luggage, struct mux_stream *stream)
{
	while (luggage->to_stream.len) {
		size_t len;
		const uint8_t *data = fifo_peek(&luggage->to_stream, &len);

		if (mux_stream_write(stream, data, len) < len)
			return false;
		fifo_drop(&luggage->to_stream, len);
	}
	return true;
}

struct relay *relay_go_on(struct loop *loop, struct relay_luggage *luggage, struct mux_stream *stream,
			  const struct relay_caller *caller)
{
	struct relay *r = relay_new(loop, luggage->fd, stream, caller);

	if (r && !luggage_send(luggage, stream)) {
		relay_abort(r, MUX_REASON_RESOURCES);
		r = NULL;
	}
	if (r) {
		r->backlog = luggage->to_socket;
		r->unowed = r->backlog.len;
		luggage->to_socket = (struct fifo){0};
		relay_update(r);
	}
	fifo_clear(&luggage->to_stream);
	fifo_clear(&luggage->to_socket);
	return r;
}

void relay_read_now(struct relay *r)
{
	uint64_t until = loop_now_us(r->loop) + RELAY_FIRST_US;

	while (!relay_read(r) && loop_now_us(r->loop) < until)
		;
	relay_progress(r);
}

bool relay_is_known(const struct relay *r)
{
	return !r->stream || mux_stream_id(r->stream);
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
	relay_not_taken(r, r->left_id);
	if (r->ride)
		r->caller.carrier->drop(r->ride);
	relay_close_fd(r, true);
	loop_defer(r->loop, relay_release, r);
}

void relay_ride_passed(struct relay *r, uint64_t in, uint64_t out)
{
	if (!r->caller.counters)
		return;
	r->caller.counters->bytes_in += in;
	r->caller.counters->bytes_out += out;
}

void relay_ride_ended(struct relay *r, int error)
{
	r->ride = NULL;
	relay_end(r, error);
}
