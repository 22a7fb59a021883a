/* SPDX-License-Identifier: MIT */
/*
 * A listening socket on the loop. Takes a bounded number of connections a turn; when the process is out of
 * descriptors, it stops accepting for a moment: the kernel keeps what waits, and a watch that stays readable would
 * spin.
 */
#include "stream_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "log.h"
#include "loop.h"
#include "sock_address.h"
#include "unix_socket.h"

#define ACCEPTS_TURN 64
#define BACKLOG      1024
#define PAUSE_US     100000u

struct stream_listener {
	struct loop *loop;
	struct loop_fd *watch;
	struct loop_timer *pause;
	stream_accept_cb *cb;
	void *ctx;
	int fd;
	bool closed; /* while its own callback runs */
	bool accepting;
	uint64_t accepted; /* in which turn, last */
	struct sock_address at;
	struct unix_socket_file file; /* of a path */
};

/*
 * SO_REUSEADDR lets a port be listened on again while old connections of it linger; Linux still refuses a port that
 * somebody listens on.
 */
static int listen_tcp(const struct sock_address *at)
{
	int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;
	int error;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (at->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	/* Inherited by what is accepted. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, &at->any, at->len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

static void stream_listener_release(struct stream_listener *l)
{
	loop_fd_free(l->watch);
	loop_timer_free(l->pause);
	if (sock_address_is_unix(&l->at))
		unix_socket_remove(&l->at, &l->file);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

void stream_listener_close(struct stream_listener *l)
{
	if (!l)
		return;
	l->closed = true;
	if (!l->accepting)
		stream_listener_release(l);
}

/* A listener that is shut down is a socket that is bound. */
int stream_listener_mute(struct stream_listener *l)
{
	if (sock_address_is_unix(&l->at))
		return -EOPNOTSUPP;
	if (shutdown(l->fd, SHUT_RD) < 0)
		return -errno;
	loop_timer_stop(l->pause);
	return loop_fd_set(l->watch, 0);
}

int stream_listener_unmute(struct stream_listener *l)
{
	return listen(l->fd, BACKLOG) < 0 ? -errno : loop_fd_set(l->watch, LOOP_READ);
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void stream_listener_shortage(struct stream_listener *l, int error)
{
	static struct log_limit limit;
	char text[SOCK_ADDRESS_TEXT_MAX];

	loop_fd_set(l->watch, 0);
	loop_timer_set(l->pause, PAUSE_US);
	if (log_limit_pass(&limit, loop_now_us(l->loop), 1))
		log_warn("%s: connections wait: %s", sock_address_text(text, &l->at), strerror(error));
}

static void on_pause_over(void *ctx)
{
	struct stream_listener *l = ctx;

	loop_fd_set(l->watch, LOOP_READ);
}

static void on_acceptable(void *ctx, int fd, unsigned what)
{
	struct stream_listener *l = ctx;
	uint64_t turn = loop_turn(l->loop);
	/* Mostly there is one, and to hear that there is no second costs as much as the first. A second has a turn. */
	int most = turn == l->accepted + 1 ? ACCEPTS_TURN : 1;

	l->accepting = true;
	l->accepted = turn;
	for (int i = 0; i < most && !l->closed; i++) {
		int one = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (one >= 0) {
			l->cb(l->ctx, one);
			continue;
		}
		if (is_shortage(errno))
			stream_listener_shortage(l, errno);
		/* A connection that died while it waited is no reason to stop. */
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	l->accepting = false;
	if (l->closed)
		stream_listener_release(l);
}

/* Takes fd, which may be a negative errno. */
static int stream_listener_start(struct loop *loop, int fd, struct stream_listener *l, const struct sock_address *at,
				 struct stream_listener **out)
{
	l->fd = fd;
	if (fd < 0) {
		free(l);
		return fd;
	}
	l->loop = loop;
	l->at = *at;
	l->pause = loop_timer_new(loop, on_pause_over, l);
	l->watch = loop_fd_new(loop, l->fd, LOOP_READ, on_acceptable, l);
	if (!l->pause || !l->watch) {
		stream_listener_release(l);
		return -ENOMEM;
	}
	*out = l;
	return 0;
}

static struct stream_listener *stream_listener_new(stream_accept_cb *cb, void *ctx)
{
	struct stream_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->cb = cb;
	l->ctx = ctx;
	return l;
}

int stream_listener_open(struct loop *loop, const struct sock_address *at, stream_accept_cb *cb, void *ctx,
			 struct stream_listener **out)
{
	struct stream_listener *l = stream_listener_new(cb, ctx);

	if (!l)
		return -ENOMEM;
	return stream_listener_start(loop, sock_address_is_unix(at) ? unix_socket_listen(at, &l->file) : listen_tcp(at),
				     l, at, out);
}

int stream_listener_join(struct loop *loop, int fd, const struct sock_address *at, stream_accept_cb *cb, void *ctx,
			 struct stream_listener **out)
{
	struct stream_listener *l = stream_listener_new(cb, ctx);
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), on = 1;

	if (!l) {
		if (own >= 0)
			close(own);
		return -ENOMEM;
	}
	if (own < 0)
		own = -errno;
	else
		setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return stream_listener_start(loop, own, l, at, out);
}
