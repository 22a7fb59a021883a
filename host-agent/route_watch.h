/* SPDX-License-Identifier: MIT */
/* route_watch: tells when the network may have come back: a route or an address appeared. */
#ifndef HOMEPORT_ROUTE_WATCH_H
#define HOMEPORT_ROUTE_WATCH_H

struct loop;
struct route_watch;

/* Calls cb once for each burst of changes, from the loop. NULL: out of memory, or the kernel lets nobody listen (then
 * the pauses between attempts are all there is). cb may free the watch. */
struct route_watch *route_watch_new(struct loop *loop, void (*cb)(void *ctx), void *ctx);
void route_watch_free(struct route_watch *w); /* NULL is fine */

#endif
