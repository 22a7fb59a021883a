/* SPDX-License-Identifier: MIT */
/*
 * Which shares a mount has, and where in its tree they lie; at first, and when the host changes them while programs
 * are in it.
 *
 * Theory of operation. Nodes and requests name a share by its slot (its index). One that is not wanted any more is
 * dropped: it keeps its slot, its nodes answer ESTALE, and when the same point is wanted again it is that share again.
 * When there is no new slot left, one is used again whose share was dropped and of which the kernel knows no node any
 * more, as it soon does not where nobody stands in it. The tree of names (graft.h) is made anew with each change; nodes
 * that are on the way to a share point into it, so they are told, and the kernel is asked to look these names up again.
 * Nothing else is touched: open files, working folders and nodes of the shares that stay are as they were.
 */
#include <errno.h>
#include <string.h>

#include "invalidator.h"
#include "mount_recall.h"

/* ---------------------------------------------------------------------------------------------- the tree of names */

static struct graft *grafts_of(const struct mount *m)
{
	const char *points[CONTROL_MOUNTS_MAX];

	for (unsigned i = 0; i < m->share_count; i++)
		points[i] = m->shares[i]->dropped ? NULL : m->shares[i]->point;
	return graft_new(points, m->share_count);
}

static void node_leave_tree(void *ctx, struct node *n)
{
	(void)ctx;
	node_set_graft(n, NULL);
}

/*
 * Gives n and what is known of the names below it their places. The root of a share has no parent of its own here: the
 * kernel has its own idea of parents, and a root is never looked for by name.
 */
static bool node_enter_tree(struct mount *m, struct node *n, const struct graft *place)
{
	bool done = node_set_graft(n, place);

	for (const struct graft *g = place->children; g && done; g = g->next) {
		struct node *child = g->share == GRAFT_NO_SHARE ? node_by_name(m->nodes, n, g->name, strlen(g->name))
								: m->shares[g->share]->root;

		if (child)
			done = node_enter_tree(m, child, g);
	}
	return done;
}

/* The kernel looks again at each name that leads, or led, to a share. */
static void forget_names(struct mount *m, const struct node *n, const struct graft *place)
{
	for (const struct graft *g = place ? place->children : NULL; g; g = g->next) {
		const struct node *child = g->share == GRAFT_NO_SHARE
						   ? node_by_name(m->nodes, n, g->name, strlen(g->name))
						   : m->shares[g->share]->root;

		if (m->invalidator)
			invalidate_entry(m->invalidator, n->id, g->name, strlen(g->name));
		if (child)
			forget_names(m, child, g);
	}
}

/* Makes `grafts` the mount's tree. -ENOMEM: a node does not know its place, and some share is not found. */
static int tree_set(struct mount *m, struct graft *grafts)
{
	struct node *root = m->shares[0]->root;
	bool done;

	forget_names(m, root, m->grafts);
	node_table_each(m->nodes, node_leave_tree, NULL);
	graft_free(m->grafts);
	m->grafts = grafts;
	done = node_enter_tree(m, root, grafts);
	listing_memory_clear(&m->listings);
	forget_names(m, root, grafts);
	return done ? 0 : -ENOMEM;
}

/* --------------------------------------------------------------------------------------------------------- shares */

static bool is_among(unsigned slot, const unsigned *slots, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (slots[i] == slot)
			return true;
	return false;
}

static int slot_new(struct mount *m, const struct mount_share *wanted)
{
	struct share *s = m->share_count < CONTROL_MOUNTS_MAX ? share_new(m, (uint16_t)m->share_count, wanted) : NULL;

	if (!s)
		return m->share_count < CONTROL_MOUNTS_MAX ? -ENOMEM : -EINVAL;
	m->shares[m->share_count++] = s;
	s->root = node_add_root(m->nodes, s->index, NULL, NULL);
	if (!s->root)
		return -ENOMEM;
	mount_recall_root(m, s);
	return 0;
}

/* Which slots' nodes the kernel knows, or something here stands on. */
static void note_use(void *ctx, struct node *n)
{
	bool *in_use = ctx;

	if (n->share != NODE_NO_SHARE && (!(n->flags & NODE_ROOT) || n->lookups || n->refs))
		in_use[n->share] = true;
}

