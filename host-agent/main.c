/* SPDX-License-Identifier: MIT */
/* homeport: the host's program. */
#include <stdio.h>
#include <string.h>

#include "cmd_sftp_server.h"

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "sftp-server") == 0)
		return cmd_sftp_server(argc - 1, argv + 1);
	fprintf(stderr, "homeport: usage: homeport sftp-server [OPTIONS] DIR\n");
	return 2;
}
