/* SPDX-License-Identifier: MIT */
/* See mount_recall.h. */
#include "mount_recall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_stale.h"

/* ------------------------------------------------------------------------------------------------------ writing it */

static void write_name(struct mount *m, const struct node *n, bool renamed)
{
	struct recall_name name = {.id = n->id,
				   .ino = n->ino,
				   .btime = n->btime,
				   .dev = n->dev,
				   .name = n->name,
				   .dir = n->flags & NODE_IS_DIR};

	if (!n->parent || n->flags & NODE_ROOT)
		return;
	name.parent = n->parent->id;
	name.share = n->share == NODE_NO_SHARE ? 0 : m->shares[n->share]->root->id;
	recall_name(m->recall, &name, renamed);
}

void mount_recall_root(struct mount *m, const struct share *s)
{
	recall_name(m->recall,
		    &(struct recall_name){.id = s->root->id, .share = s->root->id, .name = s->point, .dir = true},
		    false);
}

void mount_recall_root_instead(struct mount *m, const struct share *s, uint64_t gone)
{
	recall_name_gone(m->recall, gone);
	mount_recall_root(m, s);
}

static void write_node(void *ctx, struct node *n)
{
	if (n->flags & (NODE_IS_DIR | NODE_WATCHED) && n->name)
		write_name(ctx, n, false);
}

static void rewrite(struct mount *m)
{
	recall_rewrite_begin(m->recall);
	for (unsigned i = 0; i < m->share_count; i++)
		mount_recall_root(m, m->shares[i]);
	node_table_each(m->nodes, write_node, m);
	recall_rewrite_end(m->recall);
}

static void on_node(void *ctx, const struct node *n, enum node_event event)
{
	struct mount *m = ctx;

	if (event == NODE_GONE) {
		recall_name_gone(m->recall, n->id);
		return;
	}
	write_name(m, n, event == NODE_RENAMED);
	if (recall_is_long(m->recall))
		rewrite(m);
}

void mount_recall_opened(struct mount *m, struct node *n, uint64_t handle, uint32_t flags)
{
	if (!m->recall)
		return;
	if (!(n->flags & NODE_WATCHED)) {
		n->flags |= NODE_WATCHED;
		if (n->name)
			on_node(m, n, NODE_NAMED);
	}
	recall_opened(m->recall, handle, n->id, flags);
}

void mount_recall_closed(struct mount *m, struct node *n, uint64_t handle)
{
	if (!m->recall)
		return;
	recall_closed(m->recall, handle);
	if (n->more->files || !(n->flags & NODE_WATCHED))
		return;
	n->flags &= (uint16_t)~NODE_WATCHED;
	if (n->name)
		recall_name_gone(m->recall, n->id);
}

int mount_recall_begin(struct mount *m)
{
	m->recall = recall_new();
	if (!m->recall)
		return -errno;
	rewrite(m);
	node_table_watch(m->nodes, on_node, m);
	return 0;
}

void mount_recall_end(struct mount *m)
{
	if (m->nodes)
		node_table_watch(m->nodes, NULL, NULL);
	recall_free(m->recall);
	m->recall = NULL;
	free(m->reopened);
	m->reopened = NULL;
	m->incarnation = 0;
}

/* ------------------------------------------------------------------------------------------------------- reading it */

int mount_recall_take(struct mount *m, int memory)
{
	m->recall = recall_take(memory);
	if (!m->recall)
		return -errno;
	m->incarnation = recall_incarnation(m->recall);
	return 0;
}

struct read {
	struct mount *m;
	bool failed;
	/* Of the share whose root's number is looked for. */
	const struct share *share;
	uint64_t id;
};

static void match_root(void *ctx, const struct recall_name *name, bool gone)
{
	struct read *r = ctx;

	if (gone && name->id == r->id)
		r->id = 0;
	if (!gone && !name->parent && strcmp(name->name, r->share->point) == 0)
		r->id = name->id;
}

/* The number that the root of a share of the same point had. */
static uint64_t number_of_root(void *ctx, const struct node *n)
{
	struct read *r = ctx;

	if (!(n->flags & NODE_ROOT))
		return 0;
	r->share = r->m->shares[n->share];
	r->id = 0;
	recall_each_name(r->m->recall, match_root, r);
	return r->id;
}

/* Whose root has that number; false: a share that is not wanted any more. */
static bool share_of(const struct mount *m, uint64_t root, uint16_t *share)
{
	for (unsigned i = 0; i < m->share_count && root; i++) {
		*share = m->shares[i]->index;
		if (m->shares[i]->root->id == root)
			return true;
	}
	*share = NODE_NO_SHARE;
	return !root;
}

/* First all that there are, since a parent's record may come after that of what it holds; */
static void read_number(void *ctx, const struct recall_name *name, bool gone)
{
	struct read *r = ctx;
	struct node *n = node_by_id(r->m->nodes, name->id);
	uint16_t share;

	if (gone || !name->parent || n || !share_of(r->m, name->share, &share))
		return;
	n = node_add_known(r->m->nodes, name->id, share, name->dir);
	r->failed |= !n;
	if (!n)
		return;
	n->ino = name->ino;
	n->dev = name->dev;
	n->btime = name->btime;
	if (!name->dir)
		n->flags |= NODE_WATCHED;
}

/* then their names, of which the last is the one that counts. What has gone since is found to be gone when asked for.
 */
static void read_name(void *ctx, const struct recall_name *name, bool gone)
{
	struct read *r = ctx;
	struct node *n = gone ? NULL : node_by_id(r->m->nodes, name->id);
	struct node *parent = n && !(n->flags & NODE_ROOT) ? node_by_id(r->m->nodes, name->parent) : NULL;

	if (parent)
		node_set_name(r->m->nodes, n, parent, name->name, strlen(name->name));
}

int mount_recall_names(struct mount *m)
{
	struct read r = {.m = m};

	node_table_continue(m->nodes, ((uint64_t)m->incarnation << HANDLE_BITS) + 1, number_of_root, &r);
	recall_each_name(m->recall, read_number, &r);
	recall_each_name(m->recall, read_name, &r);
	if (r.failed || mount_shares_known(m) < 0)
		return -ENOMEM;
	m->reopened = m->host_locks ? NULL : calloc(RECALL_OPENS, sizeof(struct file *));
	rewrite(m);
	node_table_watch(m->nodes, on_node, m);
	return 0;
}

const char *mount_recall_strerror(int error)
{
	switch (error) {
	case EPROTO:
		return "it is of another version of homeport-guest";
	case ENOTSUP:
		return "this version of homeport-guest agrees on something else with the kernel";
	case ENOBUFS:
		return "more was asked of it at once than it could write down";
	case EOVERFLOW:
		return "it was gone on with too often";
	default:
		return strerror(error);
	}
}
