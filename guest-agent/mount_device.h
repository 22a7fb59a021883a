/* SPDX-License-Identifier: MIT */
/* mount_device: which mount lies at a path, without asking whoever serves it, who may have gone. */
#ifndef HOMEPORT_MOUNT_DEVICE_H
#define HOMEPORT_MOUNT_DEVICE_H

#include <stdbool.h>

#define MOUNT_DEVICE_SIZE 24

/* MAJOR:MINOR of what is mounted there, by /proc/self/mountinfo: the topmost, where there are several. False: nothing,
 * or it cannot be read. The numbers are its own as long as it is mounted. */
bool mount_device(const char *target, char device[MOUNT_DEVICE_SIZE]);

#endif
