/* SPDX-License-Identifier: MIT */
/*
 * lookahead: asks the host for listings before the kernel needs them.
 *
 * Theory of operation
 *
 * Two habits of programs cost a round trip for each name, and one listing answers them all:
 *
 *   names    who asks for a second name of a directory within a second asks for more (git status; a compiler's search;
 *            each file that is made is looked up first). The directory's listing is asked for instead of the second,
 *            or of the first in one that lies beside others that were listed so; names asked for meanwhile wait for
 *            it. Where many names are made in a row, none of them found before, names alone are listed, and nobody
 *            waits. Only there, and in directories that we made ourselves, is a name that is not listed taken for
 *            absent: elsewhere it may be the host's newest, which is to be found at once.
 *   walks    who opens a directory out of a listing opens the next ones too (find, ls -R, grep -r). Those that follow
 *            it there, and those in it, are asked for. The window, how many may be under way or unused, doubles with
 *            each that was used and halves with those that were not, from 1 to LOOKAHEAD_MAX.
 *
 * What comes is remembered (dir_listing.h) for less than a second, so that nothing is older here than it may be.
 */
#ifndef HOMEPORT_LOOKAHEAD_H
#define HOMEPORT_LOOKAHEAD_H

#include <stdbool.h>
#include <sys/queue.h>

#include "dir_listing.h"

#define LOOKAHEAD_MAX 16u

struct call;
struct loop_timer;
struct mount;

struct lookahead {
	LIST_HEAD(, fetch) fetches; /* under way */
	unsigned under_way;
	unsigned window;
	struct loop_timer *expire; /* of what is remembered */
};

/* 0 or -ENOMEM. */
int lookahead_init(struct mount *m);
void lookahead_end(struct mount *m);

/* A name of the directory has to be asked for; was found; was made. */
void lookahead_asked(struct mount *m, struct node *dir);
void lookahead_found(struct node *dir);
void lookahead_made(struct mount *m, struct node *dir);

/* Whether a name is taken for absent that a whole listing, which is remembered, does not have. That uses it. */
bool lookahead_believes(struct mount *m, struct listing *l);

/* The directory was opened. */
void lookahead_opened(struct mount *m, struct node *dir);

/* The directory's listing, with attributes, is under way: the call waits for it and starts again. False: it is not. */
bool lookahead_wait(struct call *call, struct node *dir);

/* Remembers a listing, and that it is to be forgotten in time. */
void lookahead_remember(struct mount *m, struct node *dir, struct listing *l);

/* A remembered listing answered something. */
void lookahead_used(struct mount *m, struct listing *l);

#endif
