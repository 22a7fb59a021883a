/* SPDX-License-Identifier: MIT */
/*
 * One attempt. See direct.h. Runs on the loop's thread.
 *
 * Who listens may be found by anybody in the moment it does: those that do not show the key within the attempt's time
 * are let go with it, and take the room of one of DIRECT_CALLERS_MAX.
 */
#include "direct.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "bounds.h"
#include "chan.h"
#include "chan_tls.h"
#include "loop.h"
#include "sock_address.h"
#include "stream_listener.h"

struct caller {
	struct direct *direct;
	struct chan *chan; /* NULL: nobody */
};

struct direct {
	struct loop *loop;
	struct loop_timer *patience;
	struct stream_listener *listener; /* NULL: it connects */
	struct caller callers[DIRECT_CALLERS_MAX];
	uint8_t key[DIRECT_KEY_SIZE];
	direct_done_cb *done;
	void *ctx;
};

void direct_free(struct direct *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < DIRECT_CALLERS_MAX; i++)
		chan_free(d->callers[i].chan);
	stream_listener_close(d->listener);
	loop_timer_free(d->patience);
	explicit_bzero(d->key, sizeof(d->key));
	free(d);
}

static void finish(struct direct *d, struct chan *chan, const char *why)
{
	d->done(d->ctx, chan, why);
	direct_free(d);
}

static void on_ready(void *ctx, const char *why)
{
	struct caller *caller = ctx;
	struct chan *chan = caller->chan;
	struct direct *d = caller->direct;

	caller->chan = NULL;
	if (!why) {
		finish(d, chan, NULL);
		return;
	}
	chan_free(chan);
	if (!d->listener)
		finish(d, NULL, why);
}

static int begin(struct direct *d, int fd, enum chan_tls_role role)
{
	for (size_t i = 0; i < DIRECT_CALLERS_MAX; i++) {
		struct caller *caller = &d->callers[i];

		if (caller->chan)
			continue;
		*caller = (struct caller){.direct = d};
		caller->chan = chan_tls_new(d->loop, fd, role, d->key, on_ready, caller);
		return caller->chan ? 0 : -ENOMEM;
	}
	close(fd);
	return -EBUSY;
}

static void on_accept(void *ctx, int fd)
{
	begin(ctx, fd, CHAN_TLS_SERVER);
}

static void on_patience(void *ctx)
{
	finish(ctx, NULL, "nobody answered");
}

static struct direct *direct_new(struct loop *loop, const uint8_t key[DIRECT_KEY_SIZE], direct_done_cb *done, void *ctx)
{
	struct direct *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	*d = (struct direct){.loop = loop, .done = done, .ctx = ctx};
	memcpy(d->key, key, sizeof(d->key));
	d->patience = loop_timer_new(loop, on_patience, d);
	if (d->patience) {
		loop_timer_set(d->patience, DIRECT_PATIENCE_US);
		return d;
	}
	direct_free(d);
	return NULL;
}

/* A socket for small messages that must not wait. */
static int tcp_socket(const struct sock_address *a)
{
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static int connecting(const struct sock_address *to)
{
	int fd = tcp_socket(to);

	if (fd < 0 || connect(fd, &to->any, to->len) == 0 || errno == EINPROGRESS)
		return fd;
	close(fd);
	return -errno;
}

int direct_connect(struct loop *loop, const struct sock_address *to, const uint8_t key[DIRECT_KEY_SIZE],
		   direct_done_cb *done, void *ctx, struct direct **out)
{
	int fd = connecting(to), rc;
	struct direct *d;

	if (fd < 0)
		return fd;
	d = direct_new(loop, key, done, ctx);
	if (!d)
		close(fd);
	rc = d ? begin(d, fd, CHAN_TLS_CLIENT) : -ENOMEM;
	if (rc == 0)
		*out = d;
	else
		direct_free(d);
	return rc;
}

/* Bound to a port of the kernel's choice, which *at gets, and listening. */
static int listening(struct sock_address *at, uint64_t *inode)
{
	int fd = tcp_socket(at), error;
	struct stat st;

	if (fd < 0)
		return fd;
	if (bind(fd, &at->any, at->len) == 0 && listen(fd, DIRECT_CALLERS_MAX) == 0 &&
	    getsockname(fd, &at->any, &at->len) == 0 && fstat(fd, &st) == 0) {
		*inode = st.st_ino;
		return fd;
	}
	error = errno;
	close(fd);
	return -error;
}

int direct_listen(struct loop *loop, const struct sock_address *at, const uint8_t key[DIRECT_KEY_SIZE],
		  direct_done_cb *done, void *ctx, struct direct **out, uint16_t *port, uint64_t *inode)
{
	struct sock_address bound = *at;
	struct direct *d;
	int fd, rc;

	sock_address_set_port(&bound, 0);
	fd = listening(&bound, inode);
	if (fd < 0)
		return fd;
	d = direct_new(loop, key, done, ctx);
	rc = d ? stream_listener_join(loop, fd, &bound, on_accept, d, &d->listener) : -ENOMEM;
	close(fd);
	if (rc < 0) {
		direct_free(d);
		return rc;
	}
	*port = sock_address_port(&bound);
	*out = d;
	return 0;
}
