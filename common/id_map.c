/* SPDX-License-Identifier: MIT */
/* Ranges of ids. See id_map.h. */
#include "id_map.h"

#include <errno.h>
#include <string.h>

static bool overlap(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count)
{
	return a < b ? b - a < a_count : a - b < b_count;
}

int id_map_add(struct id_map *map, const struct id_range *range)
{
	if (range->count == 0)
		return -EINVAL;
	if (range->host > ID_MOST || range->guest > ID_MOST || range->count - 1 > ID_MOST - range->host ||
	    range->count - 1 > ID_MOST - range->guest)
		return -ERANGE;
	for (uint32_t i = 0; i < map->count; i++) {
		const struct id_range *other = &map->ranges[i];

		if (overlap(range->host, range->count, other->host, other->count) ||
		    overlap(range->guest, range->count, other->guest, other->count))
			return -EEXIST;
	}
	if (map->count == ID_RANGES_MAX)
		return -ENOSPC;
	map->ranges[map->count++] = *range;
	return 0;
}

bool id_map_find(const struct id_map *map, enum id_way way, uint32_t id, uint32_t *out)
{
	for (uint32_t i = 0; i < map->count; i++) {
		const struct id_range *r = &map->ranges[i];
		uint32_t from = way == ID_TO_GUEST ? r->host : r->guest, to = way == ID_TO_GUEST ? r->guest : r->host;

		if (id >= from && id - from < r->count) {
			*out = to + (id - from);
			return true;
		}
	}
	return false;
}

bool id_map_equal(const struct id_map *a, const struct id_map *b)
{
	uint32_t count = a ? a->count : 0;

	return count == (b ? b->count : 0) && (count == 0 || !memcmp(a->ranges, b->ranges, count * sizeof(*a->ranges)));
}
