/* SPDX-License-Identifier: MIT */
/*
 * Listens to rtnetlink's groups for routes and addresses. The messages are not parsed beyond their type: that something
 * came is all that matters. A queue that overflowed (ENOBUFS) had news too.
 *
 * A burst (an interface that comes up makes a dozen messages) is told once, 20 ms after its first message: the routes
 * that an attempt needs come a moment after the first address.
 */
#include "route_watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "loop.h"

#define BURST_US 20000u

struct route_watch {
	int fd;
	struct loop_fd *watch;
	struct loop_timer *timer;
	void (*cb)(void *ctx);
	void *ctx;
};

static bool has_news(const char *buf, ssize_t len)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)buf;

	for (; NLMSG_OK(h, (size_t)len); h = NLMSG_NEXT(h, len)) {
		if (h->nlmsg_type == RTM_NEWROUTE || h->nlmsg_type == RTM_NEWADDR)
			return true;
	}
	return false;
}

static void on_messages(void *ctx, int fd, unsigned what)
{
	struct route_watch *w = ctx;
	_Alignas(struct nlmsghdr) char buf[16384];
	bool news = false;
	ssize_t n;

	(void)what;
	for (int i = 0; i < 64; i++) {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == ENOBUFS)
			news = true;
		else if (n <= 0)
			break;
		else
			news |= has_news(buf, n);
	}
	if (news && !loop_timer_is_set(w->timer))
		loop_timer_set(w->timer, BURST_US);
}

static void on_burst(void *ctx)
{
	struct route_watch *w = ctx;

	w->cb(w->ctx);
}

struct route_watch *route_watch_new(struct loop *loop, void (*cb)(void *ctx), void *ctx)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	struct route_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->cb = cb;
	w->ctx = ctx;
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	w->timer = loop_timer_new(loop, on_burst, w);
	if (w->fd >= 0 && w->timer && bind(w->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		w->watch = loop_fd_new(loop, w->fd, LOOP_READ, on_messages, w);
	if (!w->watch) {
		route_watch_free(w);
		return NULL;
	}
	return w;
}

void route_watch_free(struct route_watch *w)
{
	if (!w)
		return;
	loop_fd_free(w->watch);
	loop_timer_free(w->timer);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}
