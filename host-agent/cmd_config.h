/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CMD_CONFIG_H
#define HOMEPORT_CMD_CONFIG_H

struct options;

/* `homeport config check [FILE]` and `homeport config show NAME`: each returns the program's exit status. */
int cmd_config_check(const struct options *options);
int cmd_config_show(const struct options *options);

#endif
