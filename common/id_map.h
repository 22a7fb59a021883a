/* SPDX-License-Identifier: MIT */
/*
 * id_map: which numbers of users, or of groups, of the host are which of the guest (`uidMap`, `gidMap`): ranges that
 * lead both ways, since no number stands in two of them on the same side. Pure.
 */
#ifndef HOMEPORT_ID_MAP_H
#define HOMEPORT_ID_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "bounds.h"

#define ID_MOST 0xfffffffeu /* 2^32 - 1 is nobody's: chown(2) leaves alone what it stands for */

struct id_range {
	uint32_t host, guest; /* the first */
	uint32_t count;
};

struct id_map {
	uint32_t count;
	struct id_range ranges[ID_RANGES_MAX];
};

enum id_way { ID_TO_GUEST, ID_TO_HOST };

/*
 * Adds a range. 0; -EINVAL: it is empty; -ERANGE: it goes beyond ID_MOST; -EEXIST: it shares numbers of the host or of
 * the guest with one that is there; -ENOSPC: there are ID_RANGES_MAX.
 */
int id_map_add(struct id_map *map, const struct id_range *range);

/* The number on the other side in *out; false: the map does not have it. */
bool id_map_find(const struct id_map *map, enum id_way way, uint32_t id, uint32_t *out);

/* The same ranges in the same order. NULL is an empty map. */
bool id_map_equal(const struct id_map *a, const struct id_map *b);

#endif
