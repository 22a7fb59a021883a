/* SPDX-License-Identifier: MIT */
/*
 * installed: the record of what `homeport-guest install` changed in this guest, so that uninstall takes back that and
 * nothing else. A change is written down before it is made.
 *
 * /var/lib/homeport/installed, root's, 0644: `homeport-guest installed 1`, then a line for each change: its kind, what
 * it is about, and a detail, with tabs between. A file of another number is refused, not guessed at.
 */
#ifndef HOMEPORT_INSTALLED_H
#define HOMEPORT_INSTALLED_H

#include <stdbool.h>
#include <stddef.h>

#include "change.h"

#define INSTALLED_FOLDER "/var/lib/homeport"
#define INSTALLED_FILE   INSTALLED_FOLDER "/installed"

struct installed {
	struct change changes[CHANGES_MAX];
	size_t count;
	int folder; /* locked; -1: there is none */
};

/*
 * Reads it, empty where there is none, and keeps others out until installed_close(). `make`: also makes the folder.
 * 0, -EBUSY: another one is at work; -EPROTO: it cannot be understood; or a negative errno.
 */
int installed_open(struct installed *in, bool make);

/* 0 or a negative errno. What is empty is removed, with the folder. */
int installed_save(const struct installed *in);
void installed_close(struct installed *in);

/* A record of the same kind and path, from `after` on (NULL: from the first); NULL: there is none. */
const struct change *installed_find(const struct installed *in, enum change_kind kind, const char *path,
				    const struct change *after);

/* Adds it, unless it is there. -ENOSPC: there are too many. */
int installed_add(struct installed *in, const struct change *change);

/* Forgets all of its kind and path, but for one equal to `but` (NULL: for none). */
void installed_forget(struct installed *in, const struct change *change, const struct change *but);

/* Pure: one line of the file, without its newline, and back. False: it is none. */
bool installed_line_parse(char *line, struct change *change);
void installed_line_print(const struct change *change, char *line, size_t size);

#endif
