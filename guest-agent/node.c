/* SPDX-License-Identifier: MIT */
/*
 * The table of nodes: three hash chains through one kind of object (by the kernel's number, by the server's, by name).
 * See node.h for what a node is.
 */
#include "node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fnv.h"
#include "heap.h"

static_assert(sizeof(void *) != 8 || sizeof(struct node) == 136, "a node has no holes");

#define BUCKETS_MIN 256u
#define CHAIN_MAX   2u /* nodes a bucket, on average: three pointers less in memory are worth one more look */
/* So many nodes fewer, and half of them at least: what they took is given back to the kernel. */
#define TRIM_MIN 16384u

struct node_table {
	struct node **ids, **servers, **names;
	size_t mask, count;
	size_t most; /* nodes since memory was last given back */
	uint64_t next_id;
	node_forget_fn *forget;
	void *ctx;
	node_watch_fn *watch;
	void *watch_ctx;
};

static size_t hash_mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15u;
	return (size_t)(x ^ (x >> 32));
}

static size_t hash_id(uint64_t id)
{
	return hash_mix(id);
}

static size_t hash_server(uint16_t share, uint64_t server)
{
	return hash_mix(server ^ ((uint64_t)share << 48));
}

/* Names are short. */
static size_t hash_name(const struct node *parent, const char *name, size_t len)
{
	return hash_mix(fnv1a(FNV1A_START ^ parent->id, name, len));
}

static struct node **bucket_id(const struct node_table *t, uint64_t id)
{
	return &t->ids[hash_id(id) & t->mask];
}

static struct node **bucket_server(const struct node_table *t, uint16_t share, uint64_t server)
{
	return &t->servers[hash_server(share, server) & t->mask];
}

static struct node **bucket_name(const struct node_table *t, const struct node *parent, const char *name, size_t len)
{
	return &t->names[hash_name(parent, name, len) & t->mask];
}

static void link_server(struct node_table *t, struct node *n)
{
	struct node **head = bucket_server(t, n->share, n->server);

	n->by_server = *head;
	*head = n;
}

static void unlink_server(struct node_table *t, struct node *n)
{
	struct node **at = bucket_server(t, n->share, n->server);

	if (!n->server)
		return;
	while (*at != n)
		at = &(*at)->by_server;
	*at = n->by_server;
	n->server = 0;
}

static void link_name(struct node_table *t, struct node *n)
{
	struct node **head = bucket_name(t, n->parent, n->name, strlen(n->name));

	n->by_name = *head;
	*head = n;
}

static void unlink_name(struct node_table *t, struct node *n)
{
	struct node **at;

	if (!n->name)
		return;
	at = bucket_name(t, n->parent, n->name, strlen(n->name));
	while (*at != n)
		at = &(*at)->by_name;
	*at = n->by_name;
	free(n->name);
	n->name = NULL;
}

static void link_id(struct node_table *t, struct node *n)
{
	struct node **head = bucket_id(t, n->id);

	n->by_id = *head;
	*head = n;
}

static void unlink_id(struct node_table *t, struct node *n)
{
	struct node **at = bucket_id(t, n->id);

	while (*at != n)
		at = &(*at)->by_id;
	*at = n->by_id;
}

static bool buckets_new(struct node_table *t, size_t count)
{
	struct node **ids = calloc(count, sizeof(*ids)), **servers = calloc(count, sizeof(*servers)),
		    **names = calloc(count, sizeof(*names));

	if (!ids || !servers || !names) {
		free(ids);
		free(servers);
		free(names);
		return false;
	}
	t->ids = ids;
	t->servers = servers;
	t->names = names;
	t->mask = count - 1;
	return true;
}

static void buckets_free(struct node_table *t)
{
	free(t->ids);
	free(t->servers);
	free(t->names);
}

