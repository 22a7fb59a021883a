/* SPDX-License-Identifier: MIT */
/* homeport reload: asks the agent to change what a running session does, and prints what came of it. */
#include <errno.h>

#include "cmd.h"
#include "ctl_client.h"
#include "options.h"
#include "runtime_dir.h"

#define CHANGE_TIMEOUT_S 60u

static int ask(const struct options *options, const struct runtime_dir *dir, const char *request)
{
	int rc = ctl_ask(dir, request, CHANGE_TIMEOUT_S, ctl_print_line, NULL);

	if (rc == -ETIMEDOUT)
		return cmd_fail(EXIT_NOT_CONNECTED,
				"%s: %s: it is still not done after %u s; `homeport status %s` shows it",
				command_name(options->command), dir->name, CHANGE_TIMEOUT_S, dir->name);
	return cmd_asked(options, dir, rc);
}

int cmd_reload(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);

	return rc == EXIT_DONE ? ask(options, &dir, "reload") : rc;
}
