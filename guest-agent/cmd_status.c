/* SPDX-License-Identifier: MIT */
/* homeport-guest attach, serve, status: the commands that are little more than a call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "attach.h"
#include "commands.h"
#include "log.h"
#include "meet.h"

int cmd_attach(int argc, char **argv)
{
	(void)argv;
	return argc == 1 ? attach_run() : command_usage("attach");
}

int cmd_serve(int argc, char **argv)
{
	bool on_demand = false;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--on-demand"))
			on_demand = true;
		else if (!strcmp(argv[i], "-v"))
			log_set_level(LOG_LEVEL_DEBUG);
		else
			return command_usage("serve");
	}
	return agent_serve(on_demand);
}

int cmd_status(int argc, char **argv)
{
	char text[MEET_TEXT_MAX + 1];
	int fd, rc;

	(void)argv;
	if (argc != 1)
		return command_usage("status");
	fd = meet_connect();
	if (fd == -ENOENT) {
		fprintf(stderr, "homeport-guest: status: nothing is running\n");
		return EXIT_NOT_RUNNING;
	}
	rc = fd < 0 ? fd : meet_send(fd, "status", NULL, 0);
	if (!rc)
		rc = meet_receive(fd, text, NULL, 0);
	if (fd >= 0)
		close(fd);
	if (rc <= 0) {
		fprintf(stderr, "homeport-guest: status: the agent does not answer: %s\n", strerror(-rc));
		return EXIT_FAILED;
	}
	fputs(text, stdout);
	return EXIT_DONE;
}
