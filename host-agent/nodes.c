/* SPDX-License-Identifier: MIT */
/*
 * Two intrusive hash tables over one kind of record: by number, and by identity. A tree of a million files is a million
 * of these, so a record is 72 bytes and a name 17 bytes and its letters, and there is no table of (parent, name): who
 * looks a name up asks the kernel, and only then which node that is. With what malloc adds and 8 to 16 bytes of the
 * tables a node costs at most 128 bytes by a name of up to 7 letters, 144 up to 23, 160 up to 39. The kernel gets back
 * what many of them took when the client has forgotten them.
 *
 * A name refers to its parent and keeps it in memory. To be sure that this ends, a node whose lookups reach zero loses
 * its names at once: two folders moved into each other on the host, each seen in the other, do not keep one another.
 */
#include "nodes.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "heap.h"
#include "sftp_wire.h"

#define TABLE_FIRST 256u
#define CHAIN_MAX   2u /* nodes a chain, on average: a pointer less in memory is worth one more look */
/* So many nodes fewer, and half of them at least: what they took is given back to the kernel. */
#define TRIM_MIN 16384u

struct node_name {
	struct node_name *next;
	struct node *parent;
	uint8_t len;
	char bytes[];
};

struct node {
	struct node *id_next, *identity_next;
	uint64_t id;
	struct node_identity identity;
	uint32_t children; /* names that refer to this node */
	uint64_t lookups;
	struct node_name *names; /* the latest first */
	uint32_t opens;
	uint8_t type, flags;
};
static_assert(sizeof(void *) != 8 || sizeof(struct node) == 72, "a record has no holes");

struct nodes {
	pthread_mutex_t lock;
	struct node **by_id, **by_identity; /* of `size` chains each, a power of two */
	size_t size, count, max;
	size_t most; /* nodes since memory was last given back */
	uint64_t last_id;
	struct node *root;
};

/* ---- the tables ---- */

static size_t hash_identity(const struct node_identity *i)
{
	uint64_t h = i->ino * 0x9e3779b97f4a7c15u ^ i->version ^ ((uint64_t)i->device << 56);

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return (size_t)(h ^ h >> 32);
}

static struct node *find_id(const struct nodes *nodes, uint64_t id)
{
	struct node *n = nodes->by_id[id & (nodes->size - 1)];

	while (n && n->id != id)
		n = n->id_next;
	return n;
}

static struct node *find_identity(const struct nodes *nodes, const struct node_identity *identity)
{
	struct node *n = nodes->by_identity[hash_identity(identity) & (nodes->size - 1)];

	while (n && !node_identity_same(&n->identity, identity))
		n = n->identity_next;
	return n;
}

static void chain(struct nodes *nodes, struct node *n)
{
	struct node **by_id = &nodes->by_id[n->id & (nodes->size - 1)];
	struct node **by_identity = &nodes->by_identity[hash_identity(&n->identity) & (nodes->size - 1)];

	n->id_next = *by_id;
	*by_id = n;
	n->identity_next = *by_identity;
	*by_identity = n;
}

static void unchain(struct nodes *nodes, struct node *n)
{
	struct node **at = &nodes->by_id[n->id & (nodes->size - 1)];

	while (*at != n)
		at = &(*at)->id_next;
	*at = n->id_next;
	at = &nodes->by_identity[hash_identity(&n->identity) & (nodes->size - 1)];
	while (*at != n)
		at = &(*at)->identity_next;
	*at = n->identity_next;
}

/* Without memory for other tables the chains just get longer. */
static void resize(struct nodes *nodes, size_t size)
{
	size_t old_size = nodes->size;
	struct node **by_id = calloc(size, sizeof(*by_id));
	struct node **by_identity = calloc(size, sizeof(*by_identity));
	struct node **old = nodes->by_id;

	if (!by_id || !by_identity) {
		free(by_id);
		free(by_identity);
		return;
	}
	free(nodes->by_identity);
	nodes->by_id = by_id;
	nodes->by_identity = by_identity;
	nodes->size = size;
	for (size_t i = 0; i < old_size; i++) {
		for (struct node *n = old[i], *next; n; n = next) {
			next = n->id_next;
			chain(nodes, n);
		}
	}
	free(old);
}