/* Other buckets. Without memory for them the chains just grow longer. */
static void table_resize(struct node_table *t, size_t count)
{
	struct node_table old = *t;

	if (!buckets_new(t, count))
		return;
	for (size_t i = 0; i <= old.mask; i++) {
		for (struct node *n = old.ids[i], *next; n; n = next) {
			next = n->by_id;
			link_id(t, n);
			if (n->server)
				link_server(t, n);
			if (n->name)
				link_name(t, n);
		}
	}
	buckets_free(&old);
}

struct node_table *node_table_new(node_forget_fn *forget, void *ctx)
{
	struct node_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (!buckets_new(t, BUCKETS_MIN)) {
		free(t);
		return NULL;
	}
	t->next_id = 1;
	t->forget = forget;
	t->ctx = ctx;
	return t;
}

void node_table_free(struct node_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		for (struct node *n = t->ids[i], *next; n; n = next) {
			next = n->by_id;
			free(n->more);
			free(n->name);
			free(n);
		}
	}
	buckets_free(t);
	free(t);
}

size_t node_table_count(const struct node_table *t)
{
	return t->count;
}

void node_table_each(struct node_table *t, void (*fn)(void *ctx, struct node *n), void *ctx)
{
	for (size_t i = 0; i <= t->mask; i++)
		for (struct node *n = t->ids[i]; n; n = n->by_id)
			fn(ctx, n);
}

static struct node *node_add(struct node_table *t, uint16_t share, uint16_t flags)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	if (t->count >= CHAIN_MAX * (t->mask + 1))
		table_resize(t, 2 * (t->mask + 1));
	n->id = t->next_id++;
	n->share = share;
	n->flags = flags;
	link_id(t, n);
	if (++t->count > t->most)
		t->most = t->count;
	return n;
}

/* The kernel forgets by the hundred thousand when memory is wanted. */
static void table_shrink(struct node_table *t)
{
	size_t count = BUCKETS_MIN;

	if (t->most - t->count < TRIM_MIN || t->count > t->most / 2)
		return;
	while (count * CHAIN_MAX < t->count)
		count *= 2;
	if (count <= t->mask)
		table_resize(t, count);
	t->most = t->count;
	heap_trim();
}

struct node_more *node_more(struct node *n)
{
	if (!n->more)
		n->more = calloc(1, sizeof(*n->more));
	return n->more;
}

bool node_set_graft(struct node *n, const struct graft *graft)
{
	struct node_more *more = graft ? node_more(n) : n->more;

	if (more)
		more->graft = graft;
	return more || !graft;
}

static void node_tell_watch(struct node_table *t, const struct node *n, enum node_event event)
{
	if (t->watch && n->flags & (NODE_IS_DIR | NODE_WATCHED) && n->name)
		t->watch(t->watch_ctx, n, event);
}

static void node_drop(struct node_table *t, struct node *n)
{
	node_tell_watch(t, n, NODE_GONE);
	if (n->server && n->given)
		t->forget(t->ctx, n->share, n->server, n->given);
	unlink_server(t, n);
	unlink_name(t, n);
	unlink_id(t, n);
	t->count--;
	free(n->more);
	free(n);
}

static bool node_unused(const struct node *n)
{
	return !n->lookups && !n->refs && !(n->flags & (NODE_ROOT | NODE_SYNTHETIC));
}

/* Frees the node if nothing keeps it, and then each parent that only it kept: a loop, for paths may be deep. */
static void node_settle(struct node_table *t, struct node *n)
{
	while (n && node_unused(n)) {
		struct node *parent = n->parent;

		node_drop(t, n);
		if (parent)
			parent->refs--;
		n = parent;
	}
}

void node_unref(struct node_table *t, struct node *n)
{
	if (!n)
		return;
	assert(n->refs > 0);
	n->refs--;
	node_settle(t, n);
}

void node_forget(struct node_table *t, struct node *n, uint64_t lookups)
{
	if (n->lookups < UINT32_MAX)
		n->lookups -= (uint32_t)(lookups < n->lookups ? lookups : n->lookups);
	node_settle(t, n);
	table_shrink(t);
}

