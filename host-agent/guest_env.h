/* SPDX-License-Identifier: MIT */
/*
 * guest_env: the variables the guest is given. `env` of the configuration and this user's proxy variables, put together
 * as Lima does it: what the user's environment has goes before `env`, a lower-case name before the same in capitals,
 * each is there in both cases, and one that is empty in neither.
 *
 * A proxy on this machine's loopback would be the guest's own there. It is reached through a tunnel, a reverse forward
 * from the same port of the guest's 127.0.0.1, and the variable names that. Pure.
 */
#ifndef HOMEPORT_GUEST_ENV_H
#define HOMEPORT_GUEST_ENV_H

#include <stdbool.h>
#include <stddef.h>

#define PROXY_VARIABLES 4
#define PROXY_VALUE_MAX 1024 /* bytes of one; what is longer is passed over */

/* http_proxy, https_proxy, ftp_proxy, no_proxy as an environment has them, in this order; NULL: it has not. */
struct proxy_env {
	char *value[PROXY_VARIABLES];
};

/* Reads them by `get`, getenv(3) or as good, in either case. 0, or -ENOMEM with nothing to clear. */
int proxy_env_read(struct proxy_env *env, char *(*get)(const char *name));

/* One more, out of "http_proxy=VALUE". 0; -EINVAL: it is none of these; -ENOMEM. */
int proxy_env_take(struct proxy_env *env, const char *word);

/* "http_proxy=VALUE" of the one at `index`, for the caller to free. NULL: it is not set, or out of memory. */
char *proxy_env_word(const struct proxy_env *env, size_t index);

bool proxy_env_equal(const struct proxy_env *a, const struct proxy_env *b);
void proxy_env_clear(struct proxy_env *env);

/* A port of the guest's 127.0.0.1 that leads to the same port here. */
struct proxy_tunnel {
	unsigned port;
	char host_ip[16]; /* "localhost", or another address of the loopback network */
};

struct guest_variable {
	char *text; /* "NAME=VALUE" */
	int tunnel; /* the one it needs, of `tunnels`; -1: none */
};

struct guest_env {
	struct guest_variable *variables;
	size_t count;
	struct proxy_tunnel tunnels[PROXY_VARIABLES];
	size_t tunnel_count;
};

/*
 * `configured` are `count` texts "NAME=VALUE"; `proxies` is NULL where this user's are not propagated. 0, and
 * guest_env_clear() frees it; or -ENOMEM with nothing to clear.
 */
int guest_env_make(struct guest_env *env, char *const *configured, size_t count, const struct proxy_env *proxies);
void guest_env_clear(struct guest_env *env);

#endif
