/* SPDX-License-Identifier: MIT */
/*
 * attachment: serve's view of one attach process: it holds an SSH channel open for us, and ends when we close this.
 */
#ifndef HOMEPORT_ATTACHMENT_H
#define HOMEPORT_ATTACHMENT_H

#include "ssh_ends.h"

struct attachment {
	int fd; /* the socket to the attach process */
	struct ssh_ends ends;
};

/* Lets the attach process go; `why` is for whoever reads its stderr, NULL when all is well. NULL is fine. */
void attachment_close(struct attachment *attachment, const char *why);

#endif
