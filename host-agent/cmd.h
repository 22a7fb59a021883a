/* SPDX-License-Identifier: MIT */
/* cmd: the commands of `homeport`, and what they have in common. Each returns the program's exit status. */
#ifndef HOMEPORT_CMD_H
#define HOMEPORT_CMD_H

#include <stddef.h>

#include "runtime_dir.h"

struct config;
struct desired;
struct options;

enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_RUNNING = 3,
	EXIT_NOT_CONNECTED = 4,
};

/* argv is the whole command line, and is changed: `up` starts `run` with the same words. */
int cmd_up(const struct options *options, char **argv);
int cmd_run(const struct options *options);
int cmd_down(const struct options *options);
int cmd_status(const struct options *options);
int cmd_ports(const struct options *options);
int cmd_events(const struct options *options);
int cmd_logs(const struct options *options);
int cmd_reload(const struct options *options);
int cmd_change(const struct options *options); /* umount, forward, unforward */
int cmd_mount(const struct options *options);
int cmd_enable(const struct options *options);
int cmd_disable(const struct options *options);
int cmd_guest(const struct options *options); /* guest install, guest uninstall */
int cmd_shell(const struct options *options);
int cmd_doctor(const struct options *options);
int cmd_top(const struct options *options);

/* argv is the words behind `homeport complete`. */
int cmd_complete(int argc, char **argv);

/* Prints "homeport: ..." to stderr and returns the status. */
int cmd_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The sessions that run. */
struct cmd_running {
	size_t count;
	char name[RUNTIME_NAME_MAX + 1]; /* of the only one */
	char all[256];                   /* "a, b", for a message */
};
void cmd_running(struct cmd_running *running);

/*
 * The desired state of a command line, its paths looked at. EXIT_DONE, and desired_clear() frees it; or the exit
 * status. What is wrong, and what is only odd, was printed.
 */
int cmd_desire(const struct options *options, struct desired *desired);

/*
 * What the running agent wants, for the caller to free. NULL: it does not say, or not in a form that is understood
 * here; *rc is what ctl_ask() returned.
 */
struct config *cmd_running_config(const struct runtime_dir *dir, int *rc);

/*
 * Finds the session a command is about: the one named, or the only one that runs. EXIT_DONE and *dir is filled in, or
 * the exit status, with the reason printed.
 */
int cmd_session(const struct options *options, struct runtime_dir *dir);

/* Turns what ctl_ask() returned into an exit status; a negative errno is printed. */
int cmd_asked(const struct options *options, const struct runtime_dir *dir, int rc);

#endif
