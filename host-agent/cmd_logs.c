/* SPDX-License-Identifier: MIT */
/*
 * homeport logs: what the agent wrote, from the journal where a unit runs it, or ran it last, else from its file.
 * tail(1) and journalctl(1) print it: both go on behind a rotation without losing a line.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "desired.h"
#include "follow.h"
#include "notify.h"
#include "options.h"
#include "runtime_dir.h"
#include "user_manager.h"

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

/* A unit writes to the journal, `up` to the file; the session may have had both. */
static bool is_in_journal(const char *unit, const char *file)
{
	char state[UNIT_STATE_MAX];
	struct stat st;

	if (stat(file, &st) < 0)
		return true;
	if (user_manager_state(unit, state) < 0)
		return false;
	return strcmp(state, "inactive") != 0 || user_manager_ended(unit) > st.st_mtime;
}

int cmd_logs(const struct options *options)
{
	char path[RUNTIME_PATH_MAX], unit[UNIT_NAME_MAX];
	const char *journal[] = {"journalctl", "--user", "--no-pager", "-o",
				 "short-iso",  "-u",     unit,         options->follow ? "-f" : NULL,
				 "--no-tail",  NULL};
	struct runtime_dir dir;
	int rc = find_dir(options, &dir);

	if (rc != EXIT_DONE)
		return rc;
	runtime_dir_log_path(&dir, path);
	snprintf(unit, sizeof(unit), "homeport@%s.service", dir.name);
	if (!is_in_journal(unit, path)) {
		rc = follow_file(path, options->follow, STDOUT_FILENO);
		return rc < 0 ? cmd_fail(EXIT_FAILED, "logs: %s: %s", path, strerror(-rc)) : EXIT_DONE;
	}
	if (!notify_booted())
		return cmd_fail(EXIT_FAILED, "logs: %s has written none", dir.name);
	execvp(journal[0], (char *const *)journal);
	return cmd_fail(EXIT_FAILED, "logs: journalctl: %s", strerror(errno));
}
