/* SPDX-License-Identifier: MIT */
/* The memory that outlives an agent. See recall.h. */
#include "recall.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC          "hp-mount"
#define VERSION        2u
#define SLOTS          1024u
#define PROBES         8u
#define DIRTY          1024u
#define NAMES_MIN      4096u /* records that may be old before the log is written anew */
#define NAME_BYTES_MAX 4096u
#define RECALL_HEADER  40u /* of a request, its number included */

struct span {
	uint64_t start, end;
};

struct head {
	char magic[8];
	uint32_t version;
	uint32_t incarnation;
	struct recall_init init;
	uint32_t span; /* which of the two is the log */
	struct span spans[2];
	uint32_t all_dirty;
	uint32_t unknown;                    /* requests without an answer that are in no slot */
	uint8_t arrival[RECALL_REQUEST_MAX]; /* no number in it: none */
};

struct layout {
	union {
		struct head head;
		uint8_t page[4096];
	};
	uint64_t uniques[SLOTS]; /* 0: the slot is free */
	struct recall_request slots[SLOTS];
	struct recall_open opens[RECALL_OPENS];
	uint64_t dirty[DIRTY];
};
static_assert(sizeof(struct head) <= 4096, "the head is a page");

/* Begins at a multiple of 8; followed by the name, without an end, and filled up. */
struct record {
	uint32_t len; /* of it all */
	uint16_t name_len;
	uint8_t gone, dir;
	uint64_t id, parent, share, ino;
	int64_t btime;
	uint32_t dev, spare;
};

struct recall {
	int fd;
	struct layout *map;
	uint64_t records, live; /* in the log; of names that are there */
	bool rewriting;
	bool broken; /* memory for the log ran out: what is in it is true, but not all */
};

/* ------------------------------------------------------------------------------------------------------ begin, end */

static struct recall *recall_map(int fd)
{
	struct recall *r = calloc(1, sizeof(*r));
	void *map = r ? mmap(NULL, sizeof(struct layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map == MAP_FAILED) {
		int error = r ? errno : ENOMEM;

		free(r);
		close(fd);
		errno = error;
		return NULL;
	}
	r->fd = fd;
	r->map = map;
	return r;
}

struct recall *recall_new(void)
{
	int fd = memfd_create("homeport-mount", MFD_CLOEXEC);
	struct recall *r;

	if (fd < 0)
		return NULL;
	if (ftruncate(fd, sizeof(struct layout)) < 0) {
		close(fd);
		return NULL;
	}
	r = recall_map(fd);
	if (!r)
		return NULL;
	r->map->head.version = VERSION;
	r->map->head.spans[0] = (struct span){sizeof(struct layout), sizeof(struct layout)};
	memcpy(r->map->head.magic, MAGIC, sizeof(r->map->head.magic));
	return r;
}

static int head_check(const struct head *h)
{
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0)
		return EINVAL;
	if (h->version != VERSION)
		return EPROTO;
	if (h->span > 1 || h->init.request_len > RECALL_INIT_MAX)
		return EINVAL;
	return h->incarnation >= RECALL_INCARNATION_MAX ? EOVERFLOW : 0;
}

struct recall *recall_take(int fd)
{
	struct recall *r;
	struct stat st;
	struct head head;
	int error;

