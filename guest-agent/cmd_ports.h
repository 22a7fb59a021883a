/* SPDX-License-Identifier: MIT */
/* cmd_ports: `homeport-guest ports [--json] [--watch]`, what listens here as the agent sees it. */
#ifndef HOMEPORT_CMD_PORTS_H
#define HOMEPORT_CMD_PORTS_H

/* argv[0] is "ports". Returns the exit status. */
int cmd_ports(int argc, char **argv);

#endif
