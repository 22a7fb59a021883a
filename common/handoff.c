/* SPDX-License-Identifier: MIT */
/*
 * The queue between threads. See handoff.h.
 *
 * Theory of operation: the eventfd is readable exactly while the list is not empty. It is written when the first item
 * comes and read when the last one goes, both under the lock: a reader outside the lock could swallow the signal of an
 * item pushed after it had emptied the list, and the loop would sleep on a queue that is not empty.
 */
#include "handoff.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct handoff {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct handoff_item *first, **last;
	int fd;
	bool closed;
};

struct handoff *handoff_new(void)
{
	struct handoff *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		free(q);
		return NULL;
	}
	q->last = &q->first;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->filled, NULL);
	return q;
}

void handoff_free(struct handoff *q)
{
	if (!q)
		return;
	close(q->fd);
	pthread_cond_destroy(&q->filled);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

int handoff_fd(const struct handoff *q)
{
	return q->fd;
}

/* Neither can fail: the counter is 0 or 1, and the descriptor is ours. */
static void handoff_signal(struct handoff *q)
{
	uint64_t one = 1;

	(void)!write(q->fd, &one, sizeof(one));
}

static void handoff_unsignal(struct handoff *q)
{
	uint64_t count;

	(void)!read(q->fd, &count, sizeof(count));
}

bool handoff_push(struct handoff *q, struct handoff_item *item)
{
	bool taken = false;

	pthread_mutex_lock(&q->lock);
	if (!q->closed) {
		item->next = NULL;
		if (!q->first)
			handoff_signal(q);
		*q->last = item;
		q->last = &item->next;
		taken = true;
		pthread_cond_signal(&q->filled);
	}
	pthread_mutex_unlock(&q->lock);
	return taken;
}

struct handoff_item *handoff_take_all(struct handoff *q)
{
	struct handoff_item *items;

	pthread_mutex_lock(&q->lock);
	items = q->first;
	if (items)
		handoff_unsignal(q);
	q->first = NULL;
	q->last = &q->first;
	pthread_mutex_unlock(&q->lock);
	return items;
}

struct handoff_item *handoff_wait(struct handoff *q)
{
	struct handoff_item *item;

	pthread_mutex_lock(&q->lock);
	while (!q->first && !q->closed)
		pthread_cond_wait(&q->filled, &q->lock);
	item = q->first;
	if (item) {
		q->first = item->next;
		if (!q->first) {
			q->last = &q->first;
			handoff_unsignal(q);
		}
		item->next = NULL;
	}
	pthread_mutex_unlock(&q->lock);
	return item;
}

void handoff_close(struct handoff *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->filled);
	pthread_mutex_unlock(&q->lock);
}
