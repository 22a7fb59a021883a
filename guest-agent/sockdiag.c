/* SPDX-License-Identifier: MIT */
/*
 * The listening sockets by SOCK_DIAG.
 *
 * Theory of operation. One question a dump: the legacy message TCPDIAG_GETSOCK, which walks IPv4 and IPv6 in one pass
 * over the hash of listeners (9 us when nothing listens, where two SOCK_DIAG_BY_FAMILY requests take 17); never all
 * states, which walks the connections too. No extension is asked for: the v6only flag of a listener always comes.
 * Of UDP the kernel has no such message: it takes two questions of 17 us each, one a family.
 *
 * The kernel fills the first part of the answer inside send() and each next one inside recv(), so that the socket is
 * never waited for: reading stops at DONE. What is left of an answer that was given up is told by its sequence number
 * and skipped.
 */
#include "sockdiag.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

/* The kernel's own part is at most 32 KiB as long as no larger buffer was offered. */
#define PART_MAX (32u << 10)

struct sockdiag {
	int fd;
	uint32_t seq;
	char part[PART_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
};

union question {
	struct nlmsghdr head;
	struct {
		struct nlmsghdr head;
		struct inet_diag_req req;
	} tcp;
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 req;
	} udp;
};

/* What has come of the answer to one dump. */
struct answer {
	struct listener_set *set;
	uint8_t proto;
	bool torn;
	int parts;
};

void listener_set_free(struct listener_set *set)
{
	free(set->items);
	*set = (struct listener_set){0};
}

struct listener *listener_set_add(struct listener_set *set)
{
	if (set->count == set->cap) {
		size_t cap = set->cap ? 2 * set->cap : 64;
		struct listener *items = reallocarray(set->items, cap, sizeof(*items));

		if (!items)
			return NULL;
		set->items = items;
		set->cap = cap;
	}
	return memset(&set->items[set->count++], 0, sizeof(*set->items));
}

int sockdiag_open(struct sockdiag **out)
{
	struct sockdiag *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
	if (d->fd < 0) {
		int rc = -errno;

		free(d);
		return rc;
	}
	*out = d;
	return 0;
}

void sockdiag_close(struct sockdiag *d)
{
	if (!d)
		return;
	close(d->fd);
	free(d);
}

static int sockdiag_ask(struct sockdiag *d, union question *q)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	q->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	q->head.nlmsg_seq = ++d->seq;
	do
		n = sendto(d->fd, q, q->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	while (n < 0 && errno == EINTR);
	/* EBUSY: an answer that was given up is still being made; what it has must be read first. */
	return n < 0 ? (errno == EBUSY ? -EAGAIN : -errno) : 0;
}

static bool attr_v6only(const struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));

	for (const struct rtattr *a = (const struct rtattr *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_SKV6ONLY)
			return *(const uint8_t *)RTA_DATA(a) != 0;
	return false;
}

/* IPv4 addresses mapped into IPv6 become IPv4: nobody else needs to know that they exist. */
static void listener_fill(struct listener *l, uint8_t proto, const struct nlmsghdr *h)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	const uint8_t *src = (const uint8_t *)m->id.idiag_src;

	l->proto = proto;
	l->family = m->idiag_family == AF_INET6 ? 6 : 4;
	if (l->family == 6 && memcmp(src, mapped, sizeof(mapped)) == 0) {
		l->family = 4;
		src += sizeof(mapped);
	}
	memcpy(l->addr, src, l->family == 6 ? 16 : 4);
	l->scope = m->id.idiag_if;
	l->port = ntohs(m->id.idiag_sport);
	l->v6only = l->family == 6 && attr_v6only(h);
	l->uid = m->idiag_uid;
	l->inode = m->idiag_inode;
}

/* A UDP socket in the state TCP_CLOSE is one that is connected to nobody. */
static unsigned listening_state(uint8_t proto)
{
	return proto == LISTENER_UDP ? TCP_CLOSE : TCP_LISTEN;
}

