/* SPDX-License-Identifier: MIT */
/*
 * A chan of descriptors. Runs on the loop's thread.
 *
 * Nothing is buffered here: what a write does not take stays with the owner, who can still reorder it. A turn reads
 * once, at most CHAN_FD_READ bytes, so that a fast peer cannot keep the loop from its other work; what is left wakes
 * the loop again (the watch is level-triggered).
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
#include <unistd.h>

#include "loop.h"

#define CHAN_FD_READ       (256u << 10)
#define CHAN_FD_LAST_READS 8 /* how often is read for last words */

struct chan_fd {
	struct chan chan;
	struct loop *loop;
	int rfd, wfd;
	struct loop_fd *read, *write;
	int write_error;
	bool ended; /* `closed` was called */
	bool freed; /* by the owner; the memory goes at the end of the turn */
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

/* Reads once. True while there may be more and the chan goes on. */
static bool chan_fd_read(struct chan_fd *c)
{
	ssize_t n = read(c->rfd, c->buf, sizeof(c->buf));

	if (n > 0) {
		c->chan.events->data(c->chan.ctx, c->buf, (size_t)n);
		return !c->freed && !c->ended && c->chan.events;
	}
	if (n == 0)
		chan_fd_end(c, 0, "the connection was closed by the other side");
	else if (errno != EAGAIN && errno != EINTR)
		chan_fd_end(c, -errno, "reading from the connection failed");
	return false;
}

static void on_chan_fd_readable(void *ctx, int fd, unsigned what)
{
	(void)fd;
	(void)what;
	chan_fd_read(ctx);
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
		if (c->freed || c->ended || !c->chan.events || !chan_fd_read(c))
			break;
	chan_fd_end(c, c->write_error, "writing to the connection failed");
}

static size_t chan_fd_write(struct chan *chan, const uint8_t *data, size_t len)
{
	struct chan_fd *c = (struct chan_fd *)chan;
	size_t done = 0;

	while (done < len && !c->write_error && !c->ended) {
		ssize_t n = write(c->wfd, data + done, len - done);

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

static const struct chan_ops chan_fd_ops = {
	.owned = chan_fd_owned,
	.write = chan_fd_write,
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
	c->read = loop_fd_new(loop, rfd, 0, on_chan_fd_readable, c);
	c->write = loop_fd_new(loop, wfd, 0, on_chan_fd_writable, c);
	if (!c->read || !c->write || fd_set_nonblocking(rfd) < 0 || fd_set_nonblocking(wfd) < 0) {
		chan_fd_close(c);
		free(c);
		return NULL;
	}
	return &c->chan;
}
