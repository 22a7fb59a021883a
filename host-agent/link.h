/* SPDX-License-Identifier: MIT */
/*
 * link: keeps one connection to the guest wanted. Says when there is one (a chan whose far end is homeport-guest's
 * stdin and stdout), and why there is none; tries again with a growing pause, at once when the machine woke up or the
 * network came back.
 *
 * States: IDLE -> link_start() -> CONNECTING -> BRINGING -> CONNECTED -> link_lost() -> WAITING -> CONNECTING ...;
 *         CONNECTING, BRINGING -> (failed) -> WAITING; any -> link_stop() -> IDLE.
 */
#ifndef HOMEPORT_LINK_H
#define HOMEPORT_LINK_H

#include <stdint.h>

#include "link_error.h"
#include "sock_address.h"
#include "ssh_config.h"

struct chan;
struct guest_builds;
struct link;
struct loop;

enum link_state {
	LINK_IDLE,
	LINK_CONNECTING,
	LINK_BRINGING, /* logged in; homeport-guest is not known to run there yet */
	LINK_CONNECTED,
	LINK_WAITING,
	LINK_STATE_COUNT,
};

struct link_params {
	struct ssh_request ssh;
	const char *host_key; /* pinned "SHA256:..."; NULL: known_hosts decides */
	const char *command;  /* what the guest's login shell runs */
	/*
	 * With them, command is bring_command()'s, and a connection is one when homeport-guest runs there; it must stay
	 * where it is. NULL: command is homeport-guest itself.
	 */
	const struct guest_builds *builds;
};

/* About the connection that came up; valid during the call. */
struct link_info {
	const char *host; /* the name or address connected to, after ssh_config */
	unsigned port;
	const char *user;
	const char *host_key;      /* "SHA256:..." */
	const char *host_key_type; /* "ssh-ed25519" */
	const char *cipher;
	struct sock_address local, remote; /* of the TCP connection; len 0 where ssh goes through a proxy */
	const char *printed;               /* what the login shell printed before homeport-guest ran, printable; "" */
};

/* Each may call into the link; none may free it but by link_free() deferred (loop_defer). */
struct link_events {
	/* The chan is the callee's, without an owner yet; hand it to peer_attach(). */
	void (*connected)(void *ctx, struct chan *chan, const struct link_info *info);
	/*
	 * An attempt failed, or a connection ended for a reason worth more than "lost" (homeport-guest was not
	 * found). The link waits and tries again; when err->permanent it waits long, and the callee may prefer
	 * link_stop(). err is valid during the call.
	 */
	void (*failed)(void *ctx, const struct link_error *err);
	/* The machine slept, or the network changed under a connection: it is worth peer_drop_connection() if nothing
	 * was heard lately. May be NULL. */
	void (*doubtful)(void *ctx, const char *why);
};

/* The strings of params are copied. NULL: out of memory or descriptors. */
struct link *link_new(struct loop *loop, const struct link_params *params, const struct link_events *events, void *ctx);

/* Never waits for a connect that is under way: its thread ends by itself. NULL is fine. */
void link_free(struct link *link);

/* Wants a connection from now on; no callback before it returns. */
void link_start(struct link *link);

/* Wants none; an attempt under way is given up. A chan handed out before is not touched. */
void link_stop(struct link *link);

/* The chan handed out by `connected` has ended (it was freed, or `closed` was called): connect again. */
void link_lost(struct link *link);

/* Tries now instead of after the pause. */
void link_hurry(struct link *link);

enum link_state link_state(const struct link *link);
const char *link_state_name(enum link_state state);

/* The last failure, kind NONE before the first and after each success. */
const struct link_error *link_last_error(const struct link *link);

#endif