void node_set_name(struct node_table *t, struct node *n, struct node *parent, const char *name, size_t len)
{
	enum node_event event = n->name ? NODE_RENAMED : NODE_NAMED;
	struct node *old = n->parent;
	char *copy;

	if (n->name && n->parent == parent && strlen(n->name) == len && memcmp(n->name, name, len) == 0)
		return;
	copy = strndup(name, len);
	unlink_name(t, n);
	n->parent = node_ref(parent);
	n->name = copy;
	if (copy)
		link_name(t, n);
	node_tell_watch(t, n, event);
	node_unref(t, old);
}

struct node *node_add_root(struct node_table *t, uint16_t share, struct node *parent, const char *name)
{
	struct node *n = node_add(t, share, NODE_ROOT | NODE_IS_DIR);

	if (n && parent)
		node_set_name(t, n, parent, name, strlen(name));
	return n;
}

void node_remove_root(struct node_table *t, struct node *root)
{
	assert(root->flags & NODE_ROOT && !root->lookups && !root->refs);
	node_drop(t, root);
}

struct node *node_add_synthetic(struct node_table *t, struct node *parent, const char *name)
{
	struct node *n = node_add(t, NODE_NO_SHARE, NODE_SYNTHETIC | NODE_IS_DIR);

	if (n)
		node_set_name(t, n, parent, name, strlen(name));
	return n;
}

void node_table_watch(struct node_table *t, node_watch_fn *watch, void *ctx)
{
	t->watch = watch;
	t->watch_ctx = ctx;
}

void node_table_continue(struct node_table *t, uint64_t first, uint64_t (*number)(void *ctx, const struct node *n),
			 void *ctx)
{
	struct node *all = NULL;

	/* Apart, since they are in their chains by these numbers: by_id is the chain of what was taken out. */
	for (size_t i = 0; i <= t->mask; i++) {
		for (struct node *n = t->ids[i], *next; n; n = next) {
			next = n->by_id;
			n->by_id = all;
			all = n;
		}
	}
	memset(t->ids, 0, (t->mask + 1) * sizeof(*t->ids));
	memset(t->names, 0, (t->mask + 1) * sizeof(*t->names));
	t->next_id = first;
	for (struct node *n = all; n; n = n->by_id) {
		uint64_t known = n->id == 1 ? 1 : number(ctx, n);

		n->id = known ? known : t->next_id++;
		if (known)
			n->lookups = UINT32_MAX; /* how often the kernel was told is not known */
	}
	for (struct node *n = all, *next; n; n = next) {
		next = n->by_id;
		link_id(t, n);
		if (n->name)
			link_name(t, n);
	}
}

struct node *node_add_known(struct node_table *t, uint64_t id, uint16_t share, bool dir)
{
	uint16_t flags = (uint16_t)((dir ? NODE_IS_DIR : 0) | (share == NODE_NO_SHARE ? NODE_SYNTHETIC : 0));
	uint64_t next = t->next_id;
	struct node *n = node_by_id(t, id) ? NULL : node_add(t, share, flags);

	if (!n)
		return NULL;
	unlink_id(t, n);
	n->id = id;
	link_id(t, n);
	t->next_id = next;
	n->lookups = UINT32_MAX;
	n->flags |= NODE_UNSURE;
	return n;
}

struct node *node_by_id(const struct node_table *t, uint64_t id)
{
	struct node *n = *bucket_id(t, id);

	while (n && n->id != id)
		n = n->by_id;
	return n;
}

struct node *node_by_server(const struct node_table *t, uint16_t share, uint64_t server)
{
	struct node *n = *bucket_server(t, share, server);

	while (n && (n->server != server || n->share != share))
		n = n->by_server;
	return n;
}

struct node *node_by_name(const struct node_table *t, const struct node *parent, const char *name, size_t len)
{
	struct node *n = *bucket_name(t, parent, name, len);

	while (n && (n->parent != parent || strncmp(n->name, name, len) != 0 || n->name[len] != '\0'))
		n = n->by_name;
	return n;
}

