/* SPDX-License-Identifier: MIT */
/*
 * runtime_dir: the folders of one session on the host, and the few small files in them.
 *
 *	$XDG_RUNTIME_DIR/homeport/NAME/  control (the socket), pid (locked while an agent runs), lock (held by `up`),
 *	                                 sock/ (forwarded sockets whose rules name no other folder)
 *	$XDG_STATE_HOME/homeport/NAME/   instance, log
 *
 * Both are 0700 and ours, or refused. Without XDG_RUNTIME_DIR the first lies below the state folder.
 */
#ifndef HOMEPORT_RUNTIME_DIR_H
#define HOMEPORT_RUNTIME_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUNTIME_PATH_MAX 512
#define RUNTIME_NAME_MAX 79
#define RUNTIME_WHY_MAX  (RUNTIME_PATH_MAX + 256)
#define INSTANCE_SIZE    16

struct runtime_dir {
	char name[RUNTIME_NAME_MAX + 1];
	char run[RUNTIME_PATH_MAX];
	char state[RUNTIME_PATH_MAX];
};

/*
 * Finds the folders of NAME; `make` makes what is missing. 0, or a negative errno with a sentence in `why` (of
 * RUNTIME_WHY_MAX bytes): -ENOENT when they are not there and not to be made, -EINVAL for a name that cannot be one.
 */
int runtime_dir_open(struct runtime_dir *dir, const char *name, bool make, char *why);

/*
 * Whether the folders that hold those of the sessions are there, or can be made: nothing is made. 0 and *shown is where
 * they are, for a person; or a negative errno with a sentence in `why`.
 */
int runtime_dir_check(char shown[RUNTIME_WHY_MAX], char *why);

/* Calls `each` with the name of every session that has a control socket, in no order. */
void runtime_dir_each(void (*each)(void *ctx, const char *name), void *ctx);

/* The same for every session that ever ran, and so has a log. */
void runtime_dir_each_past(void (*each)(void *ctx, const char *name), void *ctx);

/* Takes the place of NAME's agent: locks the pid file and writes our pid. The descriptor (close-on-exec) is to be kept
 * open; -EBUSY when an agent runs, whose pid is put into *other. */
int runtime_dir_claim(const struct runtime_dir *dir, pid_t *other);

/* Waits until no other `up` of NAME is under way, at most `seconds`. The descriptor to close in the end, or -EBUSY. */
int runtime_dir_lock_up(const struct runtime_dir *dir, unsigned seconds);

/* The number that is the same for every session of this pair; made at first use, written whole or not at all. */
int runtime_dir_instance(const struct runtime_dir *dir, uint8_t instance[INSTANCE_SIZE]);

/* Opens the log for appending (0600), moving one that has grown large aside. */
int runtime_dir_open_log(const struct runtime_dir *dir);
/* Where stderr is this log and has grown large: begins it anew, as above. Any thread; no more than an fstat(2) mostly.
 */
void runtime_dir_limit_log(const struct runtime_dir *dir);
void runtime_dir_log_path(const struct runtime_dir *dir, char path[RUNTIME_PATH_MAX]);
void runtime_dir_socket_path(const struct runtime_dir *dir, char path[RUNTIME_PATH_MAX]);

/* Removes what an agent leaves behind when it ends: the control socket and the pid file, and sock/ if it is empty. */
void runtime_dir_clean(const struct runtime_dir *dir);

#endif
