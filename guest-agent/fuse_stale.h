/* SPDX-License-Identifier: MIT */
/*
 * fuse_stale: requests on what an earlier agent has opened. A handle is what we told the kernel at OPEN: the object it
 * stands for, and above that the incarnation of the agent (recall.h) that opened it. What another one had
 * open is opened once more, when it is used: a directory always, a file where it is known what it was (mount_recall.h).
 * Else it is stale.
 */
#ifndef HOMEPORT_FUSE_STALE_H
#define HOMEPORT_FUSE_STALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mount;

#define HANDLE_BITS 48

/* The handle of an object of ours, and back. */
uint64_t handle_new(const struct mount *m, const void *object);
static inline void *handle_object(uint64_t handle)
{
	return (void *)(uintptr_t)(handle & ((1ull << HANDLE_BITS) - 1));
}

/*
 * A request of the kernel, before libfuse sees it. Negative: it is to be handled, perhaps by another handle than it
 * came with. 0 or an errno: that is its answer.
 */
int stale_adapt(struct mount *m, void *request, size_t len);

/* Whether a request may change something on the host, and so is not made twice. */
bool stale_modifies(uint32_t opcode);

#endif
