/* SPDX-License-Identifier: MIT */
/*
 * A chan of descriptors. Runs on the loop's thread.
 *
 * Nothing is buffered here: what a write does not take stays with the owner, who can still reorder it. A turn reads
 * once, at most CHAN_FD_READ bytes, so that a fast peer cannot keep the loop from its other work; what is left wakes
 * the loop again (the watch is level-triggered).
 *
 * Where the descriptors are pipes, as sshd's are, bulk is not copied at all. What comes for an outlet of the owner's (a
 * socket) is moved there by splice(2); to be asked for that, the owner must have seen the header in front of it and not
 * the bytes behind it, so while bytes are being moved no more is read than up to there. What goes out and stays with
 * the owner until the peer has it, is lent to the pipe by vmsplice(2). (Measured, CPU time a GiB: 0.3 s instead of 1.0
 * s and half of the time of who reads the socket; 0.12 s instead of 0.25 s and half of the time of who reads the pipe.)
 *
 * An error of a write is told from the end of the turn, because chan_write() never calls back; before it is told, what
 * the peer had sent is read, since its last words (GOODBYE) often stand before a broken pipe.
 */
#include "chan_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loop.h"

#define CHAN_FD_READ       (256u << 10)
#define CHAN_FD_LAST_READS 8 /* how often is read for last words */
/* Below, lending pages costs more than a copy. */
#define CHAN_FD_LEND_MIN (16u << 10)

struct chan_fd {
	struct chan chan;
	struct loop *loop;
	int rfd, wfd;
	struct loop_fd *read, *write;
	int write_error;
	bool moves;  /* splice(2) works from rfd */
	bool moving; /* it did a moment ago */
	bool lends;  /* vmsplice(2) works to wfd */
	bool ended;  /* `closed` was called */
	bool freed;  /* by the owner; the memory goes at the end of the turn */
	uint8_t buf[CHAN_FD_READ];
};

/* Each calls the owner last: it may have freed the chan, or given it away. */
static void chan_fd_end(struct chan_fd *c, int error, const char *what)
{
	const struct chan_events *events = c->chan.events;
	char why[128];

	if (c->ended || c->freed)
		return;
	c->ended = true;
	loop_fd_set(c->read, 0);
	loop_fd_set(c->write, 0);
	if (error)
		snprintf(why, sizeof(why), "%s: %s", what, strerror(-error));
	else
		snprintf(why, sizeof(why), "%s", what);
	if (events)
		events->closed(c->chan.ctx, error, why);
}

static bool chan_fd_alive(const struct chan_fd *c)
{
	return !c->freed && !c->ended && c->chan.events;
}

/* Reads at most `want` bytes. True when there may be more and the chan goes on. */
static bool chan_fd_read(struct chan_fd *c, size_t want)
{
	ssize_t n = read(c->rfd, c->buf, want);

	if (n > 0) {
		c->chan.events->data(c->chan.ctx, c->buf, (size_t)n);
		return (size_t)n == want && chan_fd_alive(c);
	}
	if (n == 0)
		chan_fd_end(c, 0, "the connection was closed by the other side");
	else if (errno != EAGAIN && errno != EINTR)
		chan_fd_end(c, -errno, "reading from the connection failed");
	return false;
}

/* Moves at most `max` bytes to fd. Returns how many were; 0: reading will tell why there were none. */
static size_t chan_fd_move(struct chan_fd *c, int fd, size_t max)
{
	ssize_t n = splice(c->rfd, NULL, fd, NULL, max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n > 0) {
		c->chan.events->passed(c->chan.ctx, (size_t)n);
		return (size_t)n;
	}
	/* Not the pipe's fault, nor the outlet's: it cannot be done here. */
	if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM))
		c->moves = false;
	return 0;
}

/* One step of a turn that may take in *budget bytes more. True when there may be another. */
static bool chan_fd_take(struct chan_fd *c, size_t *budget)
{
	size_t want = 0, moved;
	int fd = -1;

	if (c->moves && c->chan.events->outlet)
		fd = c->chan.events->outlet(c->chan.ctx, &want);
	if (want > *budget)
		want = *budget;
	if (fd >= 0 && want) {
		moved = chan_fd_move(c, fd, want);
		c->moving = moved > 0;
		*budget -= moved;
		if (moved)
			return moved == want && chan_fd_alive(c);
		want = 0;
	}
	c->moving = c->moving && want;
	if (!c->moving) {
		chan_fd_read(c, *budget);
		return false;
	}
	*budget -= want;
	return chan_fd_read(c, want);
}

