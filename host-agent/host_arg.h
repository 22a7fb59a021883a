/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_HOST_ARG_H
#define HOMEPORT_HOST_ARG_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What a person types in one word: [USER@]HOST[:PORT], the name of a session, SRC[:DST][:w], HOST:GUEST[,static]. Pure.
 *
 * A check returns NULL where the text is fine, else a sentence without its subject ("is empty; …"), static.
 */

struct config_mount;
struct rule_spec;

#define SESSION_NAME_MAX 64  /* it is a folder of its own, with a socket in it whose path has 107 bytes */
#define HOST_TEXT_MAX    255 /* of a domain name, and more than any user name */
#define ARG_WHY_MAX      512 /* the longest sentence of the parsers below */

struct host_arg {
	char user[HOST_TEXT_MAX + 1]; /* "": not given */
	char host[HOST_TEXT_MAX + 1]; /* without brackets */
	unsigned port;                /* 0: not given */
};

const char *host_arg_check_host(const char *host);
const char *host_arg_check_user(const char *user);
const char *host_arg_check_key(const char *key);       /* "SHA256:…", as ssh-keygen -l prints it */
const char *host_arg_check_option(const char *option); /* "Key=Value" */

/* Whether a name can be that of a session: it is a folder's name, and stands in a unit's. */
const char *host_arg_check_name(const char *name);

/* The port a text up to `end` is, decimal and without leading zeros; 0 if it is none. */
unsigned host_arg_port(const char *text, const char *end);

/*
 * Takes "[USER@]HOST[:PORT]" apart; an IPv6 address may stand in brackets, and must when a port follows. 0, or -EINVAL
 * with a sentence in `why` (ARG_WHY_MAX bytes).
 */
int host_arg_parse(const char *text, struct host_arg *out, char *why);

/*
 * The session's name for a host when none was given: the host with every byte a name cannot have as '_'. 0, or -EINVAL
 * where that is still no name.
 */
int host_arg_name(const char *host, char name[SESSION_NAME_MAX + 1]);

/*
 * Reads SRC[:DST][:w]. 0, and the caller clears *out (config_mount_clear); -EINVAL with a sentence in `why`; -ENOMEM.
 */
int mount_arg_parse(const char *text, const char *home, struct config_mount *out, char *why);

/*
 * Reads [HOSTIP:]PORT:[GUESTIP:]PORT[,static]; a port may be a range FIRST-LAST, an IPv6 address stands in brackets,
 * and without HOSTIP both loopbacks of the host answer. Errors as mount_arg_parse; config_forward_clear frees *out.
 */
int forward_arg_parse(const char *text, struct rule_spec *out, char *why);

#endif
