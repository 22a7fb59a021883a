/* SPDX-License-Identifier: MIT */
/* See own_unit.h. */
#include "own_unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "etc_passwd.h"
#include "notify.h"
#include "run_program.h"

#define SYSTEMD_MS 2000

/* A property's value, up to the end of its line, is this word. */
static bool says(const char *printed, const char *property, const char *word)
{
	const char *at = strstr(printed, property);

	return at && (at == printed || at[-1] == '\n') && !strncmp(at + strlen(property), word, strlen(word));
}

bool own_unit_says_coming(const char *printed)
{
	if (says(printed, "SubState=", "auto-restart") || says(printed, "SubState=", "start"))
		return true;
	/* Not started yet, and systemd means to: Job= is there with a number, or not at all. */
	return says(printed, "SubState=", "dead\n") && says(printed, "Job=", "") && !says(printed, "Job=", "0");
}

bool own_unit_is_coming(void)
{
	char unit[sizeof("homeport-guest@.service") + ETC_PASSWD_USER], said[RUN_PROGRAM_SAID];
	const char *const argv[] = {"systemctl", "show", "--property=SubState", "--property=Job", unit, NULL};
	const char *name = getenv("USER"); /* of a user whom /etc/passwd does not have */
	struct etc_user user;

	if (!notify_booted())
		return false;
	if (etc_passwd_by_uid(getuid(), &user) == 0)
		name = user.name;
	if (!name || snprintf(unit, sizeof(unit), "homeport-guest@%s.service", name) >= (int)sizeof(unit))
		return false;
	return run_program_within(SYSTEMD_MS, argv, said) == 0 && own_unit_says_coming(said);
}
