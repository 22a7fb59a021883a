/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CMD_INSTALL_H
#define HOMEPORT_CMD_INSTALL_H

/* `homeport-guest install` and `uninstall`, by argv[0]. Returns the exit status. */
int cmd_install(int argc, char **argv);

#endif
