/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_CONFIG_H
#define HOMEPORT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bounds.h"
#include "id_map.h"
#include "problems.h"
#include "rules.h"

struct config_node;

/*
 * The configuration of one session: the desired state that `up` and `run` make true, from NAME.yaml, from the command
 * line, or from both (desired.h). Pure: bytes in, struct out; who opens files is config_file.h.
 */

#define CONFIG_SIZE_MAX          (1u << 20) /* bytes of a file */
#define CONFIG_MOUNTS_MAX        CONTROL_MOUNTS_MAX
#define CONFIG_SSH_OPTIONS_MAX   64
#define CONFIG_COMMAND_MAX       32    /* words of onForward */
#define CONFIG_ENV_MAX           128   /* variables of env */
#define CONFIG_HOSTS_MAX         128   /* names of hostResolver */
#define CONFIG_TARGET_MAX        1023  /* bytes of a mount point: what a mount's state message can name */
#define CONFIG_MAX_FORWARDS      4096  /* default: more than a developer's machine listens on */
#define CONFIG_MAX_FORWARDS_MOST 16384 /* as many as there are streams */
#define CONFIG_TIMEOUT_MOST_S    (365u * 86400)

/* A path of the host, and where it was written: in a file at a line, or (line 0) on the command line. */
struct config_path {
	char *path; /* absolute; NULL when not written */
	char *where;
	unsigned line, column;
};

struct config_mount {
	struct config_path location;
	char *mount_point; /* absolute path in the guest, in normal form */
	bool writable;
	bool mask;                          /* secrets below the location are as if absent */
	bool host_locks;                    /* the guest's programs and the host's lock each other out */
	bool virtual_owners;                /* whose a file is to the guest is recorded with it */
	bool acl;                           /* POSIX ACLs are the host's, and hold in the guest */
	bool by_hand;                       /* of a command, not of the configuration */
	struct id_range *uid_map, *gid_map; /* each fits into a struct id_map */
	size_t uid_map_count, gid_map_count;
};

struct config_ssh {
	char *host;    /* NULL only until the default, NAME, is filled in */
	unsigned port; /* 0: what ssh's own configuration says */
	char *user;
	struct config_path config_file;
	struct config_path identity_file;
	char *host_key; /* "SHA256:…" */
	char **options; /* "Key=Value", as for ssh -o */
	size_t option_count;
	bool forward_agent; /* the user's ssh-agent answers in the guest */
	bool direct;        /* the session may leave ssh for a connection of its own */
};

/* The host's name servers, for the guest. */
struct config_resolver {
	bool enabled;
	char **hosts; /* "NAME=ADDRESS": names that are answered here */
	size_t host_count;
};

struct config {
	struct config_ssh ssh;
	struct config_mount *mounts;
	size_t mount_count;
	bool default_mounts; /* nobody asked for them: ~ read-only, which may go elsewhere if it would hide a home */
	struct rule_spec *forwards;
	size_t forward_count;
	unsigned session_timeout_s;
	unsigned max_forwards; /* 0: the guest is not even asked for its ports */
	char **on_forward;     /* a program and its arguments; NULL: none */
	size_t on_forward_count;
	char *guest_command; /* NULL: homeport-guest is found in the guest, or brought along */
	char **env;          /* "NAME=VALUE", for the guest */
	size_t env_count;
	struct config_resolver resolver;
	bool step_clock;          /* the guest's is set by this machine's when it is late */
	bool propagate_proxy_env; /* the guest has this user's proxy variables too */
};

/* A configuration of defaults: ~ (which is `home`, an absolute path) read-only at the same path. NULL: no memory. */
struct config *config_new(const char *home);

/* NULL is fine. */
void config_free(struct config *config);

/*
 * Reads YAML. 0 and *out is the caller's; -EINVAL and what is wrong is in `problems`, all of it; -ENOMEM. Warnings are
 * added in both cases. `file` names the text in messages.
 */
int config_parse(const char *file, const char *text, size_t size, const char *home, struct problems *problems,
		 struct config **out);

/*
 * The same for one who wants to hear of everything: also where something is wrong, *out is what is right, and the
 * caller's; NULL where it is not even YAML. It is to be looked at, and never used.
 */
int config_parse_rest(const char *file, const char *text, size_t size, const char *home, struct problems *problems,
		      struct config **out);

/* As config_parse, of a tree that was read before (NULL: of nothing): without `mounts` in it there are none. */
int config_parse_tree(const char *file, const struct config_node *root, const char *home, struct problems *problems,
		      struct config **out);

/*
 * Adds mounts, `mount` moved into the configuration (also on failure, when it is freed). The first one replaces the
 * default mounts; one with a mount point that is there replaces that one. 0, -ENOMEM, -ENOSPC beyond CONFIG_MOUNTS_MAX.
 */
int config_add_mount(struct config *config, struct config_mount *mount);

/* The mount with this mount point, or NULL. */
const struct config_mount *config_find_mount(const struct config *config, const char *mount_point);

/* Whether two mounts, or rules, ask for the same, wherever they were written. */
bool config_mount_equal(const struct config_mount *a, const struct config_mount *b);
bool config_forward_equal(const struct rule_spec *a, const struct rule_spec *b);

bool config_same_command(const struct config *a, const struct config *b); /* onForward */

/* Removes the mount with this mount point, or each rule that is equal, if there is one. */
void config_remove_mount(struct config *config, const char *mount_point);
void config_remove_forward(struct config *config, const struct rule_spec *spec);

/* Nothing of it is a command's any more. */
void config_unmark_by_hand(struct config *config);

/* Removes every mount, the default ones too. */
void config_clear_mounts(struct config *config);

/* Puts rules before those there are; their strings are moved. 0, -ENOMEM, -ENOSPC beyond RULES_MAX; freed on failure.
 */
int config_put_forwards_first(struct config *config, struct rule_spec *specs, size_t count);

/* Another one with the same content. NULL: no memory. */
struct config *config_clone(const struct config *config);

/* The same of one rule or mount, into *out, which its _clear frees. 0 or -ENOMEM. */
int config_forward_clone(const struct rule_spec *spec, struct rule_spec *out);
int config_mount_clone(const struct config_mount *mount, struct config_mount *out);

/*
 * Exchanges what a running session can change between the two: mounts, port rules, how many ports, onForward, the
 * guest's variables and its resolver. But a session that does not forward ports at all, or does, keeps to that.
 */
void config_swap_live(struct config *a, struct config *b);

/* Frees what one rule or mount holds, and zeroes it. */
void config_forward_clear(struct rule_spec *spec);
void config_mount_clear(struct config_mount *mount);

/* Adds warnings for what is understood but not done by this version. config_parse has done it for a file's rules. */
void config_warn_forward(const struct rule_spec *spec, struct problem_place place, struct problems *problems);

/* The port rules of a configuration; ssh_guest_port as for rules_new. NULL: no memory. */
struct rules *config_rules(const struct config *config, uint16_t ssh_guest_port);

/* Writes the effective configuration as YAML that reads back as an equal one. */
void config_show(const struct config *config, FILE *out);

/* Whether two configurations ask for the same. The order of rules counts, that of mounts does not. */
bool config_equal(const struct config *a, const struct config *b);

/* Whether a running session can become the other. */
bool config_same_session(const struct config *a, const struct config *b);

/* Writes one line for each difference, "KEY: this here, that wanted"; returns how many there are. */
size_t config_diff(const struct config *running, const struct config *wanted, FILE *out);

/* The same of what only a new session can change. */
size_t config_diff_session(const struct config *running, const struct config *wanted, FILE *out);

#endif
