/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_OPTIONS_H
#define HOMEPORT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * The command line of `homeport`, taken apart. Nothing is looked up here: a target is still the word that was typed, a
 * mount still SRC:DST; desired.h makes a configuration of them.
 */

#define OPTIONS_LIST_MAX    64   /* of one repeatable option */
#define OPTIONS_WHY_MAX     512  /* the longest sentence options_parse writes */
#define OPTIONS_TIMEOUT_S   60   /* how long `up` waits */
#define OPTIONS_INTERVAL_MS 1000 /* between two looks of `top` */

enum command {
	COMMAND_UP,
	COMMAND_RUN,
	COMMAND_DOWN,
	COMMAND_STATUS,
	COMMAND_PORTS,
	COMMAND_LOGS,
	COMMAND_EVENTS,
	COMMAND_TOP,
	COMMAND_RELOAD,
	COMMAND_MOUNT,
	COMMAND_UMOUNT,
	COMMAND_FORWARD,
	COMMAND_UNFORWARD,
	COMMAND_ENABLE,
	COMMAND_DISABLE,
	COMMAND_GUEST_INSTALL,
	COMMAND_GUEST_UNINSTALL,
	COMMAND_SHELL,
	COMMAND_DOCTOR,
	COMMAND_CONFIG_CHECK,
	COMMAND_CONFIG_SHOW,
	COMMAND_CONFIG_SCHEMA,
	COMMAND_INIT,
	COMMAND_SFTP_SERVER,
	COMMANDS
};

/* Every value given to one repeatable option, in order. */
struct option_list {
	const char *values[OPTIONS_LIST_MAX];
	size_t count;
};

/* The strings are argv's. What was not given is NULL, 0 or false, but for timeout_s and interval_ms. */
struct options {
	enum command command;
	const char *target;   /* the argument: a host or a name, config check's FILE, sftp-server's DIR */
	const char *argument; /* the second one: mount's SRC, umount's DST, forward's HOST:GUEST, unforward's HOST */
	char *const *words;   /* shell: what stands behind the target, ends with NULL; its target is NULL behind `--` */
	const char *name;
	const char *ssh_config; /* -F */
	unsigned port;
	const char *identity_file; /* -i */
	struct option_list ssh_options;
	struct option_list mounts;
	bool no_mount;
	struct option_list forwards;
	bool no_ports;
	const char *host_key;
	const char *guest_command;
	unsigned timeout_s;
	unsigned verbose; /* how many -v */
	unsigned interval_ms;
	unsigned count; /* 0: without end */
	bool json;
	bool watch;
	bool follow;
	bool save;
	bool dry_run;
	bool yes;
	bool helper;
	bool allow_other;
	bool move_home;
	bool lima; /* the target is a VM of Lima's */
};

enum options_result {
	OPTIONS_OK,
	OPTIONS_HELP,    /* options_print_help, exit 0 */
	OPTIONS_VERSION, /* options_print_version, exit 0 */
	OPTIONS_WRONG,   /* print "homeport: " and `why` as one line on stderr, exit 2 */
};

/*
 * Reads a command line. `out` is filled with OPTIONS_OK, its command alone with OPTIONS_HELP (COMMANDS: of the whole
 * program); `why` (OPTIONS_WHY_MAX bytes) with OPTIONS_WRONG. Reorders argv as getopt_long does.
 */
enum options_result options_parse(int argc, char **argv, struct options *out, char *why);

/* Writes the help of one command, or of the whole program for COMMANDS. */
void options_print_help(enum command command, FILE *out);

void options_print_version(FILE *out);

/* The words that select it: "up", "config check". */
const char *command_name(enum command command);

/* What it does, in one line. */
const char *command_summary(enum command command);

struct option_shown {
	const char *name;  /* NULL: it has a letter alone */
	char letter;       /* 0: a name alone */
	const char *value; /* what its value is; NULL: it takes none */
	const char *help;
};

/* Calls `each` with every option of a command. Those of sftp-server are cmd_sftp_server.h's. */
void options_each(enum command command, void (*each)(void *ctx, const struct option_shown *shown), void *ctx);

#endif