	/* Shorter than it should be, it would end us by SIGBUS. */
	error = fstat(fd, &st) < 0 ? errno : 0;
	if (!error && pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		error = EINVAL;
	if (!error)
		error = head_check(&head);
	if (!error && st.st_size < (off_t)sizeof(struct layout))
		error = EINVAL;
	if (error) {
		close(fd);
		errno = error;
		return NULL;
	}
	r = recall_map(fd);
	if (r)
		r->map->head.incarnation++;
	return r;
}

void recall_free(struct recall *r)
{
	if (!r)
		return;
	munmap(r->map, sizeof(*r->map));
	close(r->fd);
	free(r);
}

int recall_fd(const struct recall *r)
{
	return r->fd;
}

uint32_t recall_incarnation(const struct recall *r)
{
	return r ? r->map->head.incarnation : 0;
}

/* ----------------------------------------------------------------------------------------------------------- INIT */

void recall_set_init_request(struct recall *r, const void *request, size_t len)
{
	if (!r || len > RECALL_INIT_MAX)
		return;
	memcpy(r->map->head.init.request, request, len);
	r->map->head.init.request_len = (uint32_t)len;
}

void recall_set_init_answer(struct recall *r, uint32_t minor, uint32_t max_write, uint32_t flags, uint32_t flags2)
{
	struct recall_init *init = r ? &r->map->head.init : NULL;

	if (!init)
		return;
	init->minor = minor;
	init->max_write = max_write;
	init->flags = flags;
	init->flags2 = flags2;
}

const struct recall_init *recall_init(const struct recall *r)
{
	return &r->map->head.init;
}

/* ------------------------------------------------------------------------------------------------------- requests */

/* Where a number is, in one cache line mostly: the kernel counts by two. 0 is looked for where this one could be. */
static int slot_find(const struct recall *r, uint64_t unique, uint64_t looked_for)
{
	for (unsigned i = 0; i < PROBES; i++) {
		unsigned slot = (unsigned)((unique / 2 + i) % SLOTS);

		if (r->map->uniques[slot] == looked_for)
			return (int)slot;
	}
	return -1;
}

void *recall_arrival(struct recall *r)
{
	return r ? memset(r->map->head.arrival, 0, RECALL_REQUEST_MAX) : NULL;
}

const void *recall_arrival_left(const struct recall *r)
{
	return r->map->head.arrival;
}

void recall_arrived(struct recall *r)
{
	if (r)
		memset(r->map->head.arrival, 0, RECALL_HEADER);
}

static void slot_fill(struct recall *r, uint64_t unique, const void *request, size_t len)
{
	struct recall_request *s;
	int slot = slot_find(r, unique, 0);

	if (slot < 0) {
		r->map->head.unknown++;
		return;
	}
	s = &r->map->slots[slot];
	memcpy(s->bytes, request, len < RECALL_REQUEST_MAX ? len : RECALL_REQUEST_MAX);
	s->len = (uint32_t)len;
	s->asked = false;
	s->unique = unique;
	atomic_signal_fence(memory_order_release);
	r->map->uniques[slot] = unique;
}

void recall_began(struct recall *r, uint64_t unique, const void *request, size_t len)
{
	if (!r || !unique)
		return;
	if (slot_find(r, unique, unique) < 0)
		slot_fill(r, unique, request, len);
	atomic_signal_fence(memory_order_release);
	recall_arrived(r);
}

static struct recall_request *request_find(const struct recall *r, uint64_t unique)
{
	int slot = r && unique ? slot_find(r, unique, unique) : -1;

