/* SPDX-License-Identifier: MIT */
/* See guest_command.h. */
#include "guest_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bring.h"
#include "config.h"
#include "loop.h"
#include "ssh_args.h"

int guest_command_begin(struct guest_command *g, const struct config *config, const char *words,
			const struct link_events *events, void *ctx)
{
	const char *options[CONFIG_SSH_OPTIONS_MAX + 1];
	struct link_params params = {
		.ssh = ssh_args_request(&config->ssh, options),
		.host_key = config->ssh.host_key,
	};
	char *command = NULL;

	*g = (struct guest_command){0};
	if (!config->guest_command) {
		guest_builds_find(&g->builds);
		params.builds = &g->builds;
		command = bring_command(&g->builds, words);
	} else if (asprintf(&command, "exec %s %s", config->guest_command, words) < 0) {
		command = NULL;
	}
	params.command = command;
	g->loop = loop_new();
	if (command && g->loop)
		g->link = link_new(g->loop, &params, events, ctx);
	free(command);
	return g->link ? 0 : -ENOMEM;
}

void guest_command_run(struct guest_command *g)
{
	link_start(g->link);
	loop_run(g->loop);
}

void guest_command_end(struct guest_command *g)
{
	link_free(g->link);
	if (g->loop)
		loop_free(g->loop);
	guest_builds_close(&g->builds);
}
