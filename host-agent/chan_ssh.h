/* SPDX-License-Identifier: MIT */
/* chan_ssh: a chan whose far end is a command in the guest, over one channel of one SSH connection. */
#ifndef HOMEPORT_CHAN_SSH_H
#define HOMEPORT_CHAN_SSH_H

#include "link_error.h"

struct chan;
struct loop;
struct ssh_login;

#define CHAN_SSH_LINE 512

/* How a chan ended, for one who does not own it: both hold a reference. Kind NONE until then. */
struct chan_ssh_outcome {
	unsigned refs;
	struct link_error error;
	int exit_status;               /* of the command; -1: not told (yet) */
	char last_line[CHAN_SSH_LINE]; /* of what it wrote to stderr so far, printable */
};
void chan_ssh_outcome_unref(struct chan_ssh_outcome *outcome); /* NULL is fine */

/*
 * The chan, without an owner yet. The login is the chan's from here on, also on failure (NULL: out of memory or
 * descriptors). *outcome gets a reference of the caller's.
 */
struct chan *chan_ssh_new(struct loop *loop, struct ssh_login *login, struct chan_ssh_outcome **outcome);

#endif
