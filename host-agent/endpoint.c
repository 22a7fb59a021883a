/* SPDX-License-Identifier: MIT */
/*
 * Counted host addresses. See endpoint.h. Runs on the loop's thread.
 *
 * Theory of operation. An endpoint is in a hash by its protocol and socket address, and while it waits for a port that
 * is not free, or for a descriptor, in the queue `waiting`, from which a timer takes RETRY_BATCH a time: one bind a
 * try, so that a port is had within ENDPOINT_RETRY_US of being free as long as no more than RETRY_BATCH wait. Who holds
 * it is found out on the side (holders.h).
 *
 * The first claim says which port, or socket, of the guest is forwarded, as long as there are claims for it. Those for
 * another one that map to the same address stand behind them, in the order they came.
 *
 * One whose last claim has left stays in the hash for a moment, in the queue `leaving`: open, with no leader, and with
 * what it has bound to answer nobody. Who claims it meanwhile has it back.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "holders.h"
#include "log.h"
#include "loop.h"
#include "passed_sockets.h"
#include "relay.h"
#include "sock_address.h"
#include "stream_listener.h"

#define ENDPOINT_RETRY_US 50000u
#define RETRY_BATCH       64

struct endpoint_key {
	struct sock_address at;
	uint32_t proto;
};

struct endpoint {
	UT_hash_handle hh;
	TAILQ_ENTRY(endpoint) waiting, leaving;
	TAILQ_HEAD(, endpoint_claim) claims;
	struct endpoints *all;
	struct endpoint_key key; /* compared as bytes */
	struct stream_listener *listener;
	struct lent_socket *lent; /* in its place */
	struct udp_port *udp;
	enum endpoint_state state;
	struct endpoint_claim *leader; /* leads where the address is forwarded to: the first that does */
	bool is_waiting;
	bool is_held;       /* by another socket of this host */
	uint64_t leaves_us; /* with no claim left; 0: it has one */
	char text[SOCK_ADDRESS_TEXT_MAX];
	/* For all claims; for those that lead elsewhere. */
	char why[SOCK_ADDRESS_TEXT_MAX + 160], behind[2 * SOCK_ADDRESS_TEXT_MAX + 64];
};

/* A socket of the service manager's, which listens whether or not it is claimed. */
struct lent_socket {
	int fd;
	struct sock_address at;
	struct stream_listener *listener; /* NULL: connections wait */
	struct endpoint *user;            /* NULL: they are refused */
};

struct endpoints {
	struct loop *loop;
	const struct endpoint_events *events;
	void *ctx;
	struct endpoint *by_key;
	TAILQ_HEAD(endpoint_queue, endpoint) waiting, leaving;
	unsigned leaving_count;
	struct loop_timer *retry, *leave;
	struct holders *holders;
	struct lent_socket *lent;
	size_t lent_count;
};

/* --- states ----------------------------------------------------------------------------------------------------- */

static void endpoint_changed(struct endpoint *e)
{
	struct endpoint_claim *claim;

	TAILQ_FOREACH(claim, &e->claims, next)
	e->all->events->changed(e->all->ctx, claim);
}

static void endpoint_wait(struct endpoint *e, bool wait)
{
	struct endpoints *all = e->all;

	if (wait == e->is_waiting)
		return;
	e->is_waiting = wait;
	if (wait)
		TAILQ_INSERT_TAIL(&all->waiting, e, waiting);
	else
		TAILQ_REMOVE(&all->waiting, e, waiting);
	if (!TAILQ_EMPTY(&all->waiting) && !loop_timer_is_set(all->retry))
		loop_timer_set(all->retry, ENDPOINT_RETRY_US);
}

static bool is_path(const struct endpoint *e)
{
	return sock_address_is_unix(&e->key.at);
}

/* Only of what is an IP address. */
static struct rule_address rule_address_of(const struct endpoint *e)
{
	struct rule_address address = {.family = e->key.at.any.sa_family};

