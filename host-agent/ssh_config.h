/* SPDX-License-Identifier: MIT */
/*
 * ssh_config: where and how to connect, exactly as the user's own ssh sees it. Asks `ssh -G` (aliases, Include, Match,
 * ProxyJump and all), so no line of ssh_config(5) is parsed here.
 */
#ifndef HOMEPORT_SSH_CONFIG_H
#define HOMEPORT_SSH_CONFIG_H

struct cancel;
struct link_error;
struct ssh_target;

/* What the user would type after `ssh`. NULL and 0 are what was not given. */
struct ssh_request {
	const char *destination;    /* [USER@]HOST */
	const char *config_file;    /* -F */
	unsigned port;              /* -p */
	const char *user;           /* -l */
	const char *identity_file;  /* -i */
	const char *const *options; /* -o, each; ends with NULL */
};

/*
 * Blocks, at most 10 s: for a worker thread. On success *target is the caller's (ssh_target_free). Otherwise err says
 * what is wrong: ssh's own complaint, or the option that cannot be honoured, by name. Returns 0 or a negative errno.
 */
int ssh_config_query(const struct ssh_request *request, struct cancel *cancel, struct ssh_target **target,
		     struct link_error *err);

#endif
