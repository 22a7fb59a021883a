/* SPDX-License-Identifier: MIT */
/*
 * Counted host addresses. See endpoint.h. Runs on the loop's thread.
 *
 * Theory of operation. An endpoint is in a hash by protocol, address and port, and while it waits for a port that is
 * not free, or for a descriptor, in the queue `waiting`, from which a timer takes RETRY_BATCH a time: one bind a try,
 * so that a port is had within ENDPOINT_RETRY_US of being free as long as no more than RETRY_BATCH wait. Who holds it
 * is found out on the side (holders.h).
 *
 * The first claim says which port of the guest is forwarded, as long as there are claims for it. Those for another port
 * of the guest that map to the same address stand behind them, in the order they came.
 */
#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "address.h"
#include "holders.h"
#include "loop.h"
#include "port_listener.h"

#define ENDPOINT_RETRY_US 50000u
#define RETRY_BATCH       64

struct endpoint_key {
	uint8_t proto, family, bytes[16];
	uint16_t port;
};

struct endpoint {
	UT_hash_handle hh;
	TAILQ_ENTRY(endpoint) waiting;
	TAILQ_HEAD(, endpoint_claim) claims;
	struct endpoints *all;
	struct endpoint_key key;
	struct rule_address address;
	struct port_listener *listener;
	struct udp_port *udp;
	enum endpoint_state state;
	uint16_t guest_port; /* the one that is forwarded, as long as there is a claim for it */
	bool is_waiting;
	char text[ADDRESS_TEXT_MAX];
	char why[256], behind[160]; /* for all claims; for those for another port of the guest */
};

struct endpoints {
	struct loop *loop;
	const struct endpoint_events *events;
	void *ctx;
	struct endpoint *by_key;
	TAILQ_HEAD(, endpoint) waiting;
	struct loop_timer *retry;
	struct holders *holders;
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

static void endpoint_describe_conflict(struct endpoint *e)
{
	char holder[128];

	holders_describe(e->all->holders, e->key.proto, &e->address, e->key.port, holder, sizeof(holder));
	snprintf(e->why, sizeof(e->why), "%s is in use by %s", e->text, holder);
}

/* What an attempt to listen came to. */
static void endpoint_settle(struct endpoint *e, int error)
{
	enum endpoint_state before = e->state;

	switch (-error) {
	case 0:
		e->state = ENDPOINT_OPEN;
		break;
	case EADDRINUSE:
		e->state = ENDPOINT_CONFLICT;
		break;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		e->state = ENDPOINT_ABSENT;
		break;
	default:
		e->state = ENDPOINT_FAILED;
	}
	endpoint_wait(e, error == -EADDRINUSE || error == -EMFILE || error == -ENFILE || error == -ENOMEM ||
				 error == -ENOBUFS);
	if (e->state == before && before != ENDPOINT_FAILED)
		return;
	if (e->state == ENDPOINT_CONFLICT) {
		endpoint_describe_conflict(e);
		holders_refresh(e->all->holders);
	} else if (error == -EACCES) {
		snprintf(e->why, sizeof(e->why), "%s: only root may listen on this port (homeport(1), LOW PORTS)",
			 e->text);
	} else if (error) {
		snprintf(e->why, sizeof(e->why), "%s: %s", e->text, strerror(-error));
	}
}

/*
 * Which claim a connection is for: one whose listener is of the family that was called, if there is one, because
 * 127.0.0.1:80 and [::1]:80 of the guest may be different servers; else the first.
 */
static struct endpoint_claim *endpoint_choose(const struct endpoint *e)
{
	uint8_t family = e->address.family == AF_INET ? 4 : 6;
	struct endpoint_claim *claim;

	TAILQ_FOREACH(claim, &e->claims, next)
	if (claim->target.family == family && claim->target.port == e->guest_port)
		return claim;
	return TAILQ_FIRST(&e->claims);
}

static void on_accepted(void *ctx, int fd)
{
	struct endpoint *e = ctx;

	e->all->events->accepted(e->all->ctx, endpoint_choose(e), fd);
}

static void on_datagram(void *ctx, const struct udp_client *from, struct datagram *d, size_t len)
{
	struct endpoint *e = ctx;

	e->all->events->datagram(e->all->ctx, endpoint_choose(e), e->udp, from, d, len);
}

static void on_unreachable(void *ctx, const struct udp_client *client)
{
	struct endpoint *e = ctx;

	e->all->events->unreachable(e->all->ctx, e->udp, client);
}

static const struct udp_port_events udp_events = {.datagram = on_datagram, .unreachable = on_unreachable};

static void endpoint_try(struct endpoint *e)
{
	struct loop *loop = e->all->loop;

	if (e->key.proto == LISTENER_UDP)
		endpoint_settle(e, udp_port_open(loop, &e->address, e->key.port, &udp_events, e, &e->udp));
	else
		endpoint_settle(e, port_listener_open(loop, &e->address, e->key.port, on_accepted, e, &e->listener));
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

		if (e->state != ENDPOINT_CONFLICT)
			continue;
		memcpy(before, e->why, sizeof(before));
		endpoint_describe_conflict(e);
		if (strcmp(before, e->why) != 0)
			endpoint_changed(e);
	}
}

