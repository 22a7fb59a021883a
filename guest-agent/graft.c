/* SPDX-License-Identifier: MIT */
/* The tree of nested shares. See graft.h. */
#include "graft.h"

#include <stdlib.h>
#include <string.h>

static struct graft *graft_alloc(const char *name, size_t len)
{
	struct graft *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->share = GRAFT_NO_SHARE;
	g->name = strndup(name, len);
	if (!g->name) {
		free(g);
		return NULL;
	}
	return g;
}

const struct graft *graft_child(const struct graft *g, const char *name, size_t len)
{
	const struct graft *child = g ? g->children : NULL;

	while (child && (strncmp(child->name, name, len) != 0 || child->name[len] != '\0'))
		child = child->next;
	return child;
}

static struct graft *child_of(struct graft *g, const char *name, size_t len)
{
	struct graft *child = (struct graft *)graft_child(g, name, len);

	if (child)
		return child;
	child = graft_alloc(name, len);
	if (!child)
		return NULL;
	child->next = g->children;
	g->children = child;
	g->child_count++;
	return child;
}

struct graft *graft_new(const char *const *points, unsigned count)
{
	struct graft *root = graft_alloc("", 0);

	for (unsigned i = 0; root && i < count; i++) {
		struct graft *g = root;

		if (!points[i])
			continue;
		for (const char *at = points[i]; g && *at;) {
			size_t len = strcspn(at, "/");

			g = child_of(g, at, len);
			at += len + (at[len] == '/');
		}
		if (!g) {
			graft_free(root);
			return NULL;
		}
		g->share = (int)i;
	}
	return root;
}

void graft_free(struct graft *g)
{
	while (g) {
		struct graft *next = g->next;

		/* Points are a handful of names deep: recursion is bounded by their length. */
		graft_free(g->children);
		free(g->name);
		free(g);
		g = next;
	}
}