	return slot < 0 ? NULL : &r->map->slots[slot];
}

void recall_asked(struct recall *r, uint64_t unique)
{
	struct recall_request *s = request_find(r, unique);

	if (s)
		s->asked = true;
}

void recall_answered(struct recall *r, uint64_t unique)
{
	const struct recall_request *s = request_find(r, unique);

	if (s)
		r->map->uniques[s - r->map->slots] = 0;
	else if (r && unique && r->map->head.unknown)
		r->map->head.unknown--;
}

bool recall_misses_requests(const struct recall *r)
{
	return r && r->map->head.unknown;
}

void recall_misses_none(struct recall *r)
{
	if (r)
		r->map->head.unknown = 0;
}

const struct recall_request *recall_request(const struct recall *r, uint64_t unique)
{
	return request_find(r, unique);
}

const struct recall_request *recall_request_next(const struct recall *r, unsigned *at)
{
	while (r && *at < SLOTS) {
		unsigned slot = (*at)++;

		if (r->map->uniques[slot])
			return &r->map->slots[slot];
	}
	return NULL;
}

/* ----------------------------------------------------------------------------------------------------- open files */

static unsigned place_of(uint64_t key, unsigned count, unsigned probe)
{
	return ((unsigned)(key * 0x9e3779b97f4a7c15u >> 40) + probe) % count;
}

/* Where a handle is; 0: where there is room for this one. */
static struct recall_open *open_find(const struct recall *r, uint64_t handle, uint64_t looked_for)
{
	for (unsigned i = 0; i < PROBES; i++) {
		struct recall_open *o = &r->map->opens[place_of(handle, RECALL_OPENS, i)];

		if (o->handle == looked_for)
			return o;
	}
	return NULL;
}

void recall_opened(struct recall *r, uint64_t handle, uint64_t node, uint32_t flags)
{
	struct recall_open *o = r ? open_find(r, handle, 0) : NULL;

	if (!o)
		return;
	o->node = node;
	o->flags = flags;
	atomic_signal_fence(memory_order_release);
	o->handle = handle;
}

void recall_closed(struct recall *r, uint64_t handle)
{
	struct recall_open *o = r && handle ? open_find(r, handle, handle) : NULL;

	if (o)
		o->handle = 0;
}

const struct recall_open *recall_open(const struct recall *r, uint64_t handle, unsigned *slot)
{
	const struct recall_open *o = r && handle ? open_find(r, handle, handle) : NULL;

	if (o)
		*slot = (unsigned)(o - r->map->opens);
	return o;
}

static uint64_t *dirty_find(const struct recall *r, uint64_t node, uint64_t looked_for)
{
	for (unsigned i = 0; i < PROBES; i++) {
		uint64_t *d = &r->map->dirty[place_of(node, DIRTY, i)];

		if (*d == looked_for)
			return d;
	}
	return NULL;
}

void recall_set_dirty(struct recall *r, uint64_t node, bool dirty)
{
	uint64_t *d = r ? dirty_find(r, node, node) : NULL;

	if (!r || !!d == dirty)
		return;
	if (!dirty) {
		*d = 0;
		return;
	}
	d = dirty_find(r, node, 0);
	if (d)
		*d = node;
	else
		r->map->head.all_dirty = 1;
}

bool recall_is_dirty(const struct recall *r, uint64_t node)
{
	return r && (r->map->head.all_dirty || dirty_find(r, node, node));
}

/* ---------------------------------------------------------------------------------------------------------- names */

/* The log; or, while it is written anew, the other one. */
static struct span *span_written(struct recall *r)
{
	return &r->map->head.spans[r->map->head.span ^ r->rewriting];
}

static void record_put(struct recall *r, const struct record *head, const char *name)
{
	uint8_t buf[sizeof(struct record) + NAME_BYTES_MAX + 8] = {0};
	struct span *span = span_written(r);

	if (r->broken)
		return;
	memcpy(buf, head, sizeof(*head));
	memcpy(buf + sizeof(*head), name, head->name_len);
	if (pwrite(r->fd, buf, head->len, (off_t)span->end) != (ssize_t)head->len) {
		r->broken = true;
		return;
	}
	atomic_signal_fence(memory_order_release);
	span->end += head->len;
	r->records++;
}

static struct record record_of(uint64_t id, size_t name_len)
{
	return (struct record){.id = id,
			       .name_len = (uint16_t)name_len,
			       .len = (uint32_t)(sizeof(struct record) + (name_len + 7) / 8 * 8)};
}

void recall_name(struct recall *r, const struct recall_name *n, bool renamed)
{
	size_t len = strlen(n->name);
	struct record head;

	if (!r || len > NAME_BYTES_MAX)
		return;
	head = record_of(n->id, len);
	head.parent = n->parent;
	head.share = n->share;
	head.ino = n->ino;
	head.btime = n->btime;
	head.dev = n->dev;
	head.dir = n->dir;
	record_put(r, &head, n->name);
	r->live += !renamed;
}

void recall_name_gone(struct recall *r, uint64_t id)
{
	struct record head = record_of(id, 0);

	if (!r)
		return;
	head.gone = 1;
	record_put(r, &head, "");
	r->live -= r->live > 0;
}

/* The record at the place; false: there is none that is whole. */
static bool record_get(const struct recall *r, uint64_t at, uint64_t end, struct record *head,
		       char name[NAME_BYTES_MAX + 1])
{
	if (end - at < sizeof(*head) || pread(r->fd, head, sizeof(*head), (off_t)at) != (ssize_t)sizeof(*head))
		return false;
	if (head->name_len > NAME_BYTES_MAX || head->len < sizeof(*head) + head->name_len || head->len > end - at)
		return false;
	if (pread(r->fd, name, head->name_len, (off_t)(at + sizeof(*head))) != head->name_len)
		return false;
	name[head->name_len] = '\0';
	return true;
}

void recall_each_name(const struct recall *r, void (*fn)(void *ctx, const struct recall_name *name, bool gone),
		      void *ctx)
{
	const struct span *span = r ? &r->map->head.spans[r->map->head.span] : NULL;
	char name[NAME_BYTES_MAX + 1];
	struct record head;

	for (uint64_t at = span ? span->start : 0; span && at < span->end; at += head.len) {
		if (!record_get(r, at, span->end, &head, name))
			return;
		fn(ctx,
		   &(struct recall_name){.id = head.id,
					 .parent = head.parent,
					 .share = head.share,
					 .ino = head.ino,
					 .btime = head.btime,
					 .dev = head.dev,
					 .dir = head.dir,
					 .name = name},
		   head.gone);
	}
}

bool recall_is_long(const struct recall *r)
{
	return r && !r->rewriting && r->records > 2 * r->live + NAMES_MIN;
}

void recall_rewrite_begin(struct recall *r)
{
	struct head *h = r ? &r->map->head : NULL;
	uint64_t start;

	if (!h)
		return;
	start = (h->spans[h->span].end + 4095) / 4096 * 4096;
	h->spans[h->span ^ 1] = (struct span){start, start};
	r->rewriting = true;
	r->broken = false;
	r->records = r->live = 0;
}

void recall_rewrite_end(struct recall *r)
{
	struct head *h = r ? &r->map->head : NULL;
	struct span old;

	if (!h)
		return;
	r->rewriting = false;
	if (r->broken)
		return; /* the old one is as good */
	old = h->spans[h->span];
	h->span ^= 1;
	/* Up to the new one's first page. */
	fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)old.start,
		  (off_t)(h->spans[h->span].start - old.start));
}
