/* SPDX-License-Identifier: MIT */
/* ssh_auth: logs in as the target's user, with keys alone. */
#ifndef HOMEPORT_SSH_AUTH_H
#define HOMEPORT_SSH_AUTH_H

struct link_error;
struct ssh_session_struct;
struct ssh_target;

/* Blocks: for a worker thread. fd is the session's socket. Returns 0, or a negative errno with err (kind AUTH). */
int ssh_auth_run(struct ssh_session_struct *session, int fd, const struct ssh_target *target, struct link_error *err);

#endif
