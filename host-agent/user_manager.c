/* SPDX-License-Identifier: MIT */
/* systemctl(1), run and read. See user_manager.h. */
#include "user_manager.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "log.h"

/* Stopping a unit takes its TimeoutStopSec=15 at most; everything else is a question. */
#define ANSWER_MS 30000

/* Runs it to its end. 0 with what it wrote in *output, which the caller clears; a negative errno. */
static int run(const char *const argv[], struct child_output *output)
{
	struct child child;
	int rc = child_start(argv, &child);

	return rc < 0 ? rc : child_collect(&child, NULL, ANSWER_MS, output);
}

static void clear(struct child_output *output)
{
	free(output->out);
	free(output->err);
}

static bool succeeded(const struct child_output *output)
{
	return WIFEXITED(output->status) && WEXITSTATUS(output->status) == 0;
}

bool user_manager_answers(void)
{
	static const char *const argv[] = {"systemctl", "--user", "show-environment", NULL};
	struct child_output output;
	bool answers;

	if (run(argv, &output) < 0)
		return false;
	answers = succeeded(&output);
	clear(&output);
	return answers;
}

bool user_manager_lingers(void)
{
	const struct passwd *user = getpwuid(getuid());
	char path[512];

	if (!user)
		return false;
	snprintf(path, sizeof(path), "/var/lib/systemd/linger/%s", user->pw_name);
	return access(path, F_OK) == 0;
}

/* The first line of what it complained. */
static void take_why(const struct child_output *output, char *why)
{
	size_t len = strcspn(output->err, "\n");

	if (len)
		text_printable(why, USER_MANAGER_WHY_MAX, output->err, len);
	else
		snprintf(why, USER_MANAGER_WHY_MAX, "systemctl failed and did not say why");
}

int user_manager_tell(const char *verb, const char *option, const char *unit, char *why)
{
	const char *const argv[] = {"systemctl",          "--user", "--quiet", verb, option ? option : unit,
				    option ? unit : NULL, NULL};
	struct child_output output;
	int rc = run(argv, &output);

	if (rc < 0) {
		snprintf(why, USER_MANAGER_WHY_MAX, "systemctl: %s", strerror(-rc));
		return rc;
	}
	if (!succeeded(&output)) {
		take_why(&output, why);
		rc = -EIO;
	}
	clear(&output);
	return rc;
}

/* `is-active` says the state on stdout and again, coarsely, by its exit status. */
int user_manager_state(const char *unit, char state[UNIT_STATE_MAX])
{
	const char *const argv[] = {"systemctl", "--user", "is-active", unit, NULL};
	struct child_output output;
	int rc = run(argv, &output);

	if (rc < 0)
		return rc;
	snprintf(state, UNIT_STATE_MAX, "%.*s", (int)strcspn(output.out, "\n"), output.out);
	clear(&output);
	return state[0] ? 0 : -ENOENT;
}

/* `--timestamp=unix` prints "@1700000000"; a unit that never ended has no time at all. */
time_t user_manager_ended(const char *unit)
{
	const char *const argv[] = {"systemctl", "--user",           "show", "--property=InactiveEnterTimestamp",
				    "--value",   "--timestamp=unix", unit,   NULL};
	struct child_output output;
	time_t when = 0;

	if (run(argv, &output) < 0)
		return 0;
	if (succeeded(&output) && output.out[0] == '@')
		when = (time_t)strtoll(output.out + 1, NULL, 10);
	clear(&output);
	return when;
}
