/* SPDX-License-Identifier: MIT */
/* See fd_packet.h. */
#include "fd_packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock_address.h"

/* Where the kernel looks for descriptors, or puts them: aligned as it wants it. */
union fd_packet_control {
	struct cmsghdr head;
	char space[CMSG_SPACE(FD_PACKET_MAX * sizeof(int))];
};

int fd_packet_connect(const char *path)
{
	struct sock_address at;
	int rc = sock_address_unix(&at, path), fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &at.any, at.len) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int fd_packet_send(int sock, const void *data, size_t len, const int *fds, size_t count)
{
	union fd_packet_control control = {0};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count > FD_PACKET_MAX)
		return -EMSGSIZE;
	if (count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Takes the descriptors out of a message; closes those beyond `count`. Returns how many there were. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t count)
{
	size_t seen = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++, seen++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (seen < count)
				fds[seen] = fd;
			else
				close(fd);
		}
	}
	return seen;
}

ssize_t fd_packet_receive(int sock, void *buf, size_t size, int *fds, size_t count)
{
	union fd_packet_control control;
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	int error = len < 0 ? errno : 0;
	size_t seen;

	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	if (error)
		return -error;
	seen = take_fds(&msg, fds, count);
	if (seen <= count && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return len;
	for (size_t i = 0; i < seen && i < count; i++)
		close(fds[i]);
	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	return -EPROTO;
}
