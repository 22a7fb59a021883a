/* SPDX-License-Identifier: MIT */
/* daemonize: starts a process that outlives the command and the terminal it was typed in. */
#ifndef HOMEPORT_DAEMONIZE_H
#define HOMEPORT_DAEMONIZE_H

#include <sys/types.h>

/* Set in what was started so: somebody waits for its first word. */
#define DAEMONIZE_ENV "HOMEPORT_STARTED_BY_UP"

/*
 * Starts this very program with argv (argv[0] is only its name), in a session of its own, stdin and stdout on
 * /dev/null, stderr on log_fd, nothing else open. It is the caller's child until the caller ends. Returns its pid, or a
 * negative errno.
 */
pid_t daemonize_start(char *const argv[], int log_fd);

#endif
