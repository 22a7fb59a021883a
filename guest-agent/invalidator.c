/* SPDX-License-Identifier: MIT */
/*
 * The invalidator thread. It owns its copy of the descriptor and its queue; the loop's functions (invalidate_…) run on
 * the loop's thread and share only the queue and the atomics with it. See invalidator.h.
 */
#include "invalidator.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "handoff.h"

/* Newer than the linux/fuse.h of Debian 12. */
#define NOTIFY_INC_EPOCH 8         /* protocol 7.44, Linux 6.16 */
#define EXPIRE_ONLY      (1u << 0) /* protocol 7.38, Linux 6.2 */
#define MINOR_INC_EPOCH  44u
#define MINOR_EXPIRE     38u
#define SEEN_MAX         256u /* remembered of one batch, to skip what was just told */

enum item_kind { ITEM_INODE, ITEM_ANSWER, ITEM_ENTRY, ITEM_ALL };

struct item {
	struct handoff_item link; /* first */
	enum item_kind kind;
	uint64_t node;
	int64_t offset, length; /* INODE */
	uint64_t unique;        /* ANSWER: of the request that waits for it */
	size_t name_len;
	char name[];
};

struct invalidator {
	struct handoff *queue;
	int fd;
	_Atomic uint32_t minor;
	_Atomic size_t waiting;
	_Atomic bool overflown, ending;
	uint64_t seen[SEEN_MAX];
};

static void notify(struct invalidator *i, int code, void *body, size_t len, const char *name, size_t name_len)
{
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + len + (name ? name_len + 1 : 0)), .error = code};
	struct iovec v[] = {{&h, sizeof(h)}, {body, len}, {(void *)name, name ? name_len + 1 : 0}};

	/* ENOENT: the kernel does not know it, all the better. ENODEV: the mount is gone. */
	if (writev(i->fd, v, name ? 3 : body ? 2 : 1) < 0)
		return;
}

static void notify_all(struct invalidator *i)
{
	if (atomic_load(&i->minor) >= MINOR_INC_EPOCH)
		notify(i, NOTIFY_INC_EPOCH, NULL, 0, NULL, 0);
}

static void notify_entry(struct invalidator *i, const struct item *item)
{
	/* struct fuse_notify_inval_entry_out, whose padding became flags in 7.38. */
	struct {
		uint64_t parent;
		uint32_t name_len, flags;
	} out = {.parent = item->node, .name_len = (uint32_t)item->name_len, .flags = EXPIRE_ONLY};

	if (atomic_load(&i->minor) < MINOR_EXPIRE)
		return; /* it is kept a second at most; invalidating could detach what is mounted below */
	notify(i, FUSE_NOTIFY_INVAL_ENTRY, &out, sizeof(out), item->name, item->name_len);
}

static void notify_inode(struct invalidator *i, const struct item *item)
{
	struct fuse_notify_inval_inode_out out = {.ino = item->node, .off = item->offset, .len = item->length};

	notify(i, FUSE_NOTIFY_INVAL_INODE, &out, sizeof(out), NULL, 0);
}

static void answer(struct invalidator *i, uint64_t unique)
{
	const struct fuse_out_header h = {.len = sizeof(h), .unique = unique};

	/* ENOENT: nobody waits for it any more. ENODEV: the mount is gone. */
	if (write(i->fd, &h, sizeof(h)) < 0)
		return;
}

/* Whether the same was told a moment ago, in this batch. Entries always differ by name: not remembered. */
static bool just_told(struct invalidator *i, const struct item *item)
{
	uint64_t *slot = &i->seen[item->node % SEEN_MAX];

	if (item->kind != ITEM_INODE || item->offset != 0 || item->length != 0)
		return false;
	if (*slot == item->node)
		return true;
	*slot = item->node;
	return false;
}

