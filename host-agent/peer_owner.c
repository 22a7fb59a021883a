/* SPDX-License-Identifier: MIT */
/*
 * See peer_owner.h. One question, SOCK_DIAG_BY_FAMILY for one socket, which the kernel answers inside send(): nothing
 * is waited for. UDP's handler takes the two ends as in a packet to the socket, TCP's as the socket has them ("src and
 * dst are swapped for historical reasons", net/ipv4/udp_diag.c).
 */
#include "peer_owner.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 req;
};

static void question_fill(struct question *q, uint8_t proto, const struct peer_end *src, const struct peer_end *dst)
{
	size_t len = src->family == 4 ? 4 : 16;

	*q = (struct question){
		.head = {.nlmsg_len = sizeof(*q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		.req = {.sdiag_family = src->family == 4 ? AF_INET : AF_INET6,
			.sdiag_protocol = proto,
			.idiag_states = UINT32_MAX,
			.id = {.idiag_sport = htons(src->port),
			       .idiag_dport = htons(dst->port),
			       .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	memcpy(q->req.id.idiag_src, src->addr, len);
	memcpy(q->req.id.idiag_dst, dst->addr, len);
}

static int answer_read(const char *part, size_t len, uid_t *uid)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)part;
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	const struct nlmsgerr *e = NLMSG_DATA(h);

	if (!NLMSG_OK(h, len))
		return -EPROTO;
	if (h->nlmsg_type == NLMSG_ERROR)
		return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) || e->error >= 0 ? -EPROTO : e->error;
	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return -EPROTO;
	/* What has no owner any more (TIME_WAIT) has no inode, and would be root's. */
	if (m->idiag_inode == 0)
		return -ENOENT;
	*uid = m->idiag_uid;
	return 0;
}

static int ask(const struct question *q, uid_t *uid)
{
	char part[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	ssize_t n;
	int rc;

	if (fd < 0)
		return -errno;
	n = sendto(fd, q, sizeof(*q), 0, (struct sockaddr *)&kernel, sizeof(kernel));
	if (n >= 0)
		n = recv(fd, part, sizeof(part), MSG_DONTWAIT);
	rc = n < 0 ? -errno : answer_read(part, (size_t)n, uid);
	close(fd);
	return rc;
}

int peer_owner(uint8_t proto, const struct peer_end *peer, const struct peer_end *own, uid_t *uid)
{
	bool swapped = proto == IPPROTO_UDP;
	struct question q;

	question_fill(&q, proto, swapped ? own : peer, swapped ? peer : own);
	return ask(&q, uid);
}

static struct peer_end end_of(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	if (sa->ss_family == AF_INET)
		return (struct peer_end){4, (const uint8_t *)&in->sin_addr, ntohs(in->sin_port)};
	return (struct peer_end){6, (const uint8_t *)&in6->sin6_addr, ntohs(in6->sin6_port)};
}

int peer_owner_of(int fd, uid_t *uid)
{
	struct sockaddr_storage peer = {0}, own = {0};
	socklen_t peer_len = sizeof(peer), own_len = sizeof(own);
	struct peer_end from, to;

	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &own_len) < 0)
		return -errno;
	from = end_of(&peer);
	to = end_of(&own);
	return peer_owner(IPPROTO_TCP, &from, &to, uid);
}
