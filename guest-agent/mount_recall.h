/* SPDX-License-Identifier: MIT */
/*
 * mount_recall: what a mount writes down for the next agent (recall.h), and takes up from the one before: the
 * directories that the kernel may know and the files that are open, under the numbers it knows them by. So a working
 * folder stays one, an open file is opened again when it is used, and no lookup gives a directory another number, which
 * would detach what is mounted below. All other files are looked up again.
 *
 * A file that is open is known by its node, which is found again by name and identity as after a new attachment
 * (fuse_call.c), and by how it was opened. What was written to it and may not have come to the host is told by the next
 * write, fsync or close of each who has it open. Files whose locks are the host's are not gone on with: the locks are
 * lost.
 */
#ifndef HOMEPORT_MOUNT_RECALL_H
#define HOMEPORT_MOUNT_RECALL_H

#include "mount_priv.h"

/* From here on it writes down. 0 or a negative errno. */
int mount_recall_begin(struct mount *m);

/* It goes on with what was written down there (a descriptor, which becomes its own). 0 or a negative errno. */
int mount_recall_take(struct mount *m, int memory);

/* Knows again the names that the other one knew; the session is there. 0 or -ENOMEM. */
int mount_recall_names(struct mount *m);

/* A file was opened, or created, and closed. */
void mount_recall_opened(struct mount *m, struct node *n, uint64_t handle, uint32_t flags);
void mount_recall_closed(struct mount *m, struct node *n, uint64_t handle);

/* A share that came later; or came in the place of one whose root had the number `gone`. */
void mount_recall_root(struct mount *m, const struct share *s);
void mount_recall_root_instead(struct mount *m, const struct share *s, uint64_t gone);

/* Writes no more. */
void mount_recall_end(struct mount *m);

/* What an errno of these, or of session_adopt(), means. */
const char *mount_recall_strerror(int error);

#endif
