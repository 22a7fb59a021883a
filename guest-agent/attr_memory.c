/* SPDX-License-Identifier: MIT */
/* A small direct-mapped table of attributes by node. See attr_memory.h. */
#include "attr_memory.h"

#include <string.h>

void attr_memory_put(struct attr_memory *m, uint64_t node, const struct sftp_attr *attr, uint64_t now_us)
{
	unsigned slot = node % ATTR_MEMORY_SLOTS;

	m->slots[slot].node = node;
	m->slots[slot].us = now_us;
	m->slots[slot].attr = *attr;
}

bool attr_memory_get(const struct attr_memory *m, uint64_t node, uint64_t now_us, uint64_t max_us,
		     struct sftp_attr *attr, uint64_t *age_us)
{
	unsigned slot = node % ATTR_MEMORY_SLOTS;

	if (m->slots[slot].node != node || now_us - m->slots[slot].us > max_us)
		return false;
	*attr = m->slots[slot].attr;
	*age_us = now_us - m->slots[slot].us;
	return true;
}

void attr_memory_drop(struct attr_memory *m, uint64_t node)
{
	unsigned slot = node % ATTR_MEMORY_SLOTS;

	if (m->slots[slot].node == node)
		m->slots[slot].node = 0;
}

static bool is_later(const struct sftp_time *a, const struct sftp_time *b)
{
	return a->sec > b->sec || (a->sec == b->sec && a->nsec > b->nsec);
}

bool attr_memory_later(const struct attr_memory *m, uint64_t node, uint64_t now_us, uint64_t max_us,
		       struct sftp_attr *attr)
{
	struct sftp_attr later;
	uint64_t age;

	if (!attr_memory_get(m, node, now_us, max_us, &later, &age) || !is_later(&later.ctime, &attr->ctime))
		return false;
	*attr = later;
	return true;
}

void attr_memory_was_read(struct attr_memory *m, uint64_t node)
{
	const struct sftp_attr *attr = &m->slots[node % ATTR_MEMORY_SLOTS].attr;

	if (!is_later(&attr->atime, &attr->mtime) || !is_later(&attr->atime, &attr->ctime))
		attr_memory_drop(m, node);
}

void attr_memory_clear(struct attr_memory *m)
{
	memset(m, 0, sizeof(*m));
}
