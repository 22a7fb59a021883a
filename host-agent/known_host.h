/* SPDX-License-Identifier: MIT */
/*
 * known_host: whether a host's key is the one the known_hosts files have for it, and which file and line say so. As
 * sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": patterns, negation, hashed names, @revoked; @cert-authority lines are passed
 * over (libssh knows no host certificates). Pure but for known_host_check_files().
 */
#ifndef HOMEPORT_KNOWN_HOST_H
#define HOMEPORT_KNOWN_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define KNOWN_HOST_FILE_MAX  (16u << 20)
#define KNOWN_HOST_TYPES_MAX 16u

enum known_host_verdict {
	KNOWN_HOST_UNKNOWN, /* no key of this type for this host */
	KNOWN_HOST_OK,
	KNOWN_HOST_CHANGED, /* another key of the same type */
	KNOWN_HOST_REVOKED, /* somebody said never to trust this key */
};

struct known_host_query {
	const char *name;     /* the alias, or the name connected to */
	unsigned port;        /* 0: the name stands alone (an alias) */
	const char *key_type; /* "ssh-ed25519"; NULL: only collect types */
	const char *key;      /* base64 */
	/* Whether a hashed name ("|1|salt|hash") is that of `name`; needs HMAC-SHA1, which is not here. */
	bool (*hash_matches)(const char *hashed, const char *name);
};

struct known_host_result {
	enum known_host_verdict verdict;
	char path[4096]; /* the file and line that say CHANGED or REVOKED */
	unsigned line;
	char types[KNOWN_HOST_TYPES_MAX][48]; /* of the keys known for this host */
	size_t type_count;
};

/* Starts with UNKNOWN and no types. */
void known_host_begin(struct known_host_result *result);

/* Looks through the text of one file; results of several files add up: REVOKED beats OK beats CHANGED. */
void known_host_scan(const struct known_host_query *query, const char *path, const char *text, size_t len,
		     struct known_host_result *result);

/*
 * Looks through files (one that is not there is empty). A name with a port that is not 22 is looked for as
 * "[name]:port"; where that is unknown, a key known for the bare name is taken too, as OpenSSH does.
 */
void known_host_check_files(const struct known_host_query *query, char *const *paths, size_t count,
			    struct known_host_result *result);

/* "name" or "[name]:port", as known_hosts writes it. */
void known_host_name(char *dst, size_t size, const char *name, unsigned port);

#endif
