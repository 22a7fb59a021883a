/* SPDX-License-Identifier: MIT */
/* ssh_args: the words of a command line of ssh(1), for those who run the user's own. Pure. */
#ifndef HOMEPORT_SSH_ARGS_H
#define HOMEPORT_SSH_ARGS_H

#include <stddef.h>

#include "config.h"
#include "ssh_config.h"

#define SSH_ARGS_OPTIONS_MAX 64u
#define SSH_ARGS_MAX         (2 * SSH_ARGS_OPTIONS_MAX + 40)

/* What a session's ssh is asked with. It points into both: `options` gets those of the configuration, and a NULL. */
struct ssh_request ssh_args_request(const struct config_ssh *ssh, const char *options[CONFIG_SSH_OPTIONS_MAX + 1]);

/* Zeroed, it is empty. The words stay their owners'; argv ends with NULL. */
struct ssh_args {
	const char *argv[SSH_ARGS_MAX];
	size_t argc;
	char port[16];
};

/* Appends a word and, unless it is NULL, another. There is room for 38 besides those of a request. */
void ssh_args_add(struct ssh_args *args, const char *word, const char *value);

/* Appends a request's options, "--" and its destination. 0, or -E2BIG: it has too many options. */
int ssh_args_add_request(struct ssh_args *args, const struct ssh_request *request);

#endif
