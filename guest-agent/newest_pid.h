/* SPDX-License-Identifier: MIT */
/*
 * newest_pid: whether anything was started lately. The last field of /proc/loadavg is the newest process or thread of
 * our pid namespace and of those below it, in 1 us and without privileges (proc(5)). Who starts a server starts a
 * process first, mostly.
 */
#ifndef HOMEPORT_NEWEST_PID_H
#define HOMEPORT_NEWEST_PID_H

#include <stdbool.h>

struct newest_pid {
	int fd;
	long last; /* as it was when last asked */
};

/* The present one is known from now on. 0, or a negative errno where /proc does not say; then it never changes. */
int newest_pid_open(struct newest_pid *n);
void newest_pid_close(struct newest_pid *n);

/* Has something been started since it was last asked? */
bool newest_pid_changed(struct newest_pid *n);

#endif
