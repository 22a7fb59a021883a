/* SPDX-License-Identifier: MIT */
/*
 * attr_memory: the attributes that answers brought along, for the questions the kernel asks next. Pure: time is passed
 * in.
 *
 * The kernel forgets a directory's attributes when it makes a name in it, a file's when it writes or before a chown,
 * and asks anew; but the host's answer to that very request had them. A few nodes are remembered, each for as long as
 * the kernel itself may keep attributes. Whatever we are about to change is forgotten first.
 */
#ifndef HOMEPORT_ATTR_MEMORY_H
#define HOMEPORT_ATTR_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp_wire.h"

#define ATTR_MEMORY_SLOTS 128u /* the directories and files being worked on; a few KiB */

struct attr_memory {
	struct {
		uint64_t node; /* FUSE's number; 0: empty */
		uint64_t us;   /* when they were true */
		struct sftp_attr attr;
	} slots[ATTR_MEMORY_SLOTS];
};

void attr_memory_put(struct attr_memory *m, uint64_t node, const struct sftp_attr *attr, uint64_t now_us);

/* The attributes and their age, if they are at most max_us old. */
bool attr_memory_get(const struct attr_memory *m, uint64_t node, uint64_t now_us, uint64_t max_us,
		     struct sftp_attr *attr, uint64_t *age_us);

/* What is remembered, at most max_us old, in the place of attr where a change lies between them. */
bool attr_memory_later(const struct attr_memory *m, uint64_t node, uint64_t now_us, uint64_t max_us,
		       struct sftp_attr *attr);
void attr_memory_drop(struct attr_memory *m, uint64_t node);

/* The host reads it: what is remembered goes where that is the first time since a change (mount(8), relatime). */
void attr_memory_was_read(struct attr_memory *m, uint64_t node);
void attr_memory_clear(struct attr_memory *m);

#endif
