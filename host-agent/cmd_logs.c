/* SPDX-License-Identifier: MIT */
/* homeport logs: what the agent wrote, from its file, or from the journal where a unit runs it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "desired.h"
#include "options.h"
#include "runtime_dir.h"

/* A session that has ended has logs as well: its folders are there, its socket need not be. */
static int find_dir(const struct options *options, struct runtime_dir *dir)
{
	const char *word = options->name ? options->name : options->target;
	char name[SESSION_NAME_MAX + 1], why[RUNTIME_WHY_MAX + ARG_WHY_MAX];

	if (!word)
		return cmd_session(options, dir);
	if (desired_name(word, name, why) < 0)
		return cmd_fail(EXIT_USAGE, "logs: %s", why);
	if (runtime_dir_open(dir, name, false, why) < 0 && !dir->state[0])
		return cmd_fail(EXIT_FAILED, "logs: %s", why);
	return EXIT_DONE;
}

int cmd_logs(const struct options *options)
{
	char path[RUNTIME_PATH_MAX], unit[sizeof("homeport@.service") + RUNTIME_NAME_MAX];
	const char *file[] = {"tail", "-n", "+1", options->follow ? "-F" : path, options->follow ? path : NULL, NULL};
	const char *journal[] = {"journalctl", "--user", "-o", "cat", "-u", unit, options->follow ? "-f" : NULL, NULL};
	struct runtime_dir dir;
	int rc = find_dir(options, &dir);

	if (rc != EXIT_DONE)
		return rc;
	runtime_dir_log_path(&dir, path);
	if (!access(path, R_OK)) {
		execvp(file[0], (char *const *)file);
		return cmd_fail(EXIT_FAILED, "logs: tail: %s", strerror(errno));
	}
	if (access("/run/systemd/system", F_OK) < 0)
		return cmd_fail(EXIT_FAILED, "logs: %s has written none", dir.name);
	snprintf(unit, sizeof(unit), "homeport@%s.service", dir.name);
	execvp(journal[0], (char *const *)journal);
	return cmd_fail(EXIT_FAILED, "logs: journalctl: %s", strerror(errno));
}
