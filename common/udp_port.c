/* SPDX-License-Identifier: MIT */
/*
 * See udp_port.h. Runs on the loop's thread.
 *
 * A socket bound to every address (which takes a rule that says so) has to answer from the address that was asked:
 * IP_PKTINFO tells it, and sets it. IP_RECVERR brings what ICMP says of single clients, which the socket of a server
 * would not be told otherwise.
 */
#include "udp_port.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/errqueue.h>
#include <netinet/in.h>

#include "loop.h"
#include "sock_address.h"

#define READS_TURN 64

struct udp_port {
	struct loop_fd *watch;
	const struct udp_port_events *events;
	void *ctx;
	int fd;
	struct sock_address at;
	bool everywhere; /* bound to all addresses */
	bool closed;     /* while its own callback runs */
	bool reading;
};

/* One for all, which run on one thread. */
static struct datagram incoming;

union control {
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(512)];
	struct cmsghdr align;
};

static void udp_port_release(struct udp_port *p)
{
	loop_fd_free(p->watch);
	close(p->fd);
	free(p);
}

void udp_port_close(struct udp_port *p)
{
	if (!p)
		return;
	p->closed = true;
	if (!p->reading)
		udp_port_release(p);
}

/* --- in --------------------------------------------------------------------------------------------------------- */

static void client_of(struct udp_client *c, const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	memset(c, 0, sizeof(*c));
	if (sa->ss_family == AF_INET) {
		c->family = 4;
		memcpy(c->addr, &in->sin_addr, 4);
		c->port = ntohs(in->sin_port);
	} else {
		c->family = 6;
		memcpy(c->addr, &in6->sin6_addr, 16);
		c->port = ntohs(in6->sin6_port);
		c->scope = in6->sin6_scope_id;
	}
}

/* Which address of ours a datagram was for. */
static void client_set_at(struct udp_client *c, struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
			const struct in_pktinfo *info = (const struct in_pktinfo *)CMSG_DATA(h);

			memcpy(c->at, &info->ipi_spec_dst, 4);
			c->at_ifindex = (uint32_t)info->ipi_ifindex;
		} else if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
			const struct in6_pktinfo *info = (const struct in6_pktinfo *)CMSG_DATA(h);

			memcpy(c->at, &info->ipi6_addr, 16);
			c->at_ifindex = info->ipi6_ifindex;
		}
	}
}

/* recvmsg() with flags: the length and whom it is about, or a negative errno. */
static ssize_t udp_port_receive(const struct udp_port *p, int flags, struct udp_client *c, struct msghdr *m)
{
	static union control control;
	struct sockaddr_storage sa = {0};
	struct iovec iov = {incoming.data, sizeof(incoming.data)};
	ssize_t n;

	*m = (struct msghdr){
		.msg_name = &sa,
		.msg_namelen = sizeof(sa),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control),
	};
	n = recvmsg(p->fd, m, flags);
	if (n < 0)
		return -errno;
	client_of(c, &sa);
	if (p->everywhere)
		client_set_at(c, m);
	return n;
}

/* Whether it is ICMP that tells of the client that there is nobody; an address of ours is not told. */
static bool is_refusal(struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		const struct sock_extended_err *e = (const struct sock_extended_err *)CMSG_DATA(h);

		if ((h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_RECVERR) ||
		    (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_RECVERR))
			return e->ee_errno == ECONNREFUSED;
	}
	return false;
}

static bool udp_port_take_error(struct udp_port *p)
{
	struct udp_client c;
	struct msghdr m;

	if (udp_port_receive(p, MSG_ERRQUEUE, &c, &m) < 0)
		return false;
	if (is_refusal(&m))
		p->events->unreachable(p->ctx, &c);
	return true;
}

/* One datagram, or one error: false when nothing more is there. */
static bool udp_port_take(struct udp_port *p)
{
	struct udp_client c;
	struct msghdr m;
	ssize_t n = udp_port_receive(p, 0, &c, &m);

	/* An error in the queue is also told by the next call, which has not received anything. */
	if (n < 0)
		return udp_port_take_error(p) || n != -EAGAIN;
	if (!(m.msg_flags & MSG_TRUNC))
		p->events->datagram(p->ctx, &c, &incoming, (size_t)n);
	return true;
}

