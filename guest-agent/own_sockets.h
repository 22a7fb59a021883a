/* SPDX-License-Identifier: MIT */
/* own_sockets: which listening sockets of this process are none of the guest's ports, whichever host asks for these. */
#ifndef HOMEPORT_OWN_SOCKETS_H
#define HOMEPORT_OWN_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

/* By inode. The oldest is forgotten when there are more than OWN_SOCKETS_MAX. */
void own_sockets_add(uint64_t inode);

/* It was closed. What knows of it from before still may for a while, so it is one of ours for OWN_SOCKETS_US more. */
void own_sockets_closed(uint64_t inode);

bool own_sockets_has(uint64_t inode);

#endif