	if (address.family == AF_INET)
		memcpy(address.bytes, &e->key.at.in.sin_addr, 4);
	else
		memcpy(address.bytes, &e->key.at.in6.sin6_addr, 16);
	return address;
}

static void endpoint_describe_conflict(struct endpoint *e)
{
	struct rule_address address;
	char holder[128];

	if (is_path(e)) {
		holders_describe_path(e->all->holders, e->key.at.un.sun_path, holder, sizeof(holder));
	} else {
		address = rule_address_of(e);
		holders_describe(e->all->holders, (uint8_t)e->key.proto, &address, ntohs(e->key.at.in.sin_port), holder,
				 sizeof(holder));
	}
	snprintf(e->why, sizeof(e->why), "%s is in use by %s", e->text, holder);
}

/* What an attempt to listen came to. */
static void endpoint_settle(struct endpoint *e, int error)
{
	enum endpoint_state before = e->state;

	e->is_held = error == -EADDRINUSE;
	switch (-error) {
	case 0:
		e->state = ENDPOINT_OPEN;
		break;
	case EADDRINUSE:
	case EEXIST:
		e->state = ENDPOINT_CONFLICT;
		break;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		e->state = ENDPOINT_ABSENT;
		break;
	default:
		e->state = ENDPOINT_FAILED;
	}
	endpoint_wait(e, error == -EADDRINUSE || error == -EEXIST || error == -EMFILE || error == -ENFILE ||
				 error == -ENOMEM || error == -ENOBUFS);
	if (e->state == before && before != ENDPOINT_FAILED)
		return;
	if (error == -EEXIST) {
		snprintf(e->why, sizeof(e->why), "%s is there, and is no socket", e->text);
	} else if (e->state == ENDPOINT_CONFLICT) {
		endpoint_describe_conflict(e);
		holders_refresh(e->all->holders, is_path(e) ? e->key.at.un.sun_path : NULL);
	} else if (error == -EACCES && !is_path(e)) {
		snprintf(e->why, sizeof(e->why), "%s: only root may listen on this port (homeport(1), LOW PORTS)",
			 e->text);
	} else if (error) {
		snprintf(e->why, sizeof(e->why), "%s: %s", e->text, strerror(-error));
	}
}

/* Whether two claims are for the same port, or socket, of the guest. */
static bool leads_alike(const struct endpoint_claim *a, const struct endpoint_claim *b)
{
	if (a->socket || b->socket)
		return a->socket && b->socket && strcmp(a->socket, b->socket) == 0;
	return a->target.port == b->target.port;
}

/*
 * Which claim a connection is for: one whose listener is of the family that was called, if there is one, because
 * 127.0.0.1:80 and [::1]:80 of the guest may be different servers; else the first that leads there.
 */
static struct endpoint_claim *endpoint_choose(const struct endpoint *e)
{
	uint8_t family = e->key.at.any.sa_family == AF_INET ? 4 : 6;
	struct endpoint_claim *claim;

	TAILQ_FOREACH(claim, &e->claims, next)
	if (claim->target.family == family && leads_alike(claim, e->leader))
		return claim;
	return e->leader;
}

static void on_accepted(void *ctx, int fd)
{
	struct endpoint *e = ctx;

	e->all->events->accepted(e->all->ctx, endpoint_choose(e), fd);
}

static void on_datagram(void *ctx, const struct udp_client *from, struct datagram *d, size_t len)
{
	struct endpoint *e = ctx;

	if (e->leaves_us)
		return;
	e->all->events->datagram(e->all->ctx, endpoint_choose(e), e->udp, from, d, len);
}

static void on_unreachable(void *ctx, const struct udp_client *client)
{
	struct endpoint *e = ctx;

	e->all->events->unreachable(e->all->ctx, e->udp, client);
}

static const struct udp_port_events udp_events = {.datagram = on_datagram, .unreachable = on_unreachable};

