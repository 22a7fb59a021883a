/* SPDX-License-Identifier: MIT */
/* One flag, one eventfd, one socket, behind a mutex. See cancel.h. */
#include "cancel.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct cancel {
	pthread_mutex_t lock;
	unsigned refs;
	bool set;
	int event;
	int socket; /* borrowed; -1: none */
};

struct cancel *cancel_new(void)
{
	struct cancel *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->event < 0) {
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->refs = 1;
	c->socket = -1;
	return c;
}

struct cancel *cancel_ref(struct cancel *c)
{
	pthread_mutex_lock(&c->lock);
	c->refs++;
	pthread_mutex_unlock(&c->lock);
	return c;
}

void cancel_unref(struct cancel *c)
{
	bool last;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	last = --c->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	close(c->event);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void cancel_now(struct cancel *c)
{
	uint64_t one = 1;

	pthread_mutex_lock(&c->lock);
	c->set = true;
	(void)!write(c->event, &one, sizeof(one));
	if (c->socket >= 0)
		shutdown(c->socket, SHUT_RDWR);
	pthread_mutex_unlock(&c->lock);
}

bool cancel_is_set(struct cancel *c)
{
	bool set;

	pthread_mutex_lock(&c->lock);
	set = c->set;
	pthread_mutex_unlock(&c->lock);
	return set;
}

int cancel_fd(const struct cancel *c)
{
	return c->event;
}

void cancel_guard_socket(struct cancel *c, int fd)
{
	pthread_mutex_lock(&c->lock);
	c->socket = fd;
	if (c->set && fd >= 0)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&c->lock);
}
