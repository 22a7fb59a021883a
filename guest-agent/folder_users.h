/* SPDX-License-Identifier: MIT */
/*
 * folder_users: what stands in the way of moving a folder, or of mounting there: what is in it or mounted in it, and
 * processes that have files of it open.
 */
#ifndef HOMEPORT_FOLDER_USERS_H
#define HOMEPORT_FOLDER_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether something is mounted at the folder or below it; `at` is the first such mount point. A negative errno: it
 * cannot be known. */
int folder_users_mount(const char *folder, char *at, size_t size);

/*
 * Processes of the user that have files there (working folder, program, open files, mapped ones), but for this process,
 * those it was started by, and what runs in the unit `but`: "bash (123), vim (456)", printable. Returns how many.
 */
unsigned folder_users_processes(const char *folder, uid_t uid, const char *but, char *list, size_t size);

/* Whether the folder is empty, by any descriptor of it. One that cannot be read is not. */
bool folder_users_empty(int dirfd);

/* The path of a line of /proc/PID/mountinfo or maps, in which blanks are written as \040: undone in place. Pure. */
void folder_users_unescape(char *path);

#endif
