/* SPDX-License-Identifier: MIT */
/*
 * A listening socket on the loop. Takes a bounded number of connections a turn; when the process is out of
 * descriptors, it stops accepting for a moment: the kernel keeps what waits, and a watch that stays readable would
 * spin.
 */
#include "port_listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "address.h"
#include "log.h"
#include "loop.h"

#define ACCEPTS_TURN 64
#define BACKLOG      1024
#define PAUSE_US     100000u

struct port_listener {
	struct loop *loop;
	struct loop_fd *watch;
	struct loop_timer *pause;
	port_accept_cb *cb;
	void *ctx;
	int fd;
	bool closed; /* while its own callback runs */
	bool accepting;
	uint16_t port;
};

/*
 * SO_REUSEADDR lets a port be listened on again while old connections of it linger; Linux still refuses a port that
 * somebody listens on.
 */
static int listen_at(const struct rule_address *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t len = address_sockaddr(&sa, address->family == AF_INET ? 4 : 6, address->bytes, 0, port);
	int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;
	int error;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	/* Inherited by what is accepted. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

static void port_listener_release(struct port_listener *l)
{
	loop_fd_free(l->watch);
	loop_timer_free(l->pause);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

void port_listener_close(struct port_listener *l)
{
	if (!l)
		return;
	l->closed = true;
	if (!l->accepting)
		port_listener_release(l);
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void port_listener_shortage(struct port_listener *l, int error)
{
	static struct log_limit limit;

	loop_fd_set(l->watch, 0);
	loop_timer_set(l->pause, PAUSE_US);
	if (log_limit_pass(&limit, loop_now_us(l->loop), 1))
		log_warn("port %u: connections wait: %s", l->port, strerror(error));
}

static void on_pause_over(void *ctx)
{
	struct port_listener *l = ctx;

	loop_fd_set(l->watch, LOOP_READ);
}

static void on_acceptable(void *ctx, int fd, unsigned what)
{
	struct port_listener *l = ctx;

	l->accepting = true;
	for (int i = 0; i < ACCEPTS_TURN && !l->closed; i++) {
		int one = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (one >= 0) {
			l->cb(l->ctx, one);
			continue;
		}
		if (is_shortage(errno))
			port_listener_shortage(l, errno);
		/* A connection that died while it waited is no reason to stop. */
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	l->accepting = false;
	if (l->closed)
		port_listener_release(l);
}

int port_listener_open(struct loop *loop, const struct rule_address *address, uint16_t port, port_accept_cb *cb,
		       void *ctx, struct port_listener **out)
{
	struct port_listener *l;
	int fd = listen_at(address, port);

	if (fd < 0)
		return fd;
	l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	l->loop = loop;
	l->fd = fd;
	l->cb = cb;
	l->ctx = ctx;
	l->port = port;
	l->pause = loop_timer_new(loop, on_pause_over, l);
	l->watch = loop_fd_new(loop, fd, LOOP_READ, on_acceptable, l);
	if (!l->pause || !l->watch) {
		port_listener_release(l);
		return -ENOMEM;
	}
	*out = l;
	return 0;
}
