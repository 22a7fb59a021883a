/* SPDX-License-Identifier: MIT */
/*
 * keepers: open files beyond what one table of descriptors takes. What is kept is the open file description itself, so
 * it stays what it is whatever becomes of the file's names and rights, and of where it stands and what it was opened
 * for. Not for threads to share: the caller locks.
 */
#ifndef HOMEPORT_KEEPERS_H
#define HOMEPORT_KEEPERS_H

#include <stddef.h>

struct keepers;

/* Where a description is kept; keeper is -1 where it is not. */
struct kept {
	int keeper, fd;
};
#define KEPT_NOWHERE ((struct kept){-1, -1})

/* At most `max` keepers of `each` descriptions, started when they are needed. NULL: no memory. */
struct keepers *keepers_new(size_t max, size_t each);

/* Closes all that is kept. NULL is fine. */
void keepers_free(struct keepers *all);

/* Keeps what fd stands for; fd stays the caller's. -EMFILE: every keeper is full; or why there is none. */
int keepers_keep(struct keepers *all, int fd, struct kept *kept);

/* A new descriptor of it, or a negative errno. It is kept on. */
int keepers_lend(struct keepers *all, const struct kept *kept);

/* It is kept no more, soon. */
void keepers_drop(struct keepers *all, struct kept *kept);

#endif
