/* SPDX-License-Identifier: MIT */
/* homeport down: asks the agent to unmount and end, and returns when it has ended. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "ctl_client.h"
#include "runtime_dir.h"

#define DOWN_TIMEOUT_S 15u /* the agent gives its guest 5 s */

/* The agent answers just before it ends; it has ended when nobody holds its place. */
static void wait_for_end(const struct runtime_dir *dir)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	pid_t other;

	for (int tries = 0; tries < 1000; tries++) {
		int fd = runtime_dir_claim(dir, &other);

		if (fd != -EBUSY) {
			if (fd >= 0) {
				runtime_dir_clean(dir);
				close(fd);
			}
			return;
		}
		nanosleep(&pause, NULL);
	}
}

int cmd_down(const struct options *options)
{
	struct runtime_dir dir;
	int rc = cmd_session(options, &dir);

	if (rc != EXIT_DONE)
		return rc;
	rc = ctl_ask(&dir, "down", DOWN_TIMEOUT_S, ctl_print_line, NULL);
	if (rc == -ECONNRESET)
		rc = EXIT_DONE; /* it ended: that is what was asked for */
	if (rc == EXIT_DONE)
		wait_for_end(&dir);
	if (rc == EXIT_DONE)
		printf("%s: stopped\n", dir.name);
	return cmd_asked(options, &dir, rc);
}
