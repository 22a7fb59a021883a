/* SPDX-License-Identifier: MIT */
/* See ssh_args.h. Of an option given twice ssh takes the first: what must hold is added before the request. */
#include "ssh_args.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

struct ssh_request ssh_args_request(const struct config_ssh *ssh, const char *options[CONFIG_SSH_OPTIONS_MAX + 1])
{
	for (size_t i = 0; i < ssh->option_count; i++)
		options[i] = ssh->options[i];
	options[ssh->option_count] = NULL;
	return (struct ssh_request){
		.destination = ssh->host,
		.config_file = ssh->config_file.path,
		.port = ssh->port,
		.user = ssh->user,
		.identity_file = ssh->identity_file.path,
		.options = options,
	};
}

void ssh_args_add(struct ssh_args *args, const char *word, const char *value)
{
	assert(args->argc + 2 < SSH_ARGS_MAX);
	args->argv[args->argc++] = word;
	if (value)
		args->argv[args->argc++] = value;
}

int ssh_args_add_request(struct ssh_args *args, const struct ssh_request *request)
{
	if (request->config_file)
		ssh_args_add(args, "-F", request->config_file);
	if (request->port) {
		snprintf(args->port, sizeof(args->port), "%u", request->port);
		ssh_args_add(args, "-p", args->port);
	}
	if (request->user)
		ssh_args_add(args, "-l", request->user);
	if (request->identity_file)
		ssh_args_add(args, "-i", request->identity_file);
	for (size_t i = 0; request->options && request->options[i]; i++) {
		if (i == SSH_ARGS_OPTIONS_MAX)
			return -E2BIG;
		ssh_args_add(args, "-o", request->options[i]);
	}
	ssh_args_add(args, "--", request->destination);
	return 0;
}