static struct node *node_new(struct nodes *nodes, const struct node_identity *identity, uint8_t type)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->id = ++nodes->last_id;
	n->identity = *identity;
	n->type = type;
	if (nodes->count >= CHAIN_MAX * nodes->size)
		resize(nodes, 2 * nodes->size);
	chain(nodes, n);
	if (++nodes->count > nodes->most)
		nodes->most = nodes->count;
	return n;
}

/* ---- names and the end of a node ---- */

static bool node_release(struct nodes *nodes, struct node *n);

static void name_drop(struct nodes *nodes, struct node_name **at)
{
	struct node_name *name = *at;

	*at = name->next;
	name->parent->children--;
	node_release(nodes, name->parent);
	free(name);
}

/*
 * Frees a node nothing holds any more; true if it did. Its names go when the client has forgotten it, so the recursion
 * through name_drop() ends after one step: a parent without lookups has no names left.
 */
static bool node_release(struct nodes *nodes, struct node *n)
{
	if (n == nodes->root || n->lookups || n->opens)
		return false;
	n->opens++; /* a folder bound into itself is its own parent: not to be freed from within the loop */
	while (n->names)
		name_drop(nodes, &n->names);
	n->opens--;
	if (n->children)
		return false;
	unchain(nodes, n);
	nodes->count--;
	free(n);
	return true;
}

static struct node_name **name_find(struct node *n, const struct node *parent, const char *bytes, size_t len)
{
	struct node_name **at = &n->names;

	while (*at && ((*at)->parent != parent || (*at)->len != len || memcmp((*at)->bytes, bytes, len) != 0))
		at = &(*at)->next;
	return at;
}

/* Makes (parent, name) the first name of n; the one not seen for longest goes when there are too many. */
static int name_set(struct nodes *nodes, struct node *n, struct node *parent, const char *bytes)
{
	size_t len = strlen(bytes);
	struct node_name **at = name_find(n, parent, bytes, len);
	struct node_name *name = *at;
	unsigned count = 0;

	assert(sftp_name_valid((const uint8_t *)bytes, len));
	if (name) {
		*at = name->next;
	} else {
		name = malloc(offsetof(struct node_name, bytes) + len);
		if (!name)
			return -ENOMEM;
		name->parent = parent;
		name->len = (uint8_t)len;
		memcpy(name->bytes, bytes, len);
		parent->children++;
	}
	name->next = n->names;
	n->names = name;
	for (at = &n->names; *at; at = &(*at)->next)
		if (++count == SFTP_NODE_NAMES && (*at)->next)
			name_drop(nodes, &(*at)->next);
	return 0;
}

/* ---- what others call ---- */

struct nodes *nodes_new(const struct node_identity *root, size_t max)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return NULL;
	pthread_mutex_init(&nodes->lock, NULL);
	nodes->max = max;
	nodes->size = TABLE_FIRST;
	nodes->by_id = calloc(nodes->size, sizeof(*nodes->by_id));
	nodes->by_identity = calloc(nodes->size, sizeof(*nodes->by_identity));
	if (nodes->by_id && nodes->by_identity)
		nodes->root = node_new(nodes, root, DT_DIR);
	if (!nodes->root) {
		nodes_free(nodes);
		return NULL;
	}
	assert(nodes->root->id == NATIVE_ROOT);
	return nodes;
}

