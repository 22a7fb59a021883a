/* SPDX-License-Identifier: MIT */
/* chan_fd: a chan of two descriptors (pipes, a socket, a terminal line). */
#ifndef HOMEPORT_CHAN_FD_H
#define HOMEPORT_CHAN_FD_H

#include "chan.h"

struct loop;

/*
 * Both descriptors become the chan's, which makes them non-blocking; they may be the same one. The process must ignore
 * SIGPIPE. NULL (both closed) when out of memory or when a descriptor cannot be watched.
 */
struct chan *chan_fd_new(struct loop *loop, int rfd, int wfd);

#endif
