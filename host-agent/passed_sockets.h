/* SPDX-License-Identifier: MIT */
/*
 * passed_sockets: listening sockets that a service manager opened for this process, at ports its user may not listen
 * on: the protocol of sd_listen_fds(3), without its library (two variables and a range of descriptors).
 */
#ifndef HOMEPORT_PASSED_SOCKETS_H
#define HOMEPORT_PASSED_SOCKETS_H

#include <stddef.h>

struct sock_address;

/*
 * Takes what was passed, before anything is executed that would inherit it. What is no listening TCP socket, and what
 * is one too many, is closed with a line in the log.
 */
void passed_sockets_init(void);

/* Walks them, cursor from 0 on: a descriptor that stays theirs, and where it listens; -1 at the end. */
int passed_sockets_next(size_t *cursor, struct sock_address *at);

#endif