/* The endpoints of one address are one. */
static struct lent_socket *lent_socket_at(struct endpoints *all, const struct sock_address *at)
{
	for (size_t i = 0; i < all->lent_count; i++)
		if (sock_address_equal(&all->lent[i].at, at))
			return &all->lent[i];
	return NULL;
}

static void on_lent_accepted(void *ctx, int fd)
{
	struct lent_socket *lent = ctx;

	if (lent->user)
		on_accepted(lent->user, fd);
	else
		relay_reset_socket(fd);
}

static int lent_socket_start(struct endpoints *all, struct lent_socket *lent)
{
	if (lent->listener)
		return 0;
	return stream_listener_join(all->loop, lent->fd, &lent->at, on_lent_accepted, lent, &lent->listener);
}

static void endpoint_try(struct endpoint *e)
{
	struct loop *loop = e->all->loop;

	if (e->key.proto == LISTENER_TCP)
		e->lent = lent_socket_at(e->all, &e->key.at);
	if (e->lent) {
		e->lent->user = e;
		endpoint_settle(e, lent_socket_start(e->all, e->lent));
		return;
	}
	if (e->key.proto == LISTENER_UDP)
		endpoint_settle(e, udp_port_open(loop, &e->key.at, &udp_events, e, &e->udp));
	else
		endpoint_settle(e, stream_listener_open(loop, &e->key.at, on_accepted, e, &e->listener));
}

static void on_retry(void *ctx)
{
	struct endpoints *all = ctx;
	struct endpoint *first = NULL, *e;

	for (int i = 0; i < RETRY_BATCH && (e = TAILQ_FIRST(&all->waiting)) != NULL && e != first; i++) {
		enum endpoint_state before = e->state;

		endpoint_wait(e, false);
		endpoint_try(e); /* at the end of the queue again, when it did not help */
		if (e->is_waiting && !first)
			first = e;
		if (e->state != before)
			endpoint_changed(e);
	}
	if (!TAILQ_EMPTY(&all->waiting))
		loop_timer_set(all->retry, ENDPOINT_RETRY_US);
}

static void on_holders_known(void *ctx)
{
	struct endpoints *all = ctx;
	struct endpoint *e;

	TAILQ_FOREACH(e, &all->waiting, waiting)
	{
		char before[sizeof(e->why)];

		if (!e->is_held)
			continue;
		memcpy(before, e->why, sizeof(before));
		endpoint_describe_conflict(e);
		if (strcmp(before, e->why) != 0)
			endpoint_changed(e);
	}
}

/* --- claims ----------------------------------------------------------------------------------------------------- */

static struct endpoint *endpoint_new(struct endpoints *all, const struct endpoint_key *key)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->all = all;
	memcpy(&e->key, key, sizeof(e->key));
	e->state = ENDPOINT_STATE_COUNT; /* none yet */
	TAILQ_INIT(&e->claims);
	sock_address_text(e->text, &key->at);
	HASH_ADD(hh, all->by_key, key, sizeof(e->key), e);
	if (!e->hh.tbl) {
		free(e);
		return NULL;
	}
	return e;
}

/* No longer on its way out. */
static void endpoint_stay(struct endpoint *e)
{
	if (!e->leaves_us)
		return;
	e->leaves_us = 0;
	TAILQ_REMOVE(&e->all->leaving, e, leaving);
	e->all->leaving_count--;
}

static void endpoint_free(struct endpoint *e)
{
	endpoint_stay(e);
	endpoint_wait(e, false);
	stream_listener_close(e->listener);
	if (e->lent)
		e->lent->user = NULL;
	if (e->udp)
		e->all->events->closing(e->all->ctx, e->udp);
	udp_port_close(e->udp);
	HASH_DELETE(hh, e->all->by_key, e);
	free(e);
}

/* Listens again for the claim that has come back. */
static void endpoint_return(struct endpoint *e, struct endpoint_claim *claim)
{
	endpoint_stay(e);
	e->leader = claim;
	if (!e->listener || stream_listener_unmute(e->listener) == 0)
		return;
	stream_listener_close(e->listener);
	e->listener = NULL;
	endpoint_try(e);
}

