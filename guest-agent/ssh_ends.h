/* SPDX-License-Identifier: MIT */
/* ssh_ends: the two ends of an SSH connection, as sshd names them to what it runs. */
#ifndef HOMEPORT_SSH_ENDS_H
#define HOMEPORT_SSH_ENDS_H

#include <stdbool.h>

#include "sock_address.h"

struct ssh_ends {
	struct sock_address client, server; /* with their ports; len 0 where there is none */
};

/* Reads SSH_CONNECTION (sshd(8)): client address, client port, server address, server port. False, and neither has a
 * length, when that is not what it says, as with an address of a scope. */
bool ssh_ends_read(const char *connection, struct ssh_ends *ends);

#endif
