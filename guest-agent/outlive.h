/* SPDX-License-Identifier: MIT */
/*
 * outlive: the ways to start serve so that it outlives the login it is started from. A session of its own is enough,
 * except where systemd-logind ends a login's processes with it (KillUserProcesses=yes): there it has to be in a scope
 * of the user's service manager, which stays for some seconds after the last login, and for ever where the user
 * lingers.
 *
 * Only there: without KillUserProcesses a process that was left behind outlives that manager as well.
 */
#ifndef HOMEPORT_OUTLIVE_H
#define HOMEPORT_OUTLIVE_H

#include <stdbool.h>

enum outlive_way {
	OUTLIVE_SCOPE,
	OUTLIVE_PLAIN, /* also where the former cannot be had */
	OUTLIVE_WAYS,
};

#define OUTLIVE_ARGV_MAX 12

/* The way to try first on this machine. May ask logind, for at most two seconds. */
enum outlive_way outlive_first(void);

/* Whether what `loginctl show-session -p KillUserProcesses --value` printed is a yes. */
bool outlive_is_yes(const char *printed);

/*
 * Fills in the command, NULL at its end, that starts serve: `self` is the path of this program, which must stay valid.
 * Returns the file to execute.
 */
const char *outlive_argv(enum outlive_way way, char *self, char *argv[OUTLIVE_ARGV_MAX]);

#endif
