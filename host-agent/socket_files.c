/* SPDX-License-Identifier: MIT */
/*
 * See socket_files.h. A dump of netlink, of which the kernel makes each part inside the send() or recv() that asks for
 * it: nothing is waited for. A file is known by its number and that of its file system, which the kernel writes as it
 * has it itself (12 bits and 20), not as stat(2) does.
 */
#include "socket_files.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>

#define PART_MAX (32u << 10)

static int ask(int fd)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} question = {
		.head = {.nlmsg_len = sizeof(question),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.req = {.sdiag_family = AF_UNIX,
			.udiag_states = 1u << TCP_LISTEN | 1u << TCP_CLOSE,
			.udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_UID},
	};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return sendto(fd, &question, sizeof(question), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

/* False: it is bound to no file. */
static bool read_file(const struct nlmsghdr *h, struct socket_file *file)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
	struct unix_diag_vfs vfs;
	bool found = false;
	uint32_t uid;

	*file = (struct socket_file){.inode = m->udiag_ino, .uid = (uid_t)-1};
	for (const struct rtattr *a = (const struct rtattr *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(a) >= sizeof(vfs)) {
			memcpy(&vfs, RTA_DATA(a), sizeof(vfs));
			file->dev = makedev(vfs.udiag_vfs_dev >> 20, vfs.udiag_vfs_dev & 0xfffff);
			file->ino = vfs.udiag_vfs_ino;
			found = true;
		} else if (a->rta_type == UNIX_DIAG_UID && RTA_PAYLOAD(a) >= sizeof(uid)) {
			memcpy(&uid, RTA_DATA(a), sizeof(uid));
			file->uid = uid;
		}
	}
	return found;
}

/* 1: there is more to come. */
static int read_part(const char *part, size_t len, socket_files_cb *each, void *ctx)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)part;

	for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		const struct nlmsgerr *e = NLMSG_DATA(h);
		struct socket_file file;

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) || e->error >= 0 ? -EPROTO : e->error;
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct unix_diag_msg)) && read_file(h, &file))
			each(ctx, &file);
	}
	return 1;
}

int socket_files_each(socket_files_cb *each, void *ctx)
{
	static char part[PART_MAX] __attribute__((aligned(NLMSG_ALIGNTO))); /* of the loop's thread */
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), rc;

	if (fd < 0)
		return -errno;
	rc = ask(fd);
	if (rc == 0)
		rc = 1;
	while (rc > 0) {
		ssize_t n = recv(fd, part, sizeof(part), MSG_DONTWAIT);

		rc = n < 0 ? -errno : read_part(part, (size_t)n, each, ctx);
	}
	close(fd);
	return rc;
}
