/* SPDX-License-Identifier: MIT */
/* See outlive.h. */
#include "outlive.h"

#include <string.h>

#include "notify.h"
#include "run_program.h"

#define LOGIND_MS 2000

bool outlive_is_yes(const char *printed)
{
	return !strcmp(printed, "yes\n") || !strcmp(printed, "yes");
}

enum outlive_way outlive_first(void)
{
	static const char *const argv[] = {"loginctl", "show-session", "-p", "KillUserProcesses", "--value", NULL};
	char said[RUN_PROGRAM_SAID];

	if (!notify_booted() || run_program_within(LOGIND_MS, argv, said) != 0)
		return OUTLIVE_PLAIN;
	return outlive_is_yes(said) ? OUTLIVE_SCOPE : OUTLIVE_PLAIN;
}

const char *outlive_argv(enum outlive_way way, char *self, char *argv[OUTLIVE_ARGV_MAX])
{
	static const char *const scope[] = {"systemd-run", "--user", "--scope", "--quiet", "--collect", "--"};
	static const char *const serve[] = {"serve", "--on-demand"};
	const char *file = "/proc/self/exe"; /* also when its name is gone */
	int count = 0;

	if (way == OUTLIVE_SCOPE) {
		for (size_t i = 0; i < sizeof(scope) / sizeof(scope[0]); i++)
			argv[count++] = (char *)scope[i];
		file = scope[0];
	}
	argv[count++] = way == OUTLIVE_SCOPE ? self : (char *)"homeport-guest";
	for (size_t i = 0; i < sizeof(serve) / sizeof(serve[0]); i++)
		argv[count++] = (char *)serve[i];
	argv[count] = NULL;
	return file;
}
