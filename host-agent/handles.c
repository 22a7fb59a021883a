/* SPDX-License-Identifier: MIT */
/*
 * See handles.h. The table holds one reference of its own; the number is a counter, hashed by its low bits.
 *
 * Handles whose descriptor is here and might be elsewhere stand in a queue. When one more descriptor is needed than
 * there may be, they get their turns: who was used since the last one goes to the end, the first who was not gives its
 * descriptor up. So using a handle costs no more than a mark. A keeper that has a handle's description has it until
 * the handle is closed: the next time, giving up is close(2).
 */
#include "handles.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLE_FIRST 1024u
#define FILES_LEAVE 64u

struct entry {
	struct handle handle;
	struct entry *next;
};

struct handles {
	pthread_mutex_t lock;
	struct entry **table; /* of `size` chains, a power of two */
	size_t size, count, folders;
	size_t here; /* with a descriptor */
	TAILQ_HEAD(, handle) turns;
	struct keepers *keepers;
	struct handles_limits limits;
	uint64_t last;
};

static struct entry **find(struct handles *handles, uint64_t fh)
{
	struct entry **at = &handles->table[fh & (handles->size - 1)];

	while (*at && (*at)->handle.fh != fh)
		at = &(*at)->next;
	return at;
}

/* Without memory for a larger table the chains just get longer. */
static void grow(struct handles *handles)
{
	struct entry **old = handles->table;
	size_t old_size = handles->size;
	struct entry **table = calloc(old_size * 2, sizeof(struct entry *));

	if (!table)
		return;
	handles->table = table;
	handles->size = old_size * 2;
	for (size_t i = 0; i < old_size; i++) {
		for (struct entry *e = old[i], *next; e; e = next) {
			struct entry **head = &table[e->handle.fh & (handles->size - 1)];

			next = e->next;
			e->next = *head;
			*head = e;
		}
	}
	free(old);
}

static void entry_free(struct entry *e)
{
	if (e->handle.fd >= 0)
		close(e->handle.fd);
	free(e->handle.listing.data);
	free(e->handle.path);
	free(e);
}

struct handles *handles_new(const struct handles_limits *limits)
{
	struct handles *handles = calloc(1, sizeof(*handles));

	if (!handles)
		return NULL;
	pthread_mutex_init(&handles->lock, NULL);
	TAILQ_INIT(&handles->turns);
	handles->limits = *limits;
	handles->size = TABLE_FIRST;
	handles->table = calloc(handles->size, sizeof(struct entry *));
	handles->keepers = keepers_new(limits->keepers, limits->each);
	if (!handles->table || !handles->keepers) {
		handles_free(handles);
		return NULL;
	}
	return handles;
}

void handles_free(struct handles *handles)
{
	if (!handles)
		return;
	for (size_t i = 0; handles->table && i < handles->size; i++) {
		for (struct entry *e = handles->table[i], *next; e; e = next) {
			next = e->next;
			entry_free(e);
		}
	}
	keepers_free(handles->keepers);
	pthread_mutex_destroy(&handles->lock);
	free(handles->table);
	free(handles);
}

/* ---- whose descriptor is here: with the lock ---- */

static void arrive(struct handles *handles, struct handle *h, int fd)
{
	h->fd = fd;
	h->used = true;
	handles->here++;
	if (h->keepable)
		TAILQ_INSERT_TAIL(&handles->turns, h, turn);
}

static void leave(struct handles *handles, struct handle *h)
{
	if (h->fd < 0)
		return;
	handles->here--;
	if (h->keepable)
		TAILQ_REMOVE(&handles->turns, h, turn);
}

static int give_up(struct handles *handles, struct handle *h)
{
	int r = h->kept.keeper >= 0 ? 0 : keepers_keep(handles->keepers, h->fd, &h->kept);

	if (r < 0)
		return r;
	leave(handles, h);
	close(h->fd);
	h->fd = -1;
	return 0;
}

/*
 * For one descriptor more, of so many. Two rounds are enough: the first takes the marks away. When there is no keeper
 * to be had, those make room that one has already.
 */
static int make_room(struct handles *handles, size_t max)
{
	size_t turns = 2 * handles->here;
	int r = 0;

	while (handles->here >= max) {
		struct handle *h = TAILQ_FIRST(&handles->turns);

		if (!h || !turns--)
			return -ENFILE;
		TAILQ_REMOVE(&handles->turns, h, turn);
		TAILQ_INSERT_TAIL(&handles->turns, h, turn);
		if (h->refs == 1 && !h->used && (r == 0 || h->kept.keeper >= 0))
			r = give_up(handles, h);
		h->used = false;
	}
	return 0;
}

/* New files leave some to folders, which are opened to be listed, and to what is brought back. */
static size_t new_max(const struct handles *handles, bool folder)
{
	size_t all = handles->limits.descriptors;

	return folder ? all : all - (all / 4 < FILES_LEAVE ? all / 4 : FILES_LEAVE);
}

static int bring(struct handles *handles, struct handle *h)
{
	int r = h->fd >= 0 ? 0 : make_room(handles, handles->limits.descriptors);

	if (r < 0 || h->fd >= 0)
		return r;
	r = keepers_lend(handles->keepers, &h->kept);
	if (r < 0)
		return r;
	arrive(handles, h, r);
	return 0;
}

int handles_bring(struct handles *handles, struct handle *handle)
{
	int r;

	if (handle->fd >= 0)
		return 0;
	pthread_mutex_lock(&handles->lock);
	r = bring(handles, handle);
	pthread_mutex_unlock(&handles->lock);
	return r;
}

/* ---- the table ---- */

static int add(struct handles *handles, struct entry *e, int fd)
{
	bool folder = e->handle.type == DT_DIR;

	if (handles->count >= handles->limits.max || (folder && handles->folders >= handles->limits.folders) ||
	    make_room(handles, new_max(handles, folder)) < 0)
		return -ENFILE;
	if (handles->count >= handles->size)
		grow(handles);
	handles->count++;
	handles->folders += folder;
	e->handle.fh = ++handles->last;
	*find(handles, e->handle.fh) = e;
	arrive(handles, &e->handle, fd);
	return 0;
}

int handles_add(struct handles *handles, int fd, uint8_t type, bool keepable, struct handle **handle)
{
	struct entry *e = calloc(1, sizeof(*e));
	int r = -ENOMEM;

	if (e) {
		e->handle.type = type;
		e->handle.refs = 2;
		e->handle.keepable = keepable;
		e->handle.kept = KEPT_NOWHERE;
		TAILQ_INIT(&e->handle.waiting);
		pthread_mutex_lock(&handles->lock);
		r = add(handles, e, fd);
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
	if (e) {
		e->handle.refs++;
		e->handle.used = true;
	}
	pthread_mutex_unlock(&handles->lock);
	return e ? &e->handle : NULL;
}

/* Walks the whole table: for the rare file that has lost its name and is asked for without its handle. */
struct handle *handles_get_by_identity(struct handles *handles, const struct node_identity *identity)
{
	struct handle *found = NULL;

	pthread_mutex_lock(&handles->lock);
	for (size_t i = 0; i < handles->size && !found; i++) {
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
	if (last) {
		leave(handles, handle);
		if (handle->kept.keeper >= 0)
			keepers_drop(handles->keepers, &handle->kept);
	}
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
		handles->folders -= handle->type == DT_DIR;
		handle->refs--; /* the table's; the caller's is left */
		handle->closed = closed = true;
	}
	pthread_mutex_unlock(&handles->lock);
	return closed;
}
