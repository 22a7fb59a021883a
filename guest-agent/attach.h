/* SPDX-License-Identifier: MIT */
/* attach: what sshd runs for each connection of the host. */
#ifndef HOMEPORT_ATTACH_H
#define HOMEPORT_ATTACH_H

/* Hands stdin and stdout to the running serve, which it starts where none runs, and stays until serve has done with
 * them. Returns the exit status. */
int attach_run(void);

#endif