/* A slot for a share that is dropped as yet, and is none of `taken`. Or -ENOMEM; -EINVAL: there is none. */
static int slot_find(struct mount *m, const struct mount_share *wanted, const unsigned *taken, unsigned count)
{
	bool in_use[CONTROL_MOUNTS_MAX] = {0};
	unsigned slot = m->share_count;
	struct node *root, *old;
	int rc;

	if (slot < CONTROL_MOUNTS_MAX) {
		rc = slot_new(m, wanted);
		if (!rc)
			share_drop(m->shares[slot]);
		return rc ? rc : (int)slot;
	}
	node_table_each(m->nodes, note_use, in_use);
	for (slot = 1; slot < m->share_count; slot++)
		if (m->shares[slot]->dropped && !in_use[slot] && !is_among(slot, taken, count))
			break;
	if (slot == m->share_count)
		return -EINVAL;
	root = node_add_root(m->nodes, (uint16_t)slot, NULL, NULL);
	if (!root)
		return -ENOMEM;
	old = m->shares[slot]->root;
	rc = share_become(m->shares[slot], wanted);
	if (rc < 0) {
		node_remove_root(m->nodes, root);
		return rc;
	}
	m->shares[slot]->root = root;
	mount_recall_root_instead(m, m->shares[slot], old->id);
	node_remove_root(m->nodes, old);
	return (int)slot;
}

int mount_shares_init(struct mount *m, const struct mount_share *shares, unsigned count)
{
	struct graft *grafts;
	int rc = 0;

	for (unsigned i = 0; i < count && !rc; i++)
		rc = slot_new(m, &shares[i]);
	grafts = rc ? NULL : grafts_of(m);
	return grafts ? tree_set(m, grafts) : -ENOMEM;
}

int mount_shares_known(struct mount *m)
{
	return node_enter_tree(m, m->shares[0]->root, m->grafts) ? 0 : -ENOMEM;
}

/* Its owners are what they were: ids that were told to the kernel keep their meaning. */
static bool slot_fits(const struct share *s, const struct mount_share *wanted)
{
	return !strcmp(s->point, wanted->point) && s->ids.recorded == wanted->virtual_owners &&
	       id_map_equal(&s->ids.uids, wanted->uids) && id_map_equal(&s->ids.gids, wanted->gids);
}

static bool any_is_virtual(const struct mount *m)
{
	for (unsigned i = 0; i < m->share_count; i++)
		if (m->shares[i]->ids.recorded)
			return true;
	return false;
}

/* Finds a slot for each, or makes one, that is dropped as yet. */
static int find_slots(struct mount *m, const struct mount_share *shares, unsigned count, unsigned *slots)
{
	bool had_virtual = any_is_virtual(m);
	int slot;

	for (unsigned i = 0; i < count; i++) {
		for (slots[i] = 0; slots[i] < m->share_count; slots[i]++)
			if (slot_fits(m->shares[slots[i]], &shares[i]))
				break;
		if (slots[i] < m->share_count)
			continue;
		/* The first has the mount's root; and the kernel was told at INIT who takes set-id bits away. */
		if (i == 0 || (shares[i].virtual_owners && !had_virtual))
			return -EINVAL;
		slot = slot_find(m, &shares[i], slots, i);
		if (slot < 0)
			return slot;
		slots[i] = (unsigned)slot;
	}
	return 0;
}

int mount_set_shares(struct mount *m, const struct mount_share *shares, unsigned count, unsigned *slots)
{
	bool changed = false;
	struct graft *grafts;
	int rc = find_slots(m, shares, count, slots), under_way;

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < count; i++) {
		struct share *s = m->shares[slots[i]];

		s->writable = shares[i].writable;
		changed |= s->dropped;
		if (s->dropped)
			share_want(s);
	}
	for (unsigned i = 0; i < m->share_count; i++) {
		if (is_among(i, slots, count) || m->shares[i]->dropped)
			continue;
		share_drop(m->shares[i]);
		changed = true;
	}
	under_way = mount_settle(m);
	if (under_way < 0 || !changed)
		return under_way;
	grafts = grafts_of(m);
	rc = grafts ? tree_set(m, grafts) : -ENOMEM;
	return rc < 0 ? rc : under_way;
}