/* --- claims ----------------------------------------------------------------------------------------------------- */

static struct endpoint_key key_of(uint8_t proto, const struct rule_address *address, uint16_t port)
{
	struct endpoint_key key;

	/* Compared as bytes. */
	memset(&key, 0, sizeof(key));
	key.proto = proto;
	key.family = address->family == AF_INET ? 4 : 6;
	key.port = port;
	memcpy(key.bytes, address->bytes, key.family == 4 ? 4 : 16);
	return key;
}

static struct endpoint *endpoint_new(struct endpoints *all, const struct endpoint_key *key,
				     const struct rule_address *address)
{
	struct endpoint *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->all = all;
	e->key = *key;
	e->address = *address;
	e->state = ENDPOINT_STATE_COUNT; /* none yet */
	TAILQ_INIT(&e->claims);
	address_text(e->text, key->family, key->bytes, 0, key->port);
	HASH_ADD(hh, all->by_key, key, sizeof(e->key), e);
	if (!e->hh.tbl) {
		free(e);
		return NULL;
	}
	return e;
}

static void endpoint_free(struct endpoint *e)
{
	endpoint_wait(e, false);
	port_listener_close(e->listener);
	if (e->udp)
		e->all->events->closing(e->all->ctx, e->udp);
	udp_port_close(e->udp);
	HASH_DELETE(hh, e->all->by_key, e);
	free(e);
}

int endpoint_claim(struct endpoints *all, const struct rule_address *address, uint16_t port,
		   struct endpoint_claim *claim)
{
	struct endpoint_key key = key_of(claim->proto, address, port);
	struct endpoint *e;

	HASH_FIND(hh, all->by_key, &key, sizeof(key), e);
	if (!e)
		e = endpoint_new(all, &key, address);
	if (!e)
		return -ENOMEM;
	claim->endpoint = e;
	TAILQ_INSERT_TAIL(&e->claims, claim, next);
	if (e->state == ENDPOINT_STATE_COUNT) {
		e->guest_port = claim->target.port;
		endpoint_try(e);
	}
	return 0;
}

static bool endpoint_has_port(const struct endpoint *e, uint16_t guest_port)
{
	const struct endpoint_claim *claim;

	TAILQ_FOREACH(claim, &e->claims, next)
	if (claim->target.port == guest_port)
		return true;
	return false;
}

void endpoint_release(struct endpoint_claim *claim)
{
	struct endpoint *e = claim->endpoint;

	if (!e)
		return;
	TAILQ_REMOVE(&e->claims, claim, next);
	claim->endpoint = NULL;
	if (TAILQ_EMPTY(&e->claims)) {
		endpoint_free(e);
	} else if (!endpoint_has_port(e, e->guest_port)) {
		e->guest_port = TAILQ_FIRST(&e->claims)->target.port;
		endpoint_changed(e);
	}
}

enum endpoint_state endpoint_claim_state(const struct endpoint_claim *claim, const char **why)
{
	struct endpoint *e = claim->endpoint;
	bool first = claim->target.port == e->guest_port;

	if (first || e->state != ENDPOINT_OPEN) {
		*why = e->state == ENDPOINT_OPEN ? NULL : e->why;
		return e->state;
	}
	snprintf(e->behind, sizeof(e->behind), "%s is in use by the forward of the guest's port %u", e->text,
		 e->guest_port);
	*why = e->behind;
	return ENDPOINT_CONFLICT;
}

const char *endpoint_claim_address(const struct endpoint_claim *claim)
{
	return claim->endpoint->text;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct endpoints *endpoints_new(struct loop *loop, const struct endpoint_events *events, void *ctx)
{
	struct endpoints *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	all->loop = loop;
	all->events = events;
	all->ctx = ctx;
	TAILQ_INIT(&all->waiting);
	all->retry = loop_timer_new(loop, on_retry, all);
	all->holders = holders_new(loop, on_holders_known, all);
	if (!all->retry || !all->holders) {
		endpoints_free(all);
		return NULL;
	}
	return all;
}

void endpoints_free(struct endpoints *all)
{
	if (!all)
		return;
	loop_timer_free(all->retry);
	holders_free(all->holders);
	free(all);
}
