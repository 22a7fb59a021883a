/* SPDX-License-Identifier: MIT */
/* homeport-guest: the guest's side. Finds the command; each is a file of its own. */
#include <stdio.h>
#include <string.h>

#include "cmd_mount.h"
#include "helper.h"
#include "log.h"

static const struct command {
	const char *name;
	int (*fn)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
	const char *what;
} commands[] = {
	{"mount", cmd_mount, "mount what a command serves on its stdin and stdout"},
	{"helper", cmd_helper, "mount for an agent (started by it)"},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: homeport-guest COMMAND [...]\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].what);
	return status;
}

int main(int argc, char **argv)
{
	log_init("homeport-guest", LOG_LEVEL_INFO);
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("homeport-guest " HOMEPORT_VERSION "\n") < 0;
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, 0);
	for (size_t i = 0; argc > 1 && i < COMMANDS; i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			return commands[i].fn(argc - 1, argv + 1);
	return usage(stderr, 2);
}