static int endpoint_claim_at(struct endpoints *all, const struct sock_address *at, struct endpoint_claim *claim)
{
	struct endpoint_key key;
	struct endpoint *e;

	/* Compared as bytes. */
	memset(&key, 0, sizeof(key));
	memcpy(&key.at, at, sizeof(key.at));
	key.proto = claim->proto;
	HASH_FIND(hh, all->by_key, &key, sizeof(key), e);
	if (!e)
		e = endpoint_new(all, &key);
	if (!e)
		return -ENOMEM;
	claim->endpoint = e;
	TAILQ_INSERT_TAIL(&e->claims, claim, next);
	if (e->leaves_us) {
		endpoint_return(e, claim);
	} else if (e->state == ENDPOINT_STATE_COUNT) {
		e->leader = claim;
		endpoint_try(e);
	}
	return 0;
}

int endpoint_claim(struct endpoints *all, const struct rule_address *address, uint16_t port,
		   struct endpoint_claim *claim)
{
	struct sock_address at;

	sock_address_ip(&at, address->family == AF_INET ? 4 : 6, address->bytes, 0, port);
	return endpoint_claim_at(all, &at, claim);
}

int endpoint_claim_path(struct endpoints *all, const char *path, struct endpoint_claim *claim)
{
	struct sock_address at;
	int rc = sock_address_unix(&at, path);

	return rc < 0 ? rc : endpoint_claim_at(all, &at, claim);
}

/* The first claim that leads where `gone` did, if there is one, else the first. */
static struct endpoint_claim *endpoint_next_leader(const struct endpoint *e, const struct endpoint_claim *gone)
{
	struct endpoint_claim *claim;

	TAILQ_FOREACH(claim, &e->claims, next)
	if (leads_alike(claim, gone))
		return claim;
	return TAILQ_FIRST(&e->claims);
}

/* Gives the claim up; NULL, or the endpoint when it was the last. */
static struct endpoint *endpoint_unclaim(struct endpoint_claim *claim)
{
	struct endpoint *e = claim->endpoint;

	if (!e)
		return NULL;
	TAILQ_REMOVE(&e->claims, claim, next);
	claim->endpoint = NULL;
	if (TAILQ_EMPTY(&e->claims)) {
		e->leader = NULL;
		return e;
	}
	if (claim == e->leader) {
		e->leader = endpoint_next_leader(e, claim);
		if (!leads_alike(e->leader, claim))
			endpoint_changed(e);
	}
	return NULL;
}

void endpoint_release(struct endpoint_claim *claim)
{
	struct endpoint *e = endpoint_unclaim(claim);

	if (e)
		endpoint_free(e);
}

/* --- leaving ---------------------------------------------------------------------------------------------------- */

static void endpoints_arm_leave(struct endpoints *all)
{
	const struct endpoint *first = TAILQ_FIRST(&all->leaving);
	uint64_t now = loop_now_us(all->loop);

	if (first)
		loop_timer_set(all->leave, first->leaves_us > now ? first->leaves_us - now : 0);
}

static void on_leave(void *ctx)
{
	struct endpoints *all = ctx;
	uint64_t now = loop_now_us(all->loop);
	struct endpoint *first;

	while ((first = TAILQ_FIRST(&all->leaving)) && first->leaves_us <= now)
		endpoint_free(first);
	endpoints_arm_leave(all);
}

void endpoint_leave(struct endpoint_claim *claim)
{
	struct endpoint *e = endpoint_unclaim(claim);
	struct endpoints *all;

	if (!e)
		return;
	/* A path is nobody else's anyway, nor is what the service manager lent. */
	if (e->state != ENDPOINT_OPEN || is_path(e) || e->lent ||
	    (e->listener && stream_listener_mute(e->listener) < 0)) {
		endpoint_free(e);
		return;
	}
	all = e->all;
	e->leaves_us = loop_now_us(all->loop) + ENDPOINT_LEAVES_US;
	TAILQ_INSERT_TAIL(&all->leaving, e, leaving);
	if (++all->leaving_count > ENDPOINT_LEAVES_MAX)
		endpoint_free(TAILQ_FIRST(&all->leaving));
	if (!loop_timer_is_set(all->leave))
		endpoints_arm_leave(all);
}

