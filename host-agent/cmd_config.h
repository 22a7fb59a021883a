/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CMD_CONFIG_H
#define HOMEPORT_CMD_CONFIG_H

struct options;

/* `homeport config check [FILE]`, `config show NAME`, `config schema`, `init [NAME]`: each returns the exit status. */
int cmd_config_check(const struct options *options);
int cmd_config_show(const struct options *options);
int cmd_config_schema(const struct options *options);
int cmd_init(const struct options *options);

#endif
