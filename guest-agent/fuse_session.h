/* SPDX-License-Identifier: MIT */
/*
 * fuse_session: the kernel's side of a mount: libfuse's session on a mounted /dev/fuse, watched by the loop.
 */
#ifndef HOMEPORT_FUSE_SESSION_H
#define HOMEPORT_FUSE_SESSION_H

struct mount;

/* Serves the mount from the descriptor, which becomes the session's (also on failure). 0 or a negative errno. */
int session_start(struct mount *m, int fd);

/*
 * The same of a mount that another agent has served: what the kernel agreed on with that one (m->recall) is agreed on
 * again, without the kernel. -ENOTSUP: this agent would not have agreed on that.
 */
int session_adopt(struct mount *m, int fd);

/* And then takes up what has no answer yet: once everything else is in place. 0; or -ENOBUFS: that is not all known,
 * and whoever waits for it would wait for ever. */
int session_ask_again(struct mount *m);

/* Ends the session; requests without an answer must have been answered. Not from inside its own requests. */
void session_end(struct mount *m);

#endif
