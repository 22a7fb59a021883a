/* SPDX-License-Identifier: MIT */
/* See mount_device.h. */
#include "mount_device.h"

#include <stdio.h>
#include <string.h>

#include "folder_users.h"

bool mount_device(const char *target, char device[MOUNT_DEVICE_SIZE])
{
	char line[9000], where[4097];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned major, minor;
	bool found = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4096s", &major, &minor, where) != 3)
			continue;
		folder_users_unescape(where);
		if (strcmp(where, target) != 0)
			continue;
		snprintf(device, MOUNT_DEVICE_SIZE, "%u:%u", major, minor);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}
