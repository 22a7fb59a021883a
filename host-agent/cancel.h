/* SPDX-License-Identifier: MIT */
/*
 * cancel: how the loop tells a worker thread that its result is not wanted any more. The worker polls cancel_fd() with
 * whatever it waits for; while a library waits for it on a socket, the socket is shut down under it. Any thread.
 */
#ifndef HOMEPORT_CANCEL_H
#define HOMEPORT_CANCEL_H

#include <stdbool.h>

struct cancel;

/* NULL when memory or an eventfd cannot be had. One reference is the caller's. */
struct cancel *cancel_new(void);
struct cancel *cancel_ref(struct cancel *c);
void cancel_unref(struct cancel *c); /* NULL is fine */

/* Gives up, once and for all. */
void cancel_now(struct cancel *c);
bool cancel_is_set(struct cancel *c);

/* Readable once given up; it stays the cancel's. */
int cancel_fd(const struct cancel *c);

/*
 * The socket somebody waits on: cancel_now() shuts it down (at once, if it was called before). -1 takes it back, which
 * must be done before the descriptor is closed.
 */
void cancel_guard_socket(struct cancel *c, int fd);

#endif
