/* SPDX-License-Identifier: MIT */
/*
 * fuse_session: the kernel's side of a mount: libfuse's session on a mounted /dev/fuse, watched by the loop.
 */
#ifndef HOMEPORT_FUSE_SESSION_H
#define HOMEPORT_FUSE_SESSION_H

struct mount;

/* Serves the mount from the descriptor, which becomes the session's (also on failure). 0 or a negative errno. */
int session_start(struct mount *m, int fd);

/* Ends the session; requests without an answer must have been answered. Not from inside its own requests. */
void session_end(struct mount *m);

#endif
