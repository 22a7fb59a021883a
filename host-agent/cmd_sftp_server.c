/* SPDX-License-Identifier: MIT */
#include "cmd_sftp_server.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "log.h"
#include "sftp_server.h"

static struct share share;

int cmd_sftp_server(int argc, char **argv)
{
	const char *what;
	struct sftp_server *server;
	struct rlimit limit;
	int r, i = 1;

	log_init("homeport sftp-server", LOG_LEVEL_WARN);
	for (; i < argc && argv[i][0] == '-'; i++)
		if (!strcmp(argv[i], "--writable"))
			share.writable = true;
	r = root_open(&share.root, argv[i], false, &what);
	if (r < 0) {
		log_error("%s: %s", what, strerror(-r));
		return 1;
	}
	umask(0);
	getrlimit(RLIMIT_NOFILE, &limit);
	r = share_init(&share, limit.rlim_cur);
	server = r == 0 ? sftp_server_new(&share) : NULL;
	if (!server)
		return 1;
	r = sftp_server_run(server, 0, 1);
	return r == 0 || r == -EBUSY ? 0 : 1;
}