static void on_chan_fd_readable(void *ctx, int fd, unsigned what)
{
	struct chan_fd *c = ctx;
	size_t budget = chan_turn(&c->chan, CHAN_FD_READ);

	(void)fd;
	(void)what;
	while (chan_fd_take(c, &budget))
		if (!budget)
			break;
}

static void on_chan_fd_writable(void *ctx, int fd, unsigned what)
{
	struct chan_fd *c = ctx;

	(void)fd;
	(void)what;
	loop_fd_set(c->write, 0);
	if (c->chan.events)
		c->chan.events->writable(c->chan.ctx);
}

static void chan_fd_write_failed(void *ctx)
{
	struct chan_fd *c = ctx;

	for (int i = 0; i < CHAN_FD_LAST_READS; i++)
		if (!chan_fd_alive(c) || !chan_fd_read(c, sizeof(c->buf)))
			break;
	chan_fd_end(c, c->write_error, "writing to the connection failed");
}

/* write(2), or what is the same to the reader. */
static ssize_t chan_fd_put(struct chan_fd *c, const uint8_t *data, size_t len, bool kept)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	ssize_t n;

	if (!kept || !c->lends || len < CHAN_FD_LEND_MIN)
		return write(c->wfd, data, len);
	n = vmsplice(c->wfd, &iov, 1, SPLICE_F_NONBLOCK);
	if (n >= 0 || (errno != EINVAL && errno != ENOSYS && errno != EPERM))
		return n;
	c->lends = false;
	return write(c->wfd, data, len);
}

static size_t chan_fd_write(struct chan *chan, const uint8_t *data, size_t len, bool kept)
{
	struct chan_fd *c = (struct chan_fd *)chan;
	size_t done = 0;

	while (done < len && !c->write_error && !c->ended) {
		ssize_t n = chan_fd_put(c, data + done, len - done, kept);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			loop_fd_set(c->write, LOOP_WRITE);
			break;
		} else if (errno != EINTR) {
			c->write_error = -errno;
			loop_defer(c->loop, chan_fd_write_failed, c);
		}
	}
	return done;
}

static void chan_fd_owned(struct chan *chan)
{
	struct chan_fd *c = (struct chan_fd *)chan;

	loop_fd_set(c->read, chan->events && !c->ended ? LOOP_READ : 0);
	if (!chan->events)
		loop_fd_set(c->write, 0);
}

static bool is_pipe(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

static void chan_fd_close(struct chan_fd *c)
{
	loop_fd_free(c->read);
	loop_fd_free(c->write);
	close(c->rfd);
	if (c->wfd != c->rfd)
		close(c->wfd);
}

static void chan_fd_free(struct chan *chan)
{
	struct chan_fd *c = (struct chan_fd *)chan;

	c->freed = true;
	chan_fd_close(c);
	/* Our caller may stand inside `data`, with c->buf before it. */
	loop_defer(c->loop, free, c);
}

static int chan_fd_set_loop(struct chan *chan, struct loop *loop)
{
	struct chan_fd *c = (struct chan_fd *)chan;

	loop_fd_free(c->read);
	loop_fd_free(c->write);
	c->read = c->write = NULL;
	if (!loop)
		return 0;
	c->loop = loop;
	c->read = loop_fd_new(loop, c->rfd, 0, on_chan_fd_readable, c);
	c->write = loop_fd_new(loop, c->wfd, 0, on_chan_fd_writable, c);
	return c->read && c->write ? 0 : -ENOMEM;
}

static const struct chan_ops chan_fd_ops = {
	.owned = chan_fd_owned,
	.write = chan_fd_write,
	.set_loop = chan_fd_set_loop,
	.free = chan_fd_free,
};

static int fd_set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

struct chan *chan_fd_new(struct loop *loop, int rfd, int wfd)
{
	/* Not calloc: the buffer's pages are touched only when they are read into. */
	struct chan_fd *c = malloc(sizeof(*c));

	if (!c) {
		close(rfd);
		if (wfd != rfd)
			close(wfd);
		return NULL;
	}
	c->chan = (struct chan){.ops = &chan_fd_ops};
	c->loop = loop;
	c->rfd = rfd;
	c->wfd = wfd;
	c->write_error = 0;
	c->ended = c->freed = false;
	c->moves = is_pipe(rfd);
	c->moving = false;
	c->lends = is_pipe(wfd);
	c->read = loop_fd_new(loop, rfd, 0, on_chan_fd_readable, c);
	c->write = loop_fd_new(loop, wfd, 0, on_chan_fd_writable, c);
	if (!c->read || !c->write || fd_set_nonblocking(rfd) < 0 || fd_set_nonblocking(wfd) < 0) {
		chan_fd_close(c);
		free(c);
		return NULL;
	}
	return &c->chan;
}