void nodes_free(struct nodes *nodes)
{
	if (!nodes)
		return;
	for (size_t i = 0; nodes->by_id && i < nodes->size; i++) {
		for (struct node *n = nodes->by_id[i], *next; n; n = next) {
			next = n->id_next;
			for (struct node_name *name = n->names, *after; name; name = after) {
				after = name->next;
				free(name);
			}
			free(n);
		}
	}
	free(nodes->by_id);
	free(nodes->by_identity);
	pthread_mutex_destroy(&nodes->lock);
	free(nodes);
}

size_t nodes_count(struct nodes *nodes)
{
	size_t count;

	pthread_mutex_lock(&nodes->lock);
	count = nodes->count;
	pthread_mutex_unlock(&nodes->lock);
	return count;
}

/* The node of an identity, made where there is none, with one lookup more. */
static int node_of(struct nodes *nodes, const struct node_identity *identity, uint8_t type, struct node **node)
{
	struct node *n = find_identity(nodes, identity);

	if (!n) {
		if (nodes->count >= nodes->max)
			return -ENFILE;
		n = node_new(nodes, identity, type);
		if (!n)
			return -ENOMEM;
	}
	n->lookups++;
	*node = n;
	return 0;
}

static int look_up(struct nodes *nodes, uint64_t parent_id, const char *name, const struct node_identity *identity,
		   uint8_t type, uint8_t flags, uint64_t *node)
{
	struct node *parent = find_id(nodes, parent_id);
	struct node *n;
	int r;

	if (!parent)
		return -ESTALE;
	r = node_of(nodes, identity, type, &n);
	if (r < 0)
		return r;
	n->flags |= flags;
	if (n != nodes->root)
		r = name_set(nodes, n, parent, name);
	if (r < 0) {
		n->lookups--;
		node_release(nodes, n);
		return r;
	}
	*node = n->id;
	return 0;
}

