/* SPDX-License-Identifier: MIT */
/*
 * change: one thing that `homeport-guest install` does to a guest, as root, and uninstall undoes. Each kind is a row of
 * functions: is it to be done, what does it mean in words, do it, undo it. Doing it again, after a power cut at any
 * point, completes it.
 */
#ifndef HOMEPORT_CHANGE_H
#define HOMEPORT_CHANGE_H

#include <stdbool.h>
#include <stdio.h>

enum change_kind {
	CHANGE_FOLDER,  /* path: made, 0755 */
	CHANGE_PROGRAM, /* path: this program. detail: the hash of what is written, as for the next two */
	CHANGE_MANUAL,
	CHANGE_UNIT,
	CHANGE_FUSE_CONF,   /* path: user_allow_other. detail: "new" where we made the file, else "old" */
	CHANGE_MOUNTS_CONF, /* path: users who may ask the helper. detail: the same, and the users, with blanks between
			     */
	CHANGE_APPARMOR,    /* path: mount points. detail: the same, and the mount points, with blanks between */
	CHANGE_HOME,    /* path: the home until now, PATH.guest from then on. detail: the user, and the mount point's */
	CHANGE_SERVICE, /* path: a unit's name */
	CHANGE_KINDS,
};

#define CHANGES_MAX       64
#define CHANGE_PATH_MAX   1024
#define CHANGE_DETAIL_MAX 2048
#define CHANGE_WHY_MAX    4608

struct change {
	enum change_kind kind;
	char path[CHANGE_PATH_MAX];
	char detail[CHANGE_DETAIL_MAX];
};

struct installed;

enum change_verdict {
	CHANGE_NOTHING, /* it is so already */
	CHANGE_DO,
	CHANGE_KEEP,   /* of undoing: it is not what we left, so it stays. why says so */
	CHANGE_REFUSE, /* it must not be. why says so */
};

/* `why` and `said` are of CHANGE_WHY_MAX bytes, one line. make and undo: 0, or a negative errno with the reason in why.
 */
struct change_row {
	const char *name; /* in the record */
	enum change_verdict (*look)(const struct change *c, const struct installed *in, char *why);
	enum change_verdict (*look_undo)(const struct change *c, const struct installed *in, char *why);
	void (*tell)(const struct change *c, FILE *out); /* lines, each with two blanks in front */
	void (*tell_undo)(const struct change *c, FILE *out);
	int (*make)(const struct change *c, char *why);
	int (*undo)(const struct change *c, char *why);
};

extern const struct change_row *const change_rows[CHANGE_KINDS];

/* The rows, by file. */
extern const struct change_row change_folder, change_program, change_manual, change_unit; /* change_file.c */
extern const struct change_row change_fuse_conf, change_mounts_conf, change_apparmor;     /* change_block.c */
extern const struct change_row change_home;                                               /* change_home.c */
extern const struct change_row change_service;                                            /* change_service.c */

/* Puts the sentence into why; returns -error. */
int change_fail(char *why, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a file will hold: fills in the detail. 0 or a negative errno; -ENOENT: no version of ours writes such a unit any
 * more. */
int change_file_prepare(struct change *c);

/* Where each goes. */
#define CHANGE_PROGRAM_PATH  "/usr/local/bin/homeport-guest"
#define CHANGE_MANUAL_PATH   "/usr/local/share/man/man8/homeport-guest.8"
#define CHANGE_UNIT_PATH     "/usr/local/lib/systemd/system/homeport-guest@.service"
#define CHANGE_HELPER_SOCKET "homeport-helper.socket"
#define CHANGE_SOCKET_PATH   "/usr/local/lib/systemd/system/" CHANGE_HELPER_SOCKET
#define CHANGE_HELPER_PATH   "/usr/local/lib/systemd/system/homeport-helper@.service"
/* The drop-in of one user's unit: of its name, with these around it. */
#define CHANGE_HARDENED_PATH  "/etc/systemd/system/homeport-guest@"
#define CHANGE_HARDENED_END   ".service.d/hardened.conf"
#define CHANGE_FUSE_CONF_PATH "/etc/fuse.conf"
#define CHANGE_APPARMOR_PATH  "/etc/apparmor.d/local/fusermount3"

/* Whether the confinement of fusermount3 (Ubuntu from 25.04 on) is in force here. */
bool change_apparmor_here(void);

/*
 * A move of the home of the user `name`, who has the helper or not, as it is now or was begun: fills in the change.
 * CHANGE_REFUSE: it cannot be; why says so.
 */
enum change_verdict change_home_prepare(const char *name, bool helper, const struct installed *in, struct change *c,
					char *why);

/* What will name the old place in vain, a line each with two blanks in front. */
void change_home_notes(const struct change *c, FILE *out);

#endif