static void on_readable(void *ctx, int fd, unsigned what)
{
	struct udp_port *p = ctx;

	(void)fd;
	(void)what;
	p->reading = true;
	for (int i = 0; i < READS_TURN && !p->closed; i++)
		if (!udp_port_take(p))
			break;
	p->reading = false;
	if (p->closed)
		udp_port_release(p);
}

void udp_port_own_end(const struct udp_port *p, const struct udp_client *client, struct sock_address *own)
{
	*own = p->at;
	if (p->everywhere)
		sock_address_ip(own, client->family, client->at, client->at_ifindex, ntohs(p->at.in.sin_port));
}

/* --- out -------------------------------------------------------------------------------------------------------- */

static void put_at(struct msghdr *m, union control *control, const struct udp_client *to)
{
	struct cmsghdr *h = &control->align;

	memset(control, 0, sizeof(*control));
	m->msg_control = control->bytes;
	if (to->family == 4) {
		struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(h);

		h->cmsg_level = IPPROTO_IP;
		h->cmsg_type = IP_PKTINFO;
		h->cmsg_len = CMSG_LEN(sizeof(*info));
		m->msg_controllen = CMSG_SPACE(sizeof(*info));
		memcpy(&info->ipi_spec_dst, to->at, 4);
	} else {
		struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(h);

		h->cmsg_level = IPPROTO_IPV6;
		h->cmsg_type = IPV6_PKTINFO;
		h->cmsg_len = CMSG_LEN(sizeof(*info));
		m->msg_controllen = CMSG_SPACE(sizeof(*info));
		memcpy(&info->ipi6_addr, to->at, 16);
		/* A link-local address of ours means something with its interface alone. */
		info->ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr) ? to->at_ifindex : 0;
	}
}

void udp_port_send(struct udp_port *p, const struct udp_client *to, const uint8_t *data, size_t len)
{
	struct sock_address at;
	union control control;
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr m = {
		.msg_name = &at.any,
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};

	sock_address_ip(&at, to->family, to->addr, to->scope, to->port);
	m.msg_namelen = at.len;
	if (p->everywhere)
		put_at(&m, &control, to);
	/* An error that waited is told instead of sending: once more. */
	if (sendmsg(p->fd, &m, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED)
		sendmsg(p->fd, &m, MSG_NOSIGNAL);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

/* No SO_REUSEADDR: with it Linux gives the port to two UDP sockets, the later of which takes what was the other's. */
static int bind_at(const struct sock_address *at, bool everywhere)
{
	bool is_ip4 = at->any.sa_family == AF_INET;
	int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int level = is_ip4 ? IPPROTO_IP : IPPROTO_IPV6;
	int on = 1, error;

	if (fd < 0)
		return -errno;
	if (!is_ip4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	setsockopt(fd, level, is_ip4 ? IP_RECVERR : IPV6_RECVERR, &on, sizeof(on));
	if ((!everywhere || setsockopt(fd, level, is_ip4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof(on)) == 0) &&
	    bind(fd, &at->any, at->len) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

int udp_port_open(struct loop *loop, const struct sock_address *at, const struct udp_port_events *events, void *ctx,
		  struct udp_port **out)
{
	static const struct in6_addr any;
	bool everywhere = at->any.sa_family == AF_INET ? at->in.sin_addr.s_addr == INADDR_ANY
						       : memcmp(&at->in6.sin6_addr, &any, sizeof(any)) == 0;
	int fd = bind_at(at, everywhere);
	struct udp_port *p;

	if (fd < 0)
		return fd;
	p = calloc(1, sizeof(*p));
	if (p)
		p->watch = loop_fd_new(loop, fd, LOOP_READ, on_readable, p);
	if (!p || !p->watch) {
		free(p);
		close(fd);
		return -ENOMEM;
	}
	p->fd = fd;
	p->events = events;
	p->ctx = ctx;
	p->at = *at;
	p->everywhere = everywhere;
	*out = p;
	return 0;
}
