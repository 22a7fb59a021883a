/* SPDX-License-Identifier: MIT */
/*
 * stock_path: what a stock client's path means: `/` is the shared folder, links are followed beneath it only, and what
 * is masked is not there.
 */
#ifndef HOMEPORT_STOCK_PATH_H
#define HOMEPORT_STOCK_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "share.h"

struct stock_found {
	int dir;                      /* O_PATH of the folder the last name stands in; of the share's own for `/` */
	int fd;                       /* O_PATH of what was found; -1: there is nothing of that name */
	char name[SFTP_NAME_MAX + 1]; /* "" for the shared folder itself */
	char path[SFTP_PATH_MAX];     /* without links, "." and "..": "/a/b" */
	struct fsop_stat st;          /* where fd is */
	enum mask mask;               /* of the name */
	bool protected;               /* it, or a folder above it */
};

/*
 * Walks `path` to its last name, and through it when `follow` and it is a link. 0 also where that last name is not
 * there; -ENOENT: a folder on the way is not, or it is hidden; -ELOOP, -ENOTDIR, -EACCES ... *found is to be closed
 * after 0.
 */
int stock_path_find(struct share *share, const uint8_t *path, size_t len, bool follow, struct stock_found *found);
void stock_found_close(struct stock_found *found);

#endif
