/* SPDX-License-Identifier: MIT */
/* helper_spawn: ways from an agent to a helper (helper.h), and the end of a process that was started for it. */
#ifndef HOMEPORT_HELPER_SPAWN_H
#define HOMEPORT_HELPER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct helper_child;
struct loop;

enum helper_by {
	HELPER_BY_ROOT, /* we are */
	HELPER_BY_SUDO,
	HELPER_BY_USER, /* by fusermount3 */
};

/* Whether a set-user-ID program would become root for us, as sudo and fusermount3 must: not where our unit has
 * NoNewPrivileges. */
bool helper_may_gain(void);

/* Starts a helper. Its pid, with our end of its socket in *sock, which is the caller's and does not block; or a
 * negative errno, and *sock is as it was. -EPERM: not helper_may_gain(). */
pid_t helper_spawn(enum helper_by by, int *sock);

/* Connects to the one that systemd starts: our end, as above; -ENOENT, -ECONNREFUSED: there is none. */
int helper_connect(void);

/* Waits for the process and says so. NULL (no memory, no descriptor): it stays a zombie until we end. */
struct helper_child *helper_child_new(struct loop *loop, pid_t pid, void (*gone)(void *ctx), void *ctx);

/* It is waited for all the same, but nobody is told. NULL is fine. */
void helper_child_forget(struct helper_child *c);

#endif
