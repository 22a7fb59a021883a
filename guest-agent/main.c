/* SPDX-License-Identifier: MIT */
/*
 * homeport-guest: the guest's side of homeport, one static binary. `attach` is run by sshd for each connection, `serve`
 * is the agent that owns mounts and port reports and outlives connections; the others are for people.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "build_id.h"
#include "cmd_install.h"
#include "cmd_mount.h"
#include "cmd_ports.h"
#include "commands.h"
#include "heap.h"
#include "helper.h"
#include "log.h"
#include "wrap.h"

static const struct command {
	const char *name;
	command_fn *run;
	const char *usage;
	const char *does;
} commands[] = {
	{"attach", cmd_attach, "[INSTANCE]", "what the host runs through sshd: hands stdin and stdout to the agent"},
	{"serve", cmd_serve, "[-v] [--on-demand]", "the agent"},
	{"helper", cmd_helper, "", "for root: mounts for an agent, which starts it"},
	{"mount", cmd_mount, "[-o OPTIONS] MOUNTPOINT -- COMMAND...",
	 "mounts what COMMAND serves on its stdin and stdout"},
	{"ports", cmd_ports, "[--json] [--watch]", "what listens here, as the agent sees it"},
	{"doctor", cmd_doctor, "[--json] [MOUNTPOINT...]", "whether all here is as it has to be, and what to do"},
	{"status", cmd_status, "", "which hosts are there, and what is mounted for them"},
	{"install", cmd_install, "[--user NAME] [--dry-run | --yes] ...",
	 "puts this program in its place for good, as root"},
	{"uninstall", cmd_install, "[--dry-run | --yes]", "takes away what install put there"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

int command_usage(const char *name)
{
	const struct command *c = command_find(name);

	fprintf(stderr, "homeport-guest: usage: homeport-guest %s %s\n", name, c ? c->usage : "");
	return EXIT_USAGE;
}

#define HELP_COLUMN 36u

static int help(FILE *out, int status)
{
	fprintf(out, "usage: homeport-guest COMMAND ...\n\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		char what[80];

		snprintf(what, sizeof(what), "%s %s", commands[i].name, commands[i].usage);
		wrap_row(out, what, HELP_COLUMN, commands[i].does);
	}
	fprintf(out, "\nhomeport-guest(8) says more.\n");
	return status;
}

int main(int argc, char **argv)
{
	const struct command *c;

	log_init("homeport-guest", LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	heap_init();
	if (argc < 2)
		return help(stderr, EXIT_USAGE);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help(stdout, EXIT_DONE);
	if (!strcmp(argv[1], "--version")) {
		printf("homeport-guest %s%s%s\n", HOMEPORT_VERSION, *build_id_own() ? " build " : "", build_id_own());
		return EXIT_DONE;
	}
	c = command_find(argv[1]);
	if (!c) {
		fprintf(stderr, "homeport-guest: %s: no such command; see homeport-guest --help\n", argv[1]);
		return EXIT_USAGE;
	}
	if (argc == 3 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
		printf("usage: homeport-guest %s %s\n  %s\n", c->name, c->usage, c->does);
		return EXIT_DONE;
	}
	return c->run(argc - 1, argv + 1);
}
