/* SPDX-License-Identifier: MIT */
/* homeport-guest attach, serve, status: the commands that are little more than a call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "attach.h"
#include "commands.h"
#include "log.h"
#include "meet.h"

int cmd_attach(int argc, char **argv)
{
	return argc <= 2 ? attach_run(argv[1]) : command_usage("attach");
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

struct asked {
	unsigned answers;
	int error; /* of the last that did not */
};

static void ask_status(void *ctx, int fd)
{
	struct asked *asked = ctx;
	char text[MEET_TEXT_MAX + 1];
	int rc = meet_send(fd, "status", NULL, 0);

	if (!rc)
		rc = meet_receive(fd, text, NULL, 0);
	if (rc > 0) {
		fputs(text, stdout);
		asked->answers++;
	} else {
		asked->error = rc;
	}
}

/* Of every agent of this user: those of other builds too, which a host brought along. */
int cmd_status(int argc, char **argv)
{
	struct asked asked = {.error = 1};

	(void)argv;
	if (argc != 1)
		return command_usage("status");
	meet_each(true, ask_status, &asked);
	if (asked.error <= 0) {
		fprintf(stderr, "homeport-guest: status: the agent does not answer: %s\n", strerror(-asked.error));
		return EXIT_FAILED;
	}
	if (asked.answers > 0)
		return EXIT_DONE;
	fprintf(stderr, "homeport-guest: status: nothing is running\n");
	return EXIT_NOT_RUNNING;
}
