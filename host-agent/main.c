/* SPDX-License-Identifier: MIT */
/*
 * homeport: the host's program. What is typed is taken apart by options.c; each command is a function that returns the
 * exit status, in a row of the table below.
 */
#include <stdio.h>

#include "cmd_config.h"
#include "cmd_sftp_server.h"
#include "options.h"

enum { EXIT_USAGE = 2 };

static int (*const handlers[COMMANDS])(const struct options *options) = {
	[COMMAND_CONFIG_CHECK] = cmd_config_check,
	[COMMAND_CONFIG_SHOW] = cmd_config_show,
};

static int run_command(const struct options *options, int argc, char **argv)
{
	if (options->command == COMMAND_SFTP_SERVER)
		return cmd_sftp_server(argc - 1, argv + 1);
	if (handlers[options->command] != NULL)
		return handlers[options->command](options);
	fprintf(stderr, "homeport: %s: not in this version\n", command_name(options->command));
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct options options;
	char why[OPTIONS_WHY_MAX];

	switch (options_parse(argc, argv, &options, why)) {
	case OPTIONS_HELP:
		options_print_help(options.command, stdout);
		return 0;
	case OPTIONS_VERSION:
		options_print_version(stdout);
		return 0;
	case OPTIONS_WRONG:
		fprintf(stderr, "homeport: %s\n", why);
		return EXIT_USAGE;
	case OPTIONS_OK:
		break;
	}
	return run_command(&options, argc, argv);
}
