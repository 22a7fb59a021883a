/* SPDX-License-Identifier: MIT */
/* attach: what sshd runs for each connection of the host. */
#ifndef HOMEPORT_ATTACH_H
#define HOMEPORT_ATTACH_H

/*
 * Hands stdin and stdout to the running serve of this build, which it starts where none runs, and stays until serve has
 * done with them. `instance` names the host (NULL: unknown): what agents of other builds hold for it they give up
 * first. Returns the exit status.
 */
int attach_run(const char *instance);

#endif
