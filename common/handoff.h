/* SPDX-License-Identifier: MIT */
/*
 * handoff: the one way work crosses from one thread to another. A queue of intrusive items behind a mutex, and an
 * eventfd that is readable while items wait, so that a loop can be the receiver; a thread receives by waiting.
 * First in, first out; any number of senders and receivers.
 */
#ifndef HOMEPORT_HANDOFF_H
#define HOMEPORT_HANDOFF_H

#include <stdbool.h>

struct handoff;
struct handoff_item {
	struct handoff_item *next;
};

/* NULL when memory or an eventfd cannot be had. */
struct handoff *handoff_new(void);

/* Frees the queue, which must be empty or hold only items the caller has other pointers to. NULL is fine. */
void handoff_free(struct handoff *q);

/* The eventfd to watch for reading; it stays the queue's. handoff_take_all() makes it unreadable. */
int handoff_fd(const struct handoff *q);

/* Appends; the item belongs to the receiver from here on. False (item not taken) when the queue is closed. */
bool handoff_push(struct handoff *q, struct handoff_item *item);

/* All items that wait, oldest first, linked by `next`; NULL when there are none. Never blocks. */
struct handoff_item *handoff_take_all(struct handoff *q);

/* For a receiving thread: waits for one item. NULL when the queue was closed and is empty. */
struct handoff_item *handoff_wait(struct handoff *q);

/* No push succeeds from here on; waiting threads get what is left and then NULL. */
void handoff_close(struct handoff *q);

#endif
