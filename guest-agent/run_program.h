/* SPDX-License-Identifier: MIT */
/* run_program: a program of the system's, run to its end. It blocks: for commands, never for the agent. */
#ifndef HOMEPORT_RUN_PROGRAM_H
#define HOMEPORT_RUN_PROGRAM_H

#include <stddef.h>

#define RUN_PROGRAM_SAID 16384
#define RUN_PROGRAM_NONE 127

/*
 * With nothing on stdin and no terminal. Its exit status (128 + the signal that ended it; RUN_PROGRAM_NONE: it could
 * not be run), or a negative errno. `said`, of RUN_PROGRAM_SAID bytes, is the beginning of what it wrote to stdout and
 * stderr.
 */
int run_program(const char *const argv[], char *said);

/* The same of one that may hang: what has not closed stdout and stderr in so many milliseconds is killed, -ETIMEDOUT.
 */
int run_program_within(int timeout_ms, const char *const argv[], char *said);

#endif
