/* SPDX-License-Identifier: MIT */
/*
 * ssh_target: everything needed to connect to one host as the user's ssh would, taken from what `ssh -G` printed:
 * tokens and `~` expanded, and what cannot be honoured refused by name. Pure: who the user is is passed in.
 */
#ifndef HOMEPORT_SSH_TARGET_H
#define HOMEPORT_SSH_TARGET_H

#include <stdbool.h>
#include <stddef.h>

struct link_error;
struct ssh_settings;

/* Who connects, for the tokens of ssh_config(5). */
struct ssh_person {
	const char *home;                     /* %d, ~ */
	const char *user;                     /* %u */
	unsigned uid;                         /* %i */
	const char *hostname;                 /* %l, and %L up to the first dot */
	const char *(*env)(const char *name); /* ${NAME} */
};

struct ssh_list {
	char **items;
	size_t count;
};

struct ssh_target {
	char *name;     /* as the user typed it, for messages */
	char *hostname; /* what to connect to */
	char *user;
	unsigned port;
	char *host_key_alias; /* NULL: none */

	/* At most one of them. The command is for a shell, the jump for `ssh -W`. */
	char *proxy_command;
	char *proxy_jump;
	char *config_file; /* -F, which the jump's ssh gets too; NULL: its default */

	char *address_family; /* "any", "inet", "inet6" */
	char *bind_address;   /* NULL: any */
	char *bind_interface;
	unsigned connect_timeout_s;
	bool compression;

	/* NoHostAuthenticationForLocalhost, where it applies: any host key will do if the peer is loopback. */
	bool loopback_is_trusted;
	struct ssh_list known_hosts; /* the user's files, then the machine's */
	size_t user_known_hosts;     /* how many of them are the user's */
	struct ssh_list identities;
	bool identities_chosen; /* the user named them: they go before the agent's keys */
	bool identities_only;
	struct ssh_list certificates;
	char *identity_agent; /* NULL: SSH_AUTH_SOCK; "none" */

	/* NULL: ours (ciphers) or libssh's own choice (the rest). Only what the user changed, less what nobody here
	 * speaks. */
	char *ciphers, *macs, *kex, *host_key_algorithms, *pubkey_algorithms;
	unsigned rsa_min_bits;
	unsigned long long rekey_bytes, rekey_seconds; /* 0: default */
};

/*
 * `mine` is the user's configuration for the host, `plain` what ssh says with none. Returns the target, or NULL with
 * err filled in (kind CONFIG, or LOCAL when out of memory).
 */
struct ssh_target *ssh_target_new(const char *name, const struct ssh_settings *mine, const struct ssh_settings *plain,
				  const struct ssh_person *who, struct link_error *err);
void ssh_target_free(struct ssh_target *t);

#endif
