/* SPDX-License-Identifier: MIT */
/* cmd_mount: `homeport-guest mount [-o OPTIONS] MOUNTPOINT -- COMMAND…`. */
#ifndef HOMEPORT_CMD_MOUNT_H
#define HOMEPORT_CMD_MOUNT_H

/* Runs in the foreground until unmounted, a signal, or COMMAND's end. Returns the exit status. */
int cmd_mount(int argc, char **argv);

#endif
