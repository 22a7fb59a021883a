/* SPDX-License-Identifier: MIT */
/*
 * fnv: FNV-1a of 64 bits (draft-eastlake-fnv-17): tells one content from another, quickly for short ones, where
 * accident changes them and no enemy.
 */
#ifndef HOMEPORT_FNV_H
#define HOMEPORT_FNV_H

#include <stddef.h>
#include <stdint.h>

#define FNV1A_START 0xcbf29ce484222325u

/* Goes on from `hash` (at first FNV1A_START) over the bytes. */
static inline uint64_t fnv1a(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *at = (const uint8_t *)data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * 0x100000001b3u;
	return hash;
}

#endif
