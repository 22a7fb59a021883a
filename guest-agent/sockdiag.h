/* SPDX-License-Identifier: MIT */
/*
 * sockdiag: the sockets that listen in this network namespace, asked of the kernel by netlink. Of UDP, which knows no
 * listen(2), those that are bound to a port and connected to nobody. The only file that speaks netlink.
 */
#ifndef HOMEPORT_SOCKDIAG_H
#define HOMEPORT_SOCKDIAG_H

#include <stddef.h>
#include <stdint.h>

#include "control_msg.h"

struct sockdiag;

/* What a dump found; grows as needed, kept from dump to dump. A zeroed struct is an empty set. */
struct listener_set {
	struct listener *items;
	size_t count, cap;
};

void listener_set_free(struct listener_set *set);

/* One more, all zeros; NULL: out of memory. */
struct listener *listener_set_add(struct listener_set *set);

/* Returns 0 or a negative errno. */
int sockdiag_open(struct sockdiag **out);
void sockdiag_close(struct sockdiag *d); /* NULL is fine */

/*
 * Fills the set with all that listens of one protocol (LISTENER_TCP or LISTENER_UDP), at most PORTS_LISTENERS_MAX; key,
 * pid, the owner's names and `ephemeral` are left zero, and so is every byte of padding, so that equal sets are equal
 * bytes. It waits for nobody.
 *
 * Returns in how many parts they came (between two parts listeners may come and go, and a dump of several may miss one
 * that stands), or a negative errno: -EAGAIN when the answer was cut and the question is worth repeating.
 */
int sockdiag_dump(struct sockdiag *d, uint8_t proto, struct listener_set *set);

#endif
