/* SPDX-License-Identifier: MIT */
/* mount_device: which mount lies at a path, without asking whoever serves it, who may have gone. */
#ifndef HOMEPORT_MOUNT_DEVICE_H
#define HOMEPORT_MOUNT_DEVICE_H

#include <stdbool.h>

#define MOUNT_DEVICE_SIZE 24

/* MAJOR:MINOR of what is mounted there, by /proc/self/mountinfo: the topmost, where there are several. False: nothing,
 * or it cannot be read. The numbers are its own as long as it is mounted. */
bool mount_device(const char *target, char device[MOUNT_DEVICE_SIZE]);

/* Its flags as mount(2) has them, but for MS_RDONLY and those on access times: what it was mounted with, and what a
 * person has added since. 0 also where it cannot be read. */
unsigned long mount_device_flags(const char *target);

#endif
