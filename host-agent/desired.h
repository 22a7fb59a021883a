/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_DESIRED_H
#define HOMEPORT_DESIRED_H

#include "config.h"
#include "host_arg.h"
#include "options.h"

/*
 * The desired state of one session: NAME.yaml, or a host, with the command line's options on top. `up` and `run` make
 * the same one of the same words. Blocks on the file system.
 */

struct desired {
	char name[SESSION_NAME_MAX + 1];
	char *file;            /* the NAME.yaml it comes from; NULL: a host was named, or a VM of Lima's */
	struct config *config; /* ssh.host is set */
};

/*
 * Makes the desired state of `up`, `run` and `config show`. 0, and desired_clear frees it; a negative errno, and each
 * thing that is wrong is in `problems`, as are warnings in both cases. Paths are not looked at: config_check_paths.
 *
 * A target is a name if the configuration folder has its file, else a host. Options go before the file: a --mount
 * replaces the mount at the same point (the first one the default mount), --port-forward rules come before the file's.
 * With --lima the target is Lima's name of a VM, and Lima's files are what NAME.yaml is otherwise.
 */
int desired_make(const struct options *options, struct problems *problems, struct desired *out);

void desired_clear(struct desired *desired);

/*
 * The session `down`, `status`, `ports` and `logs` mean by a word: what `up` would have called it. 0, or -EINVAL with a
 * sentence in `why` (ARG_WHY_MAX bytes).
 */
int desired_name(const char *target, char name[SESSION_NAME_MAX + 1], char *why);

#endif
