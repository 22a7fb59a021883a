/* SPDX-License-Identifier: MIT */
/*
 * Reads ahead of libssh. See ssh_readahead.h.
 *
 * libssh 0.10 reads at most 4 KiB at a time (MAX_BUF_SIZE in its socket.c, fixed when it is built), and polls before
 * each read: half a million system calls a GiB, more than a third of what receiving cost the agent. It takes bytes from
 * a descriptor only, and has no callback for reading them. So this file defines recv() and poll(): the dynamic linker
 * binds libssh's calls to the program's own, as the calls of any library to what is defined before libc. Both do what
 * libc's do, but on a thread that has entered a readahead, for that one's descriptor, while something is left in it.
 *
 * Were they not called, nothing that the guest says would arrive: there would be no connection, and not a wrong one.
 * A libssh that reads more at a time makes this file superfluous.
 */
#include "ssh_readahead.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct ssh_readahead {
	int fd, twin;
	size_t at, end; /* what is left */
	uint8_t data[SSH_READAHEAD_MAX];
};

static _Thread_local struct ssh_readahead *entered;

/* By these names libc's headers do not take them for libc's, with what they know of those. */
ssize_t ssh_readahead_recv(int fd, void *buf, size_t len, int flags) __asm__("recv");
int ssh_readahead_poll(struct pollfd *fds, nfds_t count, int timeout) __asm__("poll");

struct ssh_readahead *ssh_readahead_new(int fd, int twin)
{
	/* Not calloc: the buffer's pages are touched only when they are read into. */
	struct ssh_readahead *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	r->fd = fd;
	r->twin = twin;
	r->at = r->end = 0;
	return r;
}

void ssh_readahead_free(struct ssh_readahead *r)
{
	free(r);
}

size_t ssh_readahead_left(const struct ssh_readahead *r)
{
	return r->end - r->at;
}

void ssh_readahead_fill(struct ssh_readahead *r, size_t max)
{
	ssize_t n;

	if (r->at < r->end)
		return;
	n = recvfrom(r->twin, r->data, max < sizeof(r->data) ? max : sizeof(r->data), 0, NULL, NULL);
	r->at = 0;
	r->end = n > 0 ? (size_t)n : 0;
}

void ssh_readahead_enter(struct ssh_readahead *r)
{
	entered = r;
}

void ssh_readahead_leave(void)
{
	entered = NULL;
}

static bool answers(int fd)
{
	return entered && entered->fd == fd && entered->at < entered->end;
}

ssize_t ssh_readahead_recv(int fd, void *buf, size_t len, int flags)
{
	struct ssh_readahead *r = entered;

	if (flags || !answers(fd))
		return recvfrom(fd, buf, len, flags, NULL, NULL);
	if (len > r->end - r->at)
		len = r->end - r->at;
	memcpy(buf, r->data + r->at, len);
	r->at += len;
	return (ssize_t)len;
}

int ssh_readahead_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	const struct timespec ts = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};

	if (count != 1 || !answers(fds->fd) || !(fds->events & POLLIN))
		return ppoll(fds, count, timeout < 0 ? NULL : &ts, NULL);
	/* Whether it can be written to is asked when nothing is left: in a moment. */
	fds->revents = POLLIN;
	return 1;
}
