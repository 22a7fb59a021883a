/* SPDX-License-Identifier: MIT */
/*
 * invalidator: the thread that tells the kernel what to forget. Notifications about entries and pages take locks that a
 * pending request may hold: from the loop they would wait for an answer that only the loop can give.
 *
 * The loop hands items over and never waits. Items alike in one batch are told once; when more than INVALIDATOR_MAX
 * wait, one epoch bump stands for all (the kernel then looks every name up again; kernels without it have forgotten
 * within MOUNT_KEEP_S anyway). Directories are expired, never invalidated: that would detach what is mounted below.
 */
#ifndef HOMEPORT_INVALIDATOR_H
#define HOMEPORT_INVALIDATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct invalidator;

#define INVALIDATOR_MAX 4096u

/* Starts the thread on a copy of /dev/fuse's descriptor. NULL: out of resources. */
struct invalidator *invalidator_new(int fuse_fd);

/* The present and coming minor version of the kernel's protocol: known after INIT. */
void invalidator_set_minor(struct invalidator *i, uint32_t minor);

/* Ends the thread when it is done; does not wait for it. NULL is fine. */
void invalidator_end(struct invalidator *i);

/* Of a node: its attributes and all its pages, or some; a name in it; everything. NULL is fine. */
void invalidate_node(struct invalidator *i, uint64_t node);
void invalidate_range(struct invalidator *i, uint64_t node, uint64_t offset, uint64_t length);

/* The same as invalidate_node(), and then answers the kernel's request of that number, whose answer has no body, with
 * success. False: out of memory; it does neither. */
bool invalidate_node_and_answer(struct invalidator *i, uint64_t node, uint64_t unique);
void invalidate_entry(struct invalidator *i, uint64_t parent, const char *name, size_t len);
void invalidate_all(struct invalidator *i);

#endif
