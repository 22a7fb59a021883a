/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * RLIMIT_NOFILE bounds the numbers in one table of descriptors, and a table belongs to a thread. A keeper is a thread
 * that has left the process's table for one of its own (close_range(2) with CLOSE_RANGE_UNSHARE, Linux 5.9). It does
 * nothing but wait on one end of a socket pair: it takes descriptors that come by SCM_RIGHTS, and sends back new ones.
 *
 *   KEEP, a descriptor   ->  its number in the keeper's table, or a negative errno
 *   LEND number          ->  0 and a descriptor, or a negative errno
 *   DROP number              no answer
 *
 * Nothing is opened again by name: a name may lead elsewhere by now, or nowhere, and a mode may have changed; a program
 * that has a file open expects none of that to matter.
 *
 * A keeper closes what it kept, so files whose last close may wait for a server are not for it (handles.h).
 */
#include "keepers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPER_STACK (256u << 10)

enum { KEEPER_KEEP, KEEPER_LEND, KEEPER_DROP };

struct keeper_word {
	uint32_t what; /* KEEPER_ */
	int32_t fd;    /* of the keeper's table; or a negative errno */
};

struct keeper {
	pthread_t thread;
	int ours; /* of the pair */
	size_t count;
};

struct keepers {
	struct keeper *keepers;
	size_t started, max, each;
	/* A number below those of files that were opened since: a table that is left is copied up to it, and what was
	 * copied is closed, which may take its time where a server answers for the file. */
	int low;
};

/* ---- words, with or without a descriptor ---- */

union word_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* fd -1: none. */
static int word_send(int socket, const struct keeper_word *word, int fd)
{
	struct iovec data = {(void *)word, sizeof(*word)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	union word_control control;
	ssize_t n;

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* *fd is -1 where none came, also where there was no room for it. 0; -EPIPE: the other end is closed. */
static int word_receive(int socket, struct keeper_word *word, int *fd)
{
	struct iovec data = {word, sizeof(*word)};
	union word_control control;
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	const struct cmsghdr *header;
	ssize_t n;

	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*word))
		return n < 0 ? -errno : -EPIPE;
	header = CMSG_FIRSTHDR(&message);
	*fd = -1;
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
	return 0;
}

/* ---- the keeper's thread ---- */

/* A table of its own, with nothing in it but `fd`. */
static int table_leave(int fd)
{
	if (close_range((unsigned)fd + 1, ~0u, CLOSE_RANGE_UNSHARE) < 0)
		return -errno;
	if (fd > 0 && close_range(0, (unsigned)fd - 1, 0) < 0)
		return -errno;
	return 0;
}

static int word_answer(int socket, const struct keeper_word *word, int fd)
{
	struct keeper_word answer = {.what = word->what};

	switch (word->what) {
	case KEEPER_KEEP:
		answer.fd = fd >= 0 ? fd : -EMFILE;
		return word_send(socket, &answer, -1);
	case KEEPER_LEND:
		answer.fd = word_send(socket, &answer, word->fd);
		return answer.fd < 0 ? word_send(socket, &answer, -1) : 0;
	default:
		close(word->fd);
		return 0;
	}
}

static void *keeper_main(void *arg)
{
	int socket = *(const int *)arg;
	struct keeper_word word = {.what = KEEPER_KEEP};
	int fd = -1, r = table_leave(socket);

	word.fd = r;
	if (word_send(socket, &word, -1) < 0 || r < 0)
		return NULL;
	while (word_receive(socket, &word, &fd) == 0)
		if (word_answer(socket, &word, fd) < 0)
			break;
	return NULL;
}

/* ---- those who ask it ---- */

static int keeper_ask(const struct keeper *k, const struct keeper_word *word, int fd, int *lent)
{
	struct keeper_word answer = {0};
	int r = word_send(k->ours, word, fd);

	if (r == 0)
		r = word_receive(k->ours, &answer, lent);
	return r < 0 ? r : answer.fd;
}

/* Signals are for others. */
static int keeper_thread(struct keeper *k, int *theirs)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, KEEPER_STACK);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&k->thread, &attr, keeper_main, theirs);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* The other end stays at `low` until the next one takes its place. */
static int keeper_start(struct keepers *all, struct keeper *k)
{
	struct keeper_word ready = {0};
	int pair[2], none, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*k = (struct keeper){.ours = pair[0]};
	r = dup3(pair[1], all->low, O_CLOEXEC) < 0 ? -errno : keeper_thread(k, &all->low);
	close(pair[1]);
	if (r == 0) {
		r = word_receive(k->ours, &ready, &none);
		r = r < 0 ? r : ready.fd;
		if (r < 0)
			pthread_join(k->thread, NULL);
	}
	if (r < 0)
		close(k->ours);
	return r;
}

static int keeper_with_room(struct keepers *all, size_t *index)
{
	int r;

	for (*index = 0; *index < all->started; ++*index)
		if (all->keepers[*index].count < all->each)
			return 0;
	if (all->started == all->max)
		return -EMFILE;
	r = keeper_start(all, &all->keepers[all->started]);
	if (r == 0)
		all->started++;
	return r;
}

int keepers_keep(struct keepers *all, int fd, struct kept *kept)
{
	const struct keeper_word word = {.what = KEEPER_KEEP};
	size_t index;
	int none, r = keeper_with_room(all, &index);

	if (r == 0)
		r = keeper_ask(&all->keepers[index], &word, fd, &none);
	if (r < 0)
		return r;
	all->keepers[index].count++;
	*kept = (struct kept){(int)index, r};
	return 0;
}

int keepers_lend(struct keepers *all, const struct kept *kept)
{
	const struct keeper_word word = {.what = KEEPER_LEND, .fd = kept->fd};
	int lent = -1, r = keeper_ask(&all->keepers[kept->keeper], &word, -1, &lent);

	if (r < 0)
		return r;
	return lent >= 0 ? lent : -EMFILE;
}

void keepers_drop(struct keepers *all, struct kept *kept)
{
	const struct keeper_word word = {.what = KEEPER_DROP, .fd = kept->fd};
	struct keeper *k = &all->keepers[kept->keeper];

	if (word_send(k->ours, &word, -1) == 0)
		k->count--;
	*kept = KEPT_NOWHERE;
}

struct keepers *keepers_new(size_t max, size_t each)
{
	struct keepers *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->max = max;
	all->each = each;
	all->keepers = calloc(max, sizeof(*all->keepers));
	all->low = eventfd(0, EFD_CLOEXEC); /* nothing yet */
	if (!all->keepers || all->low < 0) {
		keepers_free(all);
		return NULL;
	}
	return all;
}

void keepers_free(struct keepers *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->started; i++) {
		close(all->keepers[i].ours);
		pthread_join(all->keepers[i].thread, NULL);
	}
	if (all->low >= 0)
		close(all->low);
	free(all->keepers);
	free(all);
}
