/* SPDX-License-Identifier: MIT */
/*
 * handles: open files and folders of one stream, by number. A number is never used again. Each holds its descriptor and
 * keeps its node; both go when the handle is closed and the last request that uses it is done. Any thread may call.
 *
 * There may be more handles than descriptors: what was not used lately is left to keepers (keepers.h) and brought back
 * by who uses it next. While somebody has a reference the descriptor stays.
 */
#ifndef HOMEPORT_HANDLES_H
#define HOMEPORT_HANDLES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "keepers.h"
#include "nodes.h"

struct sftp_job;
TAILQ_HEAD(job_list, sftp_job);

/* A folder being listed: what getdents64 gave and no reply has taken yet. */
struct handle_listing {
	uint8_t *data;
	size_t at, len;
	uint64_t cookie; /* where the entry at `at` is reached from */
	bool end;
};

struct handle {
	uint64_t fh;
	atomic_int fd;  /* -1: with a keeper, see handles_bring() */
	uint8_t type;   /* DT_REG or DT_DIR */
	uint32_t flags; /* NATIVE_O_ as opened */
	uint64_t node;  /* 0: none (a stock client's) */
	struct node_identity identity;
	uint8_t node_flags; /* NODE_ */
	struct handle_listing listing;
	char *path; /* a stock client's folder as it named it, for links in it; NULL */

	/* The order's, under its lock (sftp_order.h); refs is ours. */
	unsigned refs, shared;
	bool exclusive, closed;
	struct job_list waiting;

	/* handles.c's, under its lock. */
	TAILQ_ENTRY(handle) turn;
	struct kept kept;
	bool keepable, used;
};

struct handles_limits {
	size_t max, folders;  /* handles, and how many of them of folders */
	size_t descriptors;   /* that they hold at once */
	size_t keepers, each; /* for those beyond */
};

struct handles;

struct handles *handles_new(const struct handles_limits *limits);
void handles_free(struct handles *handles);

/*
 * A new handle that takes fd over (closed on failure as well), with one reference. `keepable`: its last close waits for
 * nobody, so that it may be left to a keeper. -ENFILE, -ENOMEM.
 */
int handles_add(struct handles *handles, int fd, uint8_t type, bool keepable, struct handle **handle);

/* Sees to it that a handle which the caller has a reference to has its descriptor. -ENFILE, -EMFILE: for now it can't.
 */
int handles_bring(struct handles *handles, struct handle *handle);

/* With a reference to give back; NULL: no such handle. */
struct handle *handles_get(struct handles *handles, uint64_t fh);
struct handle *handles_get_by_identity(struct handles *handles, const struct node_identity *identity);

/* True when this was the last: the handle is freed, and *node (unless 0) is to be closed with nodes_close(). */
bool handles_put(struct handles *handles, struct handle *handle, uint64_t *node);

/* Takes it out of the table; those who hold a reference see `closed`. False: it was closed already. */
bool handles_close(struct handles *handles, struct handle *handle);

#endif
