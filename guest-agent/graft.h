/* SPDX-License-Identifier: MIT */
/*
 * graft: where in a mount's tree its shares lie. A tree of names made once from the shares' points; a node of the mount
 * that has a share at or below one of its names points to its place here. Pure.
 */
#ifndef HOMEPORT_GRAFT_H
#define HOMEPORT_GRAFT_H

#include <stddef.h>

#define GRAFT_NO_SHARE (-1)

struct graft {
	char *name;
	int share; /* GRAFT_NO_SHARE: only on the way to one */
	struct graft *children, *next;
	unsigned child_count;
};

/* The place of the first share (point ""), with those of all others below it; those without a point (NULL) have none.
 * NULL: out of memory. */
struct graft *graft_new(const char *const *points, unsigned count);
void graft_free(struct graft *g);

/* The place named so below g (which may be NULL), or NULL. */
const struct graft *graft_child(const struct graft *g, const char *name, size_t len);

#endif
