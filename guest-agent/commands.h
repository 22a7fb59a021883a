/* SPDX-License-Identifier: MIT */
/* commands: what `homeport-guest` can be asked to do; main.c holds the table. Each returns the exit status. */
#ifndef HOMEPORT_COMMANDS_H
#define HOMEPORT_COMMANDS_H

/* Exit statuses, the same as the host's. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_RUNNING = 3,
};

/* argv[0] is the command's name; what follows is its own. */
typedef int command_fn(int argc, char **argv);

command_fn cmd_attach;
command_fn cmd_doctor;
command_fn cmd_serve;
command_fn cmd_status;

/* Prints "homeport-guest: WHAT: how it is used" to stderr and returns EXIT_USAGE. */
int command_usage(const char *name);

#endif
