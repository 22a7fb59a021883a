/* SPDX-License-Identifier: MIT */
/* See become_root.h. */
#include "become_root.h"

#include <errno.h>
#include <unistd.h>

#include "run_program.h"

#define ARGS_MAX 256

int become_root_self(char self[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", self, PATH_MAX - 1);

	if (len < 0)
		return -errno;
	self[len] = '\0';
	return 0;
}

int become_root_is_free(const char *self)
{
	const char *const argv[] = {"sudo", "-n", "--", self, "--version", NULL};
	char said[RUN_PROGRAM_SAID];

	int status = run_program(argv, said);

	return status == RUN_PROGRAM_NONE ? -ENOENT : status == 0;
}

int become_root(const char *self, bool free, const char *const argv[])
{
	const char *all[ARGS_MAX] = {"sudo"};
	size_t count = 1;

	if (free)
		all[count++] = "-n";
	all[count++] = "--";
	all[count++] = self;
	while (*argv && count < ARGS_MAX - 1)
		all[count++] = *argv++;
	if (*argv)
		return -E2BIG;
	execvp(all[0], (char *const *)all);
	return -errno;
}
