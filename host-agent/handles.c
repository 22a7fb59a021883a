/* SPDX-License-Identifier: MIT */
/* See handles.h. The table holds one reference of its own; the number is a counter, hashed by its low bits. */
#include "handles.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLE_SIZE 1024u

struct entry {
	struct handle handle;
	struct entry *next;
};

struct handles {
	pthread_mutex_t lock;
	struct entry *table[TABLE_SIZE];
	size_t count, max;
	uint64_t last;
};

static struct entry **find(struct handles *handles, uint64_t fh)
{
	struct entry **at = &handles->table[fh % TABLE_SIZE];

	while (*at && (*at)->handle.fh != fh)
		at = &(*at)->next;
	return at;
}

static void entry_free(struct entry *e)
{
	close(e->handle.fd);
	free(e->handle.listing.data);
	free(e->handle.path);
	free(e);
}

struct handles *handles_new(size_t max)
{
	struct handles *handles = calloc(1, sizeof(*handles));

	if (!handles)
		return NULL;
	pthread_mutex_init(&handles->lock, NULL);
	handles->max = max;
	return handles;
}

void handles_free(struct handles *handles)
{
	if (!handles)
		return;
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		for (struct entry *e = handles->table[i], *next; e; e = next) {
			next = e->next;
			entry_free(e);
		}
	}
	pthread_mutex_destroy(&handles->lock);
	free(handles);
}

int handles_add(struct handles *handles, int fd, uint8_t type, struct handle **handle)
{
	struct entry *e = calloc(1, sizeof(*e));
	int r = e ? 0 : -ENOMEM;

	if (e) {
		e->handle.fd = fd;
		e->handle.type = type;
		e->handle.refs = 2;
		TAILQ_INIT(&e->handle.waiting);
		pthread_mutex_lock(&handles->lock);
		if (handles->count >= handles->max) {
			r = -ENFILE;
		} else {
			handles->count++;
			e->handle.fh = ++handles->last;
			*find(handles, e->handle.fh) = e;
		}
		pthread_mutex_unlock(&handles->lock);
	}
	if (r < 0) {
		close(fd);
		free(e);
		return r;
	}
	*handle = &e->handle;
	return 0;
}

struct handle *handles_get(struct handles *handles, uint64_t fh)
{
	struct entry *e;

	pthread_mutex_lock(&handles->lock);
	e = *find(handles, fh);
	if (e)
		e->handle.refs++;
	pthread_mutex_unlock(&handles->lock);
	return e ? &e->handle : NULL;
}

/* Walks the whole table: for the rare file that has lost its name and is asked for without its handle. */
struct handle *handles_get_by_identity(struct handles *handles, const struct node_identity *identity)
{
	struct handle *found = NULL;

	pthread_mutex_lock(&handles->lock);
	for (size_t i = 0; i < TABLE_SIZE && !found; i++) {
		for (struct entry *e = handles->table[i]; e && !found; e = e->next) {
			if (e->handle.node && node_identity_same(&e->handle.identity, identity))
				found = &e->handle;
		}
	}
	if (found)
		found->refs++;
	pthread_mutex_unlock(&handles->lock);
	return found;
}

bool handles_put(struct handles *handles, struct handle *handle, uint64_t *node)
{
	bool last;

	pthread_mutex_lock(&handles->lock);
	last = --handle->refs == 0;
	pthread_mutex_unlock(&handles->lock);
	if (last) {
		*node = handle->node;
		entry_free((struct entry *)handle);
	}
	return last;
}

bool handles_close(struct handles *handles, struct handle *handle)
{
	struct entry **at;
	bool closed = false;

	pthread_mutex_lock(&handles->lock);
	at = find(handles, handle->fh);
	if (*at) {
		*at = (*at)->next;
		handles->count--;
		handle->refs--; /* the table's; the caller's is left */
		handle->closed = closed = true;
	}
	pthread_mutex_unlock(&handles->lock);
	return closed;
}