int nodes_look_up(struct nodes *nodes, uint64_t parent, const char *name, const struct node_identity *identity,
		  uint8_t type, uint8_t flags, uint64_t *node)
{
	int r;

	pthread_mutex_lock(&nodes->lock);
	r = look_up(nodes, parent, name, identity, type, flags, node);
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_add_nameless(struct nodes *nodes, const struct node_identity *identity, uint8_t type, uint64_t *node)
{
	struct node *n;
	int r;

	pthread_mutex_lock(&nodes->lock);
	r = node_of(nodes, identity, type, &n);
	if (r == 0)
		*node = n->id;
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

int nodes_keep(struct nodes *nodes, const struct node_identity *identity, bool kept, uint64_t *node)
{
	struct node *n;
	int r = -ESTALE;

	pthread_mutex_lock(&nodes->lock);
	n = find_identity(nodes, identity);
	if (n && n->lookups && n != nodes->root) {
		n->flags = kept ? n->flags | NODE_KEPT : n->flags & ~NODE_KEPT;
		*node = n->id;
		r = 0;
	}
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

/* With the lock: whether it is time to give memory back, after the lock. The tables shrink at once. */
static bool shrink(struct nodes *nodes)
{
	size_t size = TABLE_FIRST;

	if (nodes->most - nodes->count < TRIM_MIN || nodes->count > nodes->most / 2)
		return false;
	while (size * CHAIN_MAX < nodes->count)
		size *= 2;
	if (size < nodes->size)
		resize(nodes, size);
	nodes->most = nodes->count;
	return true;
}

bool nodes_forget(struct nodes *nodes, uint64_t node, uint64_t lookups)
{
	struct node *n;
	bool gone = false, trim = false;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	if (n) {
		n->lookups -= lookups < n->lookups ? lookups : n->lookups;
		gone = node_release(nodes, n);
		trim = gone && shrink(nodes);
	}
	pthread_mutex_unlock(&nodes->lock);
	if (trim)
		heap_trim();
	return gone;
}

int nodes_info(struct nodes *nodes, uint64_t node, struct node_info *info)
{
	const struct node *n;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	if (n)
		*info = (struct node_info){n->identity, n->type, n->flags, n->opens};
	pthread_mutex_unlock(&nodes->lock);
	return n ? 0 : -ESTALE;
}

int nodes_open(struct nodes *nodes, uint64_t node)
{
	struct node *n;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	if (n)
		n->opens++;
	pthread_mutex_unlock(&nodes->lock);
	return n ? 0 : -ESTALE;
}

bool nodes_close(struct nodes *nodes, uint64_t node)
{
	struct node *n;
	bool gone;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	assert(n && n->opens);
	n->opens--;
	gone = node_release(nodes, n);
	pthread_mutex_unlock(&nodes->lock);
	return gone;
}

/* Names may be stale and then even go round in a circle: the length ends the walk. */
static int path_build(const struct nodes *nodes, const struct node_name *name, struct wire_buf *path)
{
	const struct node_name *at = name;
	size_t len = 0;
	uint8_t *p;

	for (; at; at = at->parent == nodes->root ? NULL : at->parent->names) {
		len += at->len + 1u;
		if (len > SFTP_NODE_PATH_MAX || (at->parent != nodes->root && !at->parent->names))
			return -ESTALE;
	}
	p = wire_buf_reserve(path, len);
	if (!p)
		return -ENOMEM;
	path->len += len;
	p += len;
	for (at = name; at; at = at->parent == nodes->root ? NULL : at->parent->names) {
		*--p = at == name ? '\0' : '/';
		p -= at->len;
		memcpy(p, at->bytes, at->len);
	}
	return 0;
}

int nodes_path(struct nodes *nodes, uint64_t node, unsigned nth, struct wire_buf *path)
{
	const struct node_name *name = NULL;
	const struct node *n;
	int r = -ESTALE;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	if (n)
		name = n->names;
	while (name && nth--)
		name = name->next;
	if (name)
		r = path_build(nodes, name, path);
	pthread_mutex_unlock(&nodes->lock);
	return r;
}

uint64_t nodes_find(struct nodes *nodes, const struct node_identity *identity)
{
	const struct node *n;
	uint64_t id;

	pthread_mutex_lock(&nodes->lock);
	n = find_identity(nodes, identity);
	/* One that is kept for those below it or for a handle alone is not the client's any more. */
	id = n && (n->lookups || n == nodes->root) ? n->id : 0;
	pthread_mutex_unlock(&nodes->lock);
	return id;
}

int nodes_name(struct nodes *nodes, uint64_t node, unsigned nth, uint64_t *parent, char name[SFTP_NAME_MAX + 1])
{
	const struct node_name *at = NULL;
	const struct node *n;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, node);
	if (n)
		at = n->names;
	while (at && nth--)
		at = at->next;
	if (at) {
		*parent = at->parent->id;
		memcpy(name, at->bytes, at->len);
		name[at->len] = '\0';
	}
	pthread_mutex_unlock(&nodes->lock);
	return at ? 0 : -ESTALE;
}

void nodes_name_remove(struct nodes *nodes, const struct node_identity *identity, uint64_t parent, const char *name)
{
	struct node *n, *folder;
	struct node_name **at;

	pthread_mutex_lock(&nodes->lock);
	n = find_identity(nodes, identity);
	folder = find_id(nodes, parent);
	if (n && folder) {
		at = name_find(n, folder, name, strlen(name));
		if (*at)
			name_drop(nodes, at);
	}
	pthread_mutex_unlock(&nodes->lock);
}

void nodes_name_add(struct nodes *nodes, const struct node_identity *identity, uint64_t parent, const char *name)
{
	struct node *n, *folder;

	pthread_mutex_lock(&nodes->lock);
	n = find_identity(nodes, identity);
	folder = find_id(nodes, parent);
	/* Without memory the name is not known: the next request answers ESTALE, and the client looks up again. */
	if (n && folder && n != nodes->root && n->lookups)
		(void)name_set(nodes, n, folder, name);
	pthread_mutex_unlock(&nodes->lock);
}
