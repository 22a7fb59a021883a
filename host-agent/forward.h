/* SPDX-License-Identifier: MIT */
/*
 * forward: what the guest listens on answers on the host. Port reports in, loopback listeners out.
 *
 * Each listener the guest reports is matched against the rules once and kept with its verdict; those that are to be
 * forwarded claim one or two host addresses, which are counted (endpoint.h). So do ports and sockets of the guest that
 * a rule has from start to end, which no report brings. A connection to one becomes a stream to the guest. Nothing here
 * trusts the guest: how much it can report is bounded, and it never names a host address.
 */
#ifndef HOMEPORT_FORWARD_H
#define HOMEPORT_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control_msg;
struct forward;
struct loop;
struct mux;
struct relay_carrier;
struct rules;
struct socket_world;

/* Names by forward_state_name(): what `status --json` shows. */
enum forward_state {
	FORWARD_FORWARDED,
	FORWARD_IGNORED,  /* reason: by which rule */
	FORWARD_CONFLICT, /* reason: who holds the host's port; retried the moment it is free */
	FORWARD_FAILED,   /* reason: why */
	FORWARD_STATE_COUNT,
};

struct forward_limits {
	unsigned max_forwards; /* guest listeners forwarded at once; four times as many are kept for status */
};

struct forward_info;

struct forward_events {
	/* What forward_list() gives has changed: once a turn of the loop, at its end. May be NULL. */
	void (*changed)(void *ctx);
	/* A row stands differently, or goes. At once, from inside any function here: may not call back. May be NULL. */
	void (*port)(void *ctx, const struct forward_info *info, bool gone);
};

/* One row of status; the strings live until the callback returns. Text of the guest is printable. */
struct forward_info {
	const char *proto;   /* "tcp", "udp", "unix": of the guest's end */
	const char *guest;   /* "127.0.0.1:8080", "[::1]:8080", "/run/docker.sock" */
	const char *host[2]; /* the same forms */
	size_t host_count;
	uint16_t guest_port, host_port; /* host_port: 0 where there is none */
	const char *rule;               /* which rule says so: "portForwards[0]", "the default rule" */
	bool by_hand;                   /* that rule is of a command */
	enum forward_state state;
	const char *reason;  /* NULL when forwarded */
	const char *process; /* NULL: not known, as the two below */
	const char *user;
	const char *unit;
	uint32_t pid;         /* 0: not known */
	unsigned connections; /* open now */
	uint64_t bytes_in;    /* from the host into the guest */
	uint64_t bytes_out;
	bool reverse; /* the guest's end is the one that is listened at (reverse.h) */
};

typedef void forward_list_cb(void *ctx, const struct forward_info *info);

/*
 * rules must outlive it, or be replaced; world, which says what the templates in paths stand for, must outlive it. What
 * the rules have from start to end is listened on now. NULL: out of memory.
 */
struct forward *forward_new(struct loop *loop, const struct rules *rules, const struct socket_world *world,
			    const struct forward_limits *limits, const struct forward_events *events, void *ctx);

/* Closes every listener and connection. NULL is fine. Not from inside `changed` or a list callback. */
void forward_free(struct forward *f);

/*
 * Other rules, and another bound, from here on; those before may be freed when it returns. Each listener is judged
 * anew. What is to answer where it does already stays as it is, with its connections and those that wait to be
 * accepted; a static port stays if the new rules have the same one.
 */
void forward_set_rules(struct forward *f, const struct rules *rules, const struct forward_limits *limits);

/* Calls `found` with the guest's port of each listener known now that would answer on this port of the host by other
 * rules. */
void forward_try_rules(const struct forward *f, const struct rules *rules, uint16_t host_port,
		       void (*found)(void *ctx, uint16_t guest_port), void *ctx);

/*
 * The mux new connections go to. NULL: there is none, and they are reset at once; the listeners stay until the next
 * snapshot. The streams of the one before end by what its mux tells them.
 */
void forward_set_mux(struct forward *f, struct mux *mux);

/* Who carries connections that bulk passes through, from the next one on; must outlive it. */
void forward_set_carrier(struct forward *f, const struct relay_carrier *carrier);

/* A control message of the guest: PORTS_* and PORT_* mean something, others nothing. */
void forward_message(struct forward *f, const struct control_msg *msg);

/* Calls cb for each row, in the order of the guest's ports. */
void forward_list(struct forward *f, forward_list_cb *cb, void *ctx);

/* Calls cb with each address of the host that is listened on. */
void forward_each_address(const struct forward *f, void (*cb)(void *ctx, const char *address), void *ctx);

const char *forward_state_name(enum forward_state state);

#endif