void node_give_back(struct node_table *t, uint16_t share, uint64_t server, uint64_t lookups)
{
	t->forget(t->ctx, share, server, lookups);
}

static int64_t time_ns(const struct sftp_time *t)
{
	/* Beyond the year 2262 it wraps: still good for comparing. */
	return (int64_t)((uint64_t)t->sec * 1000000000u + t->nsec);
}

bool node_is(const struct node *n, const struct sftp_attr *attr)
{
	int64_t btime = attr->flags & SFTP_ATTR_BTIME ? time_ns(&attr->btime) : 0;
	bool dir = (attr->mode & 0170000u) == 0040000u;

	return n->ino == attr->ino && n->dev == attr->dev && n->btime == btime && dir == !!(n->flags & NODE_IS_DIR);
}

void node_set_identity(struct node *n, const struct sftp_attr *attr)
{
	n->ino = attr->ino;
	n->dev = attr->dev;
	n->btime = attr->flags & SFTP_ATTR_BTIME ? time_ns(&attr->btime) : 0;
	if ((attr->mode & 0170000u) == 0040000u)
		n->flags |= NODE_IS_DIR;
}

void node_bind(struct node_table *t, struct node *n, uint64_t server)
{
	unlink_server(t, n);
	n->server = server;
	n->given = 0;
	link_server(t, n);
}

/* The server counted a lookup. It is rid of all but one before there are too many to count. */
static void node_given(struct node_table *t, struct node *n)
{
	if (++n->given < UINT32_MAX)
		return;
	t->forget(t->ctx, n->share, n->server, n->given - 1);
	n->given = 1;
}

/* A node of an earlier attachment that is the one now found under its name. */
static struct node *node_again(struct node_table *t, struct node *parent, const char *name, size_t len,
			       const struct sftp_attr *attr)
{
	struct node *n = node_by_name(t, parent, name, len);

	if (!n || n->server || n->flags & (NODE_STALE | NODE_SYNTHETIC | NODE_ROOT) || !node_is(n, attr))
		return NULL;
	return n;
}

struct node *node_found(struct node_table *t, struct node *parent, const char *name, size_t len, uint64_t server,
			const struct sftp_attr *attr)
{
	struct node *n = server ? node_by_server(t, parent->share, server) : NULL;

	if (!server)
		return NULL;
	if (!n) {
		n = node_again(t, parent, name, len, attr);
		if (!n) {
			n = node_add(t, parent->share, 0);
			if (!n)
				return NULL;
			node_set_identity(n, attr);
		}
		node_bind(t, n, server);
	}
	node_given(t, n);
	node_ref(n);
	if (!(n->flags & NODE_ROOT))
		node_set_name(t, n, parent, name, len);
	return n;
}

struct node *node_found_nameless(struct node_table *t, uint16_t share, uint64_t server, const struct sftp_attr *attr)
{
	struct node *n = server ? node_by_server(t, share, server) : NULL;

	if (!server)
		return NULL;
	if (!n) {
		n = node_add(t, share, 0);
		if (!n)
			return NULL;
		node_set_identity(n, attr);
		node_bind(t, n, server);
	}
	node_given(t, n);
	return node_ref(n);
}

void node_table_detach(struct node_table *t, uint16_t share)
{
	for (size_t i = 0; i <= t->mask; i++) {
		for (struct node *n = t->ids[i]; n; n = n->by_id) {
			if (n->share != share)
				continue;
			unlink_server(t, n);
			n->given = 0;
			/* Whatever happened meanwhile: the next OPEN drops the pages. Stamps start anew. */
			n->flags &= (uint16_t)~NODE_HAS_DATA;
			n->changed = 0;
		}
	}
}

struct version version_of(const struct sftp_attr *attr)
{
	return (struct version){.size = attr->size, .mtime = time_ns(&attr->mtime), .ctime = time_ns(&attr->ctime)};
}

