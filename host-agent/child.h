/* SPDX-License-Identifier: MIT */
/*
 * child: the programs that are run: `ssh -G` and systemctl, which are read to their end, and proxies, whose stdin and
 * stdout are the connection. Everything here may block and is for worker threads and commands, except
 * child_end_later().
 */
#ifndef HOMEPORT_CHILD_H
#define HOMEPORT_CHILD_H

#include <stddef.h>
#include <sys/types.h>

struct cancel;

/* More than a program run here has any reason to print. */
#define CHILD_OUTPUT_MAX (256u << 10)

struct child {
	pid_t pid; /* 0: none */
	int fd;    /* its stdout, or for a proxy the socket that is its stdin and stdout */
	int err;   /* its stderr; -1: the same as ours */
};

struct child_output {
	char *out, *err; /* NUL-terminated; the caller frees both */
	size_t out_len;
	int status; /* as of waitpid() */
};

/* Starts argv[0], found in PATH, with stdin from /dev/null. Returns 0 or a negative errno. */
int child_start(const char *const argv[], struct child *child);

/* The same with one socket as stdin and stdout. */
int child_start_proxy(const char *const argv[], struct child *child);

/*
 * Reads until both pipes are at their end and the child has ended; then there is no child any more. Without a cancel
 * (NULL) nobody gives up before the time is over. Returns 0, -ETIMEDOUT, -ECANCELED, -EFBIG or another negative errno,
 * after which the child was killed.
 */
int child_collect(struct child *child, struct cancel *cancel, int timeout_ms, struct child_output *output);

/* Closes its descriptors, asks it to end, insists after a second, and reaps it. Fine when there is none. */
void child_end(struct child *child);

/*
 * The same without waiting, for the loop: a thread of its own does it, and gives the child a moment first. A proxy sees
 * that its socket is closed, and passes on what it was given last, such as the GOODBYE of a session.
 */
void child_end_later(struct child *child);

/* Waits until those of child_end_later() have ended, or were asked to: 400 ms at most. exit() does it too. */
void child_end_all(void);

#endif