static void tell(struct invalidator *i, const struct item *item)
{
	if (atomic_load(&i->ending) || just_told(i, item))
		return;
	switch (item->kind) {
	case ITEM_INODE:
		notify_inode(i, item);
		break;
	case ITEM_ANSWER:
		notify_inode(i, item);
		answer(i, item->unique);
		break;
	case ITEM_ENTRY:
		notify_entry(i, item);
		break;
	case ITEM_ALL:
		notify_all(i);
		break;
	}
}

static void *invalidator_run(void *arg)
{
	struct invalidator *i = arg;
	struct handoff_item *next;

	while ((next = handoff_wait(i->queue))) {
		struct item *item = (struct item *)next;

		tell(i, item);
		free(item);
		if (atomic_fetch_sub(&i->waiting, 1) == 1) {
			/* The queue ran empty: a new batch begins. */
			memset(i->seen, 0, sizeof(i->seen));
			if (atomic_exchange(&i->overflown, false) && !atomic_load(&i->ending))
				notify_all(i);
		}
	}
	close(i->fd);
	handoff_free(i->queue);
	free(i);
	return NULL;
}

struct invalidator *invalidator_new(int fuse_fd)
{
	struct invalidator *i = calloc(1, sizeof(*i));
	pthread_t thread;

	if (!i)
		return NULL;
	i->fd = fcntl(fuse_fd, F_DUPFD_CLOEXEC, 3);
	i->queue = handoff_new();
	if (i->fd < 0 || !i->queue || pthread_create(&thread, NULL, invalidator_run, i) != 0) {
		if (i->fd >= 0)
			close(i->fd);
		handoff_free(i->queue);
		free(i);
		return NULL;
	}
	pthread_detach(thread);
	return i;
}

void invalidator_set_minor(struct invalidator *i, uint32_t minor)
{
	atomic_store(&i->minor, minor);
}

void invalidator_end(struct invalidator *i)
{
	if (!i)
		return;
	atomic_store(&i->ending, true);
	/* The last the loop does with it: the thread frees it. */
	handoff_close(i->queue);
}

static bool queue(struct invalidator *i, const struct item *what, const char *name, size_t name_len)
{
	struct item *item = malloc(sizeof(*item) + name_len + 1);

	if (!item)
		return false;
	*item = *what;
	if (name_len)
		memcpy(item->name, name, name_len);
	item->name[name_len] = '\0';
	item->name_len = name_len;
	atomic_fetch_add(&i->waiting, 1);
	handoff_push(i->queue, &item->link);
	return true;
}

static void push(struct invalidator *i, const struct item *what, const char *name, size_t name_len)
{
	if (!i)
		return;
	if (atomic_load(&i->waiting) >= INVALIDATOR_MAX || !queue(i, what, name, name_len))
		atomic_store(&i->overflown, true);
}

void invalidate_node(struct invalidator *i, uint64_t node)
{
	push(i, &(struct item){.kind = ITEM_INODE, .node = node}, NULL, 0);
}

/* Beyond INVALIDATOR_MAX too: each is of a caller that waits. */
bool invalidate_node_and_answer(struct invalidator *i, uint64_t node, uint64_t unique)
{
	return queue(i, &(struct item){.kind = ITEM_ANSWER, .node = node, .unique = unique}, NULL, 0);
}

void invalidate_range(struct invalidator *i, uint64_t node, uint64_t offset, uint64_t length)
{
	push(i,
	     &(struct item){.kind = ITEM_INODE,
			    .node = node,
			    .offset = (int64_t)(offset & INT64_MAX),
			    .length = (int64_t)(length & INT64_MAX)},
	     NULL, 0);
}

void invalidate_entry(struct invalidator *i, uint64_t parent, const char *name, size_t len)
{
	push(i, &(struct item){.kind = ITEM_ENTRY, .node = parent}, name, len);
}

void invalidate_all(struct invalidator *i)
{
	push(i, &(struct item){.kind = ITEM_ALL}, NULL, 0);
}