struct version version_before(const struct sftp_change *change)
{
	return (struct version){
		.size = change->size, .mtime = time_ns(&change->mtime), .ctime = time_ns(&change->ctime)};
}

static void set_told(struct node *n, const struct version *told, uint64_t us)
{
	n->told_ms = (uint32_t)((us + 999) / 1000);
	n->told = *told;
	n->flags |= NODE_HAS_TOLD;
}

void node_tell(struct node *n, const struct sftp_attr *attr, uint64_t us)
{
	struct version now = version_of(attr);

	if (!(n->flags & NODE_UNTOLD) && n->flags & NODE_HAS_TOLD && !version_same(&now, &n->told))
		n->flags |= NODE_UNSURE;
	n->flags &= (uint16_t)~NODE_UNTOLD;
	set_told(n, &now, us);
	if (attr->flags & SFTP_ATTR_RACY)
		n->flags |= NODE_RACY;
}

void node_untold(struct node *n, bool done)
{
	n->flags &= (uint16_t) ~(NODE_UNSURE | NODE_UNTOLD);
	n->flags |= done ? NODE_UNTOLD : NODE_UNSURE;
}

/* Of some weeks ago it says "after", which has what was told then asked for once more. */
bool node_told_after(const struct node *n, uint64_t us)
{
	return n->flags & NODE_HAS_TOLD && (int32_t)(n->told_ms - (uint32_t)(us / 1000)) > 0;
}

bool node_told_later(const struct node *n, const struct sftp_attr *attr)
{
	return n->flags & NODE_HAS_TOLD && n->told.ctime > time_ns(&attr->ctime);
}

bool node_has_data_of_told(const struct node *n)
{
	return n->flags & NODE_HAS_DATA && !(n->flags & NODE_UNSURE) && version_same(&n->told, &n->more->data);
}

static bool is_told(const struct node *n, const struct version *now)
{
	return n->flags & NODE_HAS_TOLD && !(n->flags & NODE_UNSURE) && version_same(now, &n->told);
}

/*
 * Made to forget twice, the kernel would not take what it has asked for in between either, and who asked would go by
 * what it had before.
 */
bool node_open_tells(const struct node *n, const struct sftp_attr *attr)
{
	struct version now = version_of(attr);

	return !is_told(n, &now) && !(n->flags & NODE_UNTOLD);
}

struct node_opened node_opened(struct node *n, const struct sftp_attr *attr, uint64_t us)
{
	struct version now = version_of(attr);
	bool told = is_told(n, &now);
	bool had = n->flags & NODE_HAS_DATA;
	bool same = had && version_same(&now, &n->more->data) && !(n->flags & NODE_RACY);
	struct node_opened o = {.drop = !told || !same, .tell = node_open_tells(n, attr)};

	/* What a listing of before says is not told any more, as if the kernel had been told this. */
	set_told(n, &now, us);

	/* Without memory the next OPEN drops the pages once more. */
	if (node_more(n)) {
		n->more->data = now;
		n->flags |= NODE_HAS_DATA;
	}
	if (o.drop) {
		/* What is read from here on may still be of an earlier moment of the same version. */
		n->flags &= (uint16_t)~NODE_RACY;
		if (attr->flags & SFTP_ATTR_RACY)
			n->flags |= NODE_RACY;
	}
	return o;
}

void node_changed(struct node *n, const struct sftp_change *change, uint64_t stamp)
{
	struct version before = version_before(change), after = version_of(&change->after);

	if (n->flags & NODE_HAS_DATA && version_same(&before, &n->more->data))
		n->more->data = after;
	if (n->flags & NODE_HAS_TOLD && version_same(&before, &n->told))
		n->told = after;
	if (change->after.flags & SFTP_ATTR_RACY)
		n->flags |= NODE_RACY;
	node_outdated(n, stamp + 1);
}

void node_outdated(struct node *n, uint64_t stamp)
{
	if (stamp && stamp - 1 > n->changed)
		n->changed = stamp - 1;
}