static int sockdiag_take(struct listener_set *set, uint8_t proto, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	struct listener *l;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EPROTO;
	if (m->idiag_state != listening_state(proto) || m->id.idiag_sport == 0 || set->count >= PORTS_LISTENERS_MAX)
		return 0;
	if (m->idiag_family != AF_INET && m->idiag_family != AF_INET6)
		return 0;
	l = listener_set_add(set);
	if (!l)
		return -ENOMEM;
	listener_fill(l, proto, h);
	return 0;
}

/* One message: 1 at the end of the dump, 0 to go on, or a negative errno. */
static int sockdiag_message(struct sockdiag *d, struct answer *a, const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	if (h->nlmsg_seq != d->seq)
		return 0;
	a->torn |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (h->nlmsg_type == NLMSG_DONE)
		return 1;
	if (h->nlmsg_type == NLMSG_ERROR)
		return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) || e->error >= 0 ? -EPROTO : e->error;
	return sockdiag_take(a->set, a->proto, h);
}

/* One datagram of the answer: as above. */
static int sockdiag_part(struct sockdiag *d, struct answer *a)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)d->part;
	ssize_t n = recv(d->fd, d->part, sizeof(d->part), MSG_TRUNC);
	int rc = 0;

	if (n < 0)
		return errno == EINTR ? 0 : errno == ENOBUFS ? -EAGAIN : -errno;
	if ((size_t)n > sizeof(d->part))
		return -EAGAIN;
	for (unsigned left = (unsigned)n; rc == 0 && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
		rc = sockdiag_message(d, a, h);
	return rc;
}

/* Reads what an answer that was given up has left, so that the kernel takes the next question. */
static void sockdiag_skip(struct sockdiag *d)
{
	ssize_t n;

	do
		n = recv(d->fd, d->part, sizeof(d->part), 0);
	while (n > 0 || (n < 0 && errno == EINTR));
}

/* One question and the whole answer to it: 0, or a negative errno. */
static int sockdiag_exchange(struct sockdiag *d, union question *q, struct answer *a)
{
	int rc = sockdiag_ask(d, q);

	while (rc == 0) {
		size_t before = a->set->count;

		rc = sockdiag_part(d, a);
		a->parts += a->set->count > before;
	}
	if (rc < 0)
		sockdiag_skip(d);
	return rc < 0 ? rc : 0;
}

static int sockdiag_dump_tcp(struct sockdiag *d, struct answer *a)
{
	union question q = {
		.tcp = {.head = {.nlmsg_len = sizeof(q.tcp), .nlmsg_type = TCPDIAG_GETSOCK},
			.req = {.idiag_family = AF_INET, .idiag_states = 1u << TCP_LISTEN}},
	};

	return sockdiag_exchange(d, &q, a);
}

static int sockdiag_dump_udp(struct sockdiag *d, struct answer *a)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	int rc = 0;

	for (size_t i = 0; i < sizeof(families) && rc == 0; i++) {
		union question q = {
			.udp = {.head = {.nlmsg_len = sizeof(q.udp), .nlmsg_type = SOCK_DIAG_BY_FAMILY},
				.req = {.sdiag_family = families[i],
					.sdiag_protocol = IPPROTO_UDP,
					.idiag_states = 1u << TCP_CLOSE}},
		};

		rc = sockdiag_exchange(d, &q, a);
	}
	return rc;
}

int sockdiag_dump(struct sockdiag *d, uint8_t proto, struct listener_set *set)
{
	struct answer a = {.set = set, .proto = proto};
	int rc;

	set->count = 0;
	rc = proto == LISTENER_UDP ? sockdiag_dump_udp(d, &a) : sockdiag_dump_tcp(d, &a);
	if (rc == 0 && a.torn)
		return -EAGAIN;
	return rc < 0 ? rc : a.parts;
}
