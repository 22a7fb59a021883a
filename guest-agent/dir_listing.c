/* SPDX-License-Identifier: MIT */
/* Listings, as the host told them, and the memory of them. See dir_listing.h. */
#include "dir_listing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graft.h"

#define BUCKETS_MIN 16u

static uint32_t hash_name(const uint8_t *name, size_t len)
{
	uint32_t h = 0x811c9dc5u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ name[i]) * 0x01000193u;
	return h ^ h >> 15;
}

struct sftp_entry listing_entry(const struct listing *l, uint32_t index)
{
	size_t at = l->slots[index].at;
	struct wire_reader r = wire_reader(l->data.data + at, l->data.len - at);
	struct sftp_entry e;

	sftp_entry_get(&r, &e);
	return e;
}

bool listing_find(const struct listing *l, const char *name, size_t len, uint32_t *index)
{
	uint32_t i = l->buckets ? l->buckets[hash_name((const uint8_t *)name, len) & l->mask] : 0;

	for (; i; i = l->slots[i - 1].next) {
		struct sftp_entry e = listing_entry(l, i - 1);

		if (e.name_len == len && memcmp(e.name, name, len) == 0) {
			*index = i - 1;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------------------------------------------- its table */

static void slot_hash(struct listing *l, uint32_t index)
{
	struct sftp_entry e = listing_entry(l, index);
	uint32_t *bucket = &l->buckets[hash_name(e.name, e.name_len) & l->mask];

	l->slots[index].next = *bucket;
	*bucket = index + 1;
}

/* Room for `count` slots, and buckets for as many. */
static bool slots_grow(struct listing *l, uint32_t count)
{
	uint32_t buckets = BUCKETS_MIN;
	struct listing_slot *slots;
	uint32_t *fresh;

	while (buckets < count)
		buckets *= 2;
	slots = realloc(l->slots, count * sizeof(*slots));
	if (!slots)
		return false;
	l->slots = slots;
	fresh = calloc(buckets, sizeof(*fresh));
	if (!fresh)
		return false;
	free(l->buckets);
	l->buckets = fresh;
	l->mask = buckets - 1;
	l->room = count;
	for (uint32_t i = 0; i < l->used; i++)
		slot_hash(l, i);
	return true;
}

static struct listing *listing_alloc(const struct listing_told *told)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->refs = 1;
	l->generation = told->generation;
	l->stamp = told->stamp;
	l->fetched_us = told->now_us;
	l->end = told->end;
	l->plus = told->plus;
	l->whole = told->begins && told->end && !told->folds;
	return l;
}

static void listing_free(struct node_table *t, struct listing *l)
{
	for (uint32_t i = 0; i < l->used; i++)
		node_unref(t, l->slots[i].node);
	wire_buf_free(&l->data);
	free(l->slots);
	free(l->buckets);
	free(l);
}

void listing_unref(struct node_table *t, struct listing *l)
{
	if (!l)
		return;
	assert(l->refs > 0);
	if (--l->refs == 0)
		listing_free(t, l);
}

/* -------------------------------------------------------------------------------------------------------- its entries
 */

static bool is_dots(const struct sftp_entry *e)
{
	return e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
}

/* Every entry is whole and its name is one: checked before anything is taken. */
static bool entries_valid(struct wire_reader r, uint32_t count)
{
	struct sftp_entry e;

	while (count--) {
		sftp_entry_get(&r, &e);
		if (r.bad || (!sftp_name_valid(e.name, e.name_len) && !(e.name_len && is_dots(&e))))
			return false;
		if (e.flags & NATIVE_ENTRY_NODE && !e.node)
			return false;
	}
	return wire_read_done(&r);
}

/* The lookups of entries that are not taken. */
static void entries_give_back(struct node_table *t, const struct node *dir, struct wire_reader r, uint32_t count)
{
	struct sftp_entry e;

	while (count--) {
		sftp_entry_get(&r, &e);
		if (e.flags & NATIVE_ENTRY_NODE)
			node_give_back(t, dir->share, e.node, 1);
	}
}

/* The node of an entry, which owns its lookup from here on; NULL where there is none, or no memory for it. */
static struct node *entry_node(struct node_table *t, struct node *dir, uint32_t generation, const struct sftp_entry *e,
			       const struct graft *place)
{
	const char *name = (const char *)e->name;
	struct node *n = NULL;

	if (!(e->flags & NATIVE_ENTRY_NODE))
		return NULL;
	if (!place && !is_dots(e))
		n = node_found(t, dir, name, e->name_len, e->node, &e->attr);
	if (!n)
		node_give_back(t, dir->share, e->node, 1);
	return n;
}

int listing_new(struct node_table *t, struct node *dir, const struct listing_told *told, struct wire_reader r,
		struct listing **out)
{
	struct listing *l;

	if (r.bad || !entries_valid(r, told->count))
		return -EPROTO;
	l = listing_alloc(told);
	if (l)
		wire_put_bytes(&l->data, r.at, r.left);
	if (!l || l->data.failed || !slots_grow(l, told->count ? told->count : 1)) {
		entries_give_back(t, dir, r, told->count);
		listing_unref(t, l);
		return -ENOMEM;
	}
	r = wire_reader(l->data.data, l->data.len);
	for (uint32_t i = 0; i < told->count; i++) {
		struct listing_slot *s = &l->slots[i];
		const struct graft *place;
		struct sftp_entry e;

		*s = (struct listing_slot){.at = l->data.len - r.left};
		sftp_entry_get(&r, &e);
		place = graft_child(node_graft(dir), (const char *)e.name, e.name_len);
		s->hidden = place != NULL;
		s->node = entry_node(t, dir, told->generation, &e, place);
		l->used = l->count = i + 1;
		slot_hash(l, i);
	}
	*out = l;
	return 0;
}

struct listing *listing_new_empty(const struct listing_told *told)
{
	return listing_alloc(told);
}

/* The name gets a slot that goes before the one it may have. False: out of memory, or too many. */
static bool listing_doubt(struct listing *l, const char *name)
{
	struct sftp_entry e = {.name = (const uint8_t *)name, .name_len = strlen(name)};
	uint32_t index;

	if (listing_find(l, name, e.name_len, &index) && l->slots[index].doubted)
		return true;
	if (l->used - l->count >= LISTING_DOUBTS_MAX)
		return false;
	if (l->used == l->room && !slots_grow(l, l->room ? 2 * l->room : BUCKETS_MIN))
		return false;
	l->slots[l->used] = (struct listing_slot){.at = l->data.len, .doubted = true};
	sftp_entry_put(&l->data, &e);
	if (l->data.failed)
		return false;
	slot_hash(l, l->used++);
	return true;
}

/* ------------------------------------------------------------------------------------------------------ the memory */

void listing_memory_init(struct listing_memory *m, struct node_table *nodes)
{
	*m = (struct listing_memory){.nodes = nodes};
	TAILQ_INIT(&m->list);
}

static size_t listing_cost(const struct listing *l)
{
	return 1 + l->count;
}

static void listing_forget(struct listing_memory *m, struct listing *l)
{
	struct node *dir = l->dir;

	assert(dir && node_listing(dir) == l);
	TAILQ_REMOVE(&m->list, l, link);
	m->entries -= listing_cost(l);
	m->ahead -= l->ahead;
	dir->more->listing = NULL;
	l->dir = NULL;
	listing_unref(m->nodes, l);
	node_unref(m->nodes, dir);
}

void listing_memory_clear(struct listing_memory *m)
{
	struct listing *l;

	while ((l = TAILQ_FIRST(&m->list)))
		listing_forget(m, l);
}

void listing_memory_drop(struct listing_memory *m, struct node *dir)
{
	if (node_listing(dir))
		listing_forget(m, node_listing(dir));
}

bool listing_memory_put(struct listing_memory *m, struct node *dir, struct listing *l)
{
	/* Asked for before our last change there was answered: it may not have it. */
	if ((dir->changed && l->stamp <= dir->changed) || !node_more(dir))
		return false;
	listing_memory_drop(m, dir);
	dir->more->listing = listing_ref(l);
	l->dir = node_ref(dir);
	TAILQ_INSERT_TAIL(&m->list, l, link);
	m->entries += listing_cost(l);
	m->ahead += l->ahead;
	while (m->entries > LISTING_ENTRIES_MAX && TAILQ_FIRST(&m->list) != l)
		listing_forget(m, TAILQ_FIRST(&m->list));
	return true;
}

struct listing *listing_memory_get(const struct listing_memory *m, const struct node *dir, uint64_t now_us)
{
	struct listing *l = node_listing(dir);

	(void)m;
	return l && now_us - l->fetched_us < LISTING_KEEP_US ? l : NULL;
}

void listing_memory_doubt(struct listing_memory *m, struct node *dir, const char *name)
{
	if (node_listing(dir) && !listing_doubt(node_listing(dir), name))
		listing_memory_drop(m, dir);
}

bool listing_memory_use(struct listing_memory *m, struct listing *l)
{
	bool first = l->ahead;

	l->ahead = false;
	if (first && l->dir)
		m->ahead--;
	return first;
}

unsigned listing_memory_expire(struct listing_memory *m, uint64_t now_us, uint64_t *next_us)
{
	unsigned unused = 0;
	struct listing *l;

	while ((l = TAILQ_FIRST(&m->list)) && now_us - l->fetched_us >= LISTING_KEEP_US) {
		unused += l->ahead;
		listing_forget(m, l);
	}
	*next_us = l ? l->fetched_us + LISTING_KEEP_US : 0;
	return unused;
}

enum listing_answer listing_memory_look_up(const struct listing_memory *m, const struct node *dir, const char *name,
					   uint64_t now_us, struct listing **l, uint32_t *index)
{
	*l = listing_memory_get(m, dir, now_us);
	if (!*l)
		return LISTING_UNKNOWN;
	if (!listing_find(*l, name, strlen(name), index))
		return (*l)->whole ? LISTING_ABSENT : LISTING_UNKNOWN;
	return (*l)->slots[*index].doubted || !(*l)->slots[*index].node ? LISTING_UNKNOWN : LISTING_FOUND;
}