/* --- how it stands ---------------------------------------------------------------------------------------------- */

enum endpoint_state endpoint_claim_state(const struct endpoint_claim *claim, const char **why)
{
	struct endpoint *e = claim->endpoint;
	const char *socket = e->leader->socket;
	char text[SOCK_ADDRESS_TEXT_MAX];

	if (leads_alike(claim, e->leader) || e->state != ENDPOINT_OPEN) {
		*why = e->state == ENDPOINT_OPEN ? NULL : e->why;
		return e->state;
	}
	if (socket)
		snprintf(e->behind, sizeof(e->behind), "%s is in use by the forward of the guest's %s", e->text,
			 text_printable(text, sizeof(text), socket, strlen(socket)));
	else
		snprintf(e->behind, sizeof(e->behind), "%s is in use by the forward of the guest's port %u", e->text,
			 e->leader->target.port);
	*why = e->behind;
	return ENDPOINT_CONFLICT;
}

const char *endpoint_claim_address(const struct endpoint_claim *claim)
{
	return claim->endpoint->text;
}

void endpoints_each_open(const struct endpoints *all, void (*cb)(void *ctx, const char *address), void *ctx)
{
	char text[SOCK_ADDRESS_TEXT_MAX + 8];

	for (const struct endpoint *e = all->by_key; e; e = e->hh.next) {
		if (e->state != ENDPOINT_OPEN || e->leaves_us)
			continue;
		snprintf(text, sizeof(text), "%s %s", listener_proto_name((uint8_t)e->key.proto), e->text);
		cb(ctx, text);
	}
}

void endpoints_refuse_others(struct endpoints *all)
{
	/* Where it fails (no descriptor, no memory), they go on waiting. */
	for (size_t i = 0; i < all->lent_count; i++)
		lent_socket_start(all, &all->lent[i]);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static int endpoints_borrow(struct endpoints *all)
{
	struct sock_address at;
	size_t cursor = 0;
	int fd;

	while (passed_sockets_next(&cursor, &at) >= 0)
		all->lent_count++;
	all->lent = calloc(all->lent_count + 1, sizeof(*all->lent));
	if (!all->lent)
		return -ENOMEM;
	for (cursor = 0; (fd = passed_sockets_next(&cursor, &at)) >= 0;)
		all->lent[cursor - 1] = (struct lent_socket){.fd = fd, .at = at};
	return 0;
}

struct endpoints *endpoints_new(struct loop *loop, const struct endpoint_events *events, void *ctx)
{
	struct endpoints *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->loop = loop;
	all->events = events;
	all->ctx = ctx;
	TAILQ_INIT(&all->waiting);
	TAILQ_INIT(&all->leaving);
	all->retry = loop_timer_new(loop, on_retry, all);
	all->leave = loop_timer_new(loop, on_leave, all);
	all->holders = holders_new(loop, on_holders_known, all);
	if (!all->retry || !all->leave || !all->holders || endpoints_borrow(all) < 0) {
		endpoints_free(all);
		return NULL;
	}
	return all;
}

void endpoints_free(struct endpoints *all)
{
	if (!all)
		return;
	while (!TAILQ_EMPTY(&all->leaving))
		endpoint_free(TAILQ_FIRST(&all->leaving));
	loop_timer_free(all->retry);
	loop_timer_free(all->leave);
	holders_free(all->holders);
	for (size_t i = 0; all->lent && i < all->lent_count; i++)
		stream_listener_close(all->lent[i].listener);
	free(all->lent);
	free(all);
}
