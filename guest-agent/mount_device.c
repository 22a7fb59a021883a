/* SPDX-License-Identifier: MIT */
/* See mount_device.h. */
#include "mount_device.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "folder_users.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10 */
#endif

#define OPTIONS_SIZE 200

/* The last line that is of this target: its numbers and the options of the mount point. */
static bool find(const char *target, char device[MOUNT_DEVICE_SIZE], char options[OPTIONS_SIZE])
{
	char line[9000], where[4097], how[OPTIONS_SIZE];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned major, minor;
	bool found = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4096s %199s", &major, &minor, where, how) != 4)
			continue;
		folder_users_unescape(where);
		if (strcmp(where, target) != 0)
			continue;
		snprintf(device, MOUNT_DEVICE_SIZE, "%u:%u", major, minor);
		memcpy(options, how, sizeof(how));
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

bool mount_device(const char *target, char device[MOUNT_DEVICE_SIZE])
{
	char options[OPTIONS_SIZE];

	return find(target, device, options);
}

unsigned long mount_device_flags(const char *target)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} names[] = {
		{"nosuid", MS_NOSUID}, {"nodev", MS_NODEV}, {"noexec", MS_NOEXEC}, {"nosymfollow", MS_NOSYMFOLLOW}};
	char device[MOUNT_DEVICE_SIZE], options[OPTIONS_SIZE], *rest = NULL;
	unsigned long flags = 0;

	if (!find(target, device, options))
		return 0;
	for (char *o = strtok_r(options, ",", &rest); o; o = strtok_r(NULL, ",", &rest))
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strcmp(o, names[i].name) == 0)
				flags |= names[i].flag;
	return flags;
}
