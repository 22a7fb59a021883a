/* SPDX-License-Identifier: MIT */
/* homeport sftp-server: the file server alone, on stdin and stdout, jailed to one folder. */
#ifndef HOMEPORT_CMD_SFTP_SERVER_H
#define HOMEPORT_CMD_SFTP_SERVER_H

/* argv[0] is "sftp-server". The exit status: 0 done, 1 failed, 2 wrong usage. */
int cmd_sftp_server(int argc, char **argv);

struct option;

/* Its options, as getopt_long() takes them: for completion. */
const struct option *cmd_sftp_server_options(void);

#endif
