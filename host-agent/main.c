/* SPDX-License-Identifier: MIT */
/*
 * homeport: the host's program. What is typed is taken apart by options.c; each command is a function that returns the
 * exit status, in a row of the table below.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "cmd_config.h"
#include "cmd_sftp_server.h"
#include "heap.h"
#include "log.h"
#include "options.h"

static int (*const handlers[COMMANDS])(const struct options *options) = {
	[COMMAND_RUN] = cmd_run,
	[COMMAND_DOWN] = cmd_down,
	[COMMAND_STATUS] = cmd_status,
	[COMMAND_PORTS] = cmd_ports,
	[COMMAND_LOGS] = cmd_logs,
	[COMMAND_EVENTS] = cmd_events,
	[COMMAND_TOP] = cmd_top,
	[COMMAND_RELOAD] = cmd_reload,
	[COMMAND_MOUNT] = cmd_mount,
	[COMMAND_UMOUNT] = cmd_change,
	[COMMAND_FORWARD] = cmd_change,
	[COMMAND_UNFORWARD] = cmd_change,
	[COMMAND_ENABLE] = cmd_enable,
	[COMMAND_DISABLE] = cmd_disable,
	[COMMAND_GUEST_INSTALL] = cmd_guest,
	[COMMAND_GUEST_UNINSTALL] = cmd_guest,
	[COMMAND_SHELL] = cmd_shell,
	[COMMAND_DOCTOR] = cmd_doctor,
	[COMMAND_CONFIG_CHECK] = cmd_config_check,
	[COMMAND_CONFIG_SHOW] = cmd_config_show,
	[COMMAND_CONFIG_SCHEMA] = cmd_config_schema,
	[COMMAND_INIT] = cmd_init,
};

static int run_command(const struct options *options, char **argv)
{
	if (options->command == COMMAND_UP)
		return cmd_up(options, argv);
	return handlers[options->command](options);
}

int main(int argc, char **argv)
{
	struct options options;
	char why[OPTIONS_WHY_MAX];

	signal(SIGPIPE, SIG_IGN);
	heap_init();
	log_init("homeport", LOG_LEVEL_INFO);
	if (argc > 1 && !strcmp(argv[1], "sftp-server"))
		return cmd_sftp_server(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "complete"))
		return cmd_complete(argc - 2, argv + 2);
	switch (options_parse(argc, argv, &options, why)) {
	case OPTIONS_HELP:
		options_print_help(options.command, stdout);
		return EXIT_DONE;
	case OPTIONS_VERSION:
		options_print_version(stdout);
		return EXIT_DONE;
	case OPTIONS_WRONG:
		return cmd_fail(EXIT_USAGE, "%s", why);
	case OPTIONS_OK:
		break;
	}
	return run_command(&options, argv);
}
