/* SPDX-License-Identifier: MIT */
/* The agent as a service of systemd's, from boot on: enabled and started, or ended and disabled. See change.h. */
#include <errno.h>
#include <string.h>

#include "change.h"
#include "notify.h"
#include "run_program.h"

static int systemctl(const char *verb, const char *option, const char *unit, char *why)
{
	const char *const argv[] = {"systemctl", verb, unit, option, NULL};
	char said[RUN_PROGRAM_SAID];
	int rc = run_program(argv, said);

	said[strcspn(said, "\n")] = '\0';
	return rc == 0 ? 0 : change_fail(why, EIO, "systemctl %s %s: %s", verb, unit, said);
}

static bool is_enabled(const char *unit)
{
	char why[CHANGE_WHY_MAX];

	return notify_booted() && systemctl("is-enabled", NULL, unit, why) == 0;
}

static enum change_verdict service_look(const struct change *c, const struct installed *in, char *why)
{
	(void)in;
	(void)why;
	return is_enabled(c->path) ? CHANGE_NOTHING : CHANGE_DO;
}

static enum change_verdict service_look_undo(const struct change *c, const struct installed *in, char *why)
{
	(void)in;
	(void)why;
	return is_enabled(c->path) ? CHANGE_DO : CHANGE_NOTHING;
}

static void service_tell(const struct change *c, FILE *out)
{
	bool helper = strcmp(c->path, CHANGE_HELPER_SOCKET) == 0;

	fprintf(out, "  %s: enabled and started: %s from boot on\n", c->path,
		helper ? "root mounts for who may ask," : "the agent is there");
}

static void service_tell_undo(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: stopped and disabled\n", c->path);
}

/* Restarted, because it may be there and run the program that was just replaced. */
static int service_make(const struct change *c, char *why)
{
	int rc = systemctl("enable", NULL, c->path, why);

	return rc < 0 ? rc : systemctl("restart", "--no-block", c->path, why);
}

static int service_undo(const struct change *c, char *why)
{
	return systemctl("disable", "--now", c->path, why);
}

const struct change_row change_service = {
	.name = "service",
	.look = service_look,
	.look_undo = service_look_undo,
	.tell = service_tell,
	.tell_undo = service_tell_undo,
	.make = service_make,
	.undo = service_undo,
};
