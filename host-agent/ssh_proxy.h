/* SPDX-License-Identifier: MIT */
/* ssh_proxy: the program that carries the connection where ssh_config names one, ProxyCommand or ProxyJump. */
#ifndef HOMEPORT_SSH_PROXY_H
#define HOMEPORT_SSH_PROXY_H

#include <stdbool.h>
#include <stddef.h>

struct child;
struct ssh_target;

/* One hop of ProxyJump: [ssh://][USER@]HOST[:PORT]. */
struct ssh_hop {
	char *user; /* NULL: not given */
	char *host;
	char *port; /* NULL: not given */
};

/* Splits `text` in place. False when there is no host. */
bool ssh_hop_parse(char *text, struct ssh_hop *hop);

/* Starts the target's proxy. Its child->fd is the connection. Returns 0 or a negative errno. */
int ssh_proxy_start(const struct ssh_target *target, struct child *child);

#endif
