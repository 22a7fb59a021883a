/* SPDX-License-Identifier: MIT */
/*
 * The session's connection, moved away from SSH where a guest on this machine, or on a network of it, can be reached
 * without: what the two agents say to each other no longer passes through sshd and its pipes. The login stays SSH's
 * matter: the key of the direct connection goes over it, it stays open, and with its end the direct one is given up and
 * a new login begins (anchor.h).
 *
 * The guest listens first, and this side connects; where that is no use (sshd was reached at an address of this
 * machine, so a port of it is forwarded, and the guest itself is elsewhere) or comes to nothing, this side listens, for
 * a moment. When neither is possible all stays as it is. The move itself is a resumption like any other (session.h):
 * nothing above the session notices.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent_state.h"
#include "anchor.h"
#include "bounds.h"
#include "chan.h"
#include "config.h"
#include "direct.h"
#include "log.h"
#include "loop.h"
#include "peer.h"
#include "runtime_dir.h"

/* A direct connection that breaks so soon is not tried again for a while: something between the two does not like it.
 */
#define DIRECT_SHORT_US 10000000u
#define DIRECT_PAUSE_US 600000000u

/* sshd was reached at an address of this very machine: a port of it is forwarded to the guest's. */
static bool is_forwarded(const struct sock_address *local, const struct sock_address *remote)
{
	if (remote->any.sa_family == AF_INET)
		return ntohl(remote->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET ||
		       local->in.sin_addr.s_addr == remote->in.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&local->in6.sin6_addr, &remote->in6.sin6_addr);
}

/* Whether no gateway lies between; of IPv6, whether both are of one /64. */
static bool is_near(const struct sock_address *local, const struct sock_address *remote)
{
	int fd, on = 1;
	bool near;

	if (remote->any.sa_family == AF_INET6)
		return !memcmp(&local->in6.sin6_addr, &remote->in6.sin6_addr, 8);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* Nothing is sent: the kernel says whether it would have to ask a gateway. */
	near = setsockopt(fd, SOL_SOCKET, SO_DONTROUTE, &on, sizeof(on)) == 0 &&
	       connect(fd, &remote->any, remote->len) == 0;
	close(fd);
	return near;
}

/* NULL: there may be a direct connection; else why not. */
static const char *obstacle(const struct agent *a)
{
	const struct agent_direct *d = &a->direct;

	if (!a->config->ssh.direct)
		return "the configuration says so";
	if (d->not_before_us > loop_now_us(a->loop))
		return "a direct connection broke a moment after it began";
	if (!d->remote.len)
		return "ssh goes through a proxy";
	if (!is_forwarded(&d->local, &d->remote) && !is_near(&d->local, &d->remote))
		return "the guest is not on a network of this machine";
	return NULL;
}

static void stay(struct agent *a, const char *why)
{
	if (!strcmp(a->direct.why, why))
		return;
	snprintf(a->direct.why, sizeof(a->direct.why), "%s", why);
	log_info("session %s: through ssh: %s", a->dir->name, why);
	agent_changed(a);
}

/* For now: a firewall may be opened, a network mended. */
static void stay_for_now(struct agent *a, const char *why)
{
	stay(a, why);
	loop_timer_set(a->direct_timer, DIRECT_PAUSE_US);
}

static void on_done(void *ctx, struct chan *chan, const char *why);

static void try_way(struct agent *a, enum direct_way way)
{
	struct control_msg msg = {.type = CONTROL_DIRECT, .direct = {.way = way}};
	struct agent_direct *d = &a->direct;
	uint64_t inode;
	int rc = 0;

	/* The session is ending. */
	if (!control_stream_is_open(&a->control))
		return;
	d->way = way;
	if (getrandom(d->key, sizeof(d->key), 0) != sizeof(d->key)) {
		stay(a, "there is no randomness for a key");
		return;
	}
	memcpy(msg.direct.key, d->key, sizeof(d->key));
	if (way == DIRECT_HOST_LISTENS)
		rc = direct_listen(a->loop, &d->local, d->key, on_done, a, &d->attempt, &msg.direct.port, &inode);
	if (rc < 0) {
		stay_for_now(a, strerror(-rc));
		return;
	}
	d->asked = true;
	msg.direct.number = ++d->number;
	agent_guest_send(a, &msg);
	explicit_bzero(&msg, sizeof(msg));
}

static void try_next(struct agent *a, const char *why)
{
	explicit_bzero(a->direct.key, sizeof(a->direct.key));
	if (a->direct.way == DIRECT_GUEST_LISTENS)
		try_way(a, DIRECT_HOST_LISTENS);
	else
		stay_for_now(a, why);
}

void agent_direct_again(void *ctx)
{
	agent_direct_begin(ctx);
}

void agent_direct_begin(struct agent *a)
{
	const char *why = obstacle(a);

	if (!a->guest_known || a->direct.attempt || a->direct.anchor)
		return;
	if (why && a->direct.not_before_us > loop_now_us(a->loop))
		stay_for_now(a, why);
	else if (why)
		stay(a, why);
	else
		try_way(a,
			is_forwarded(&a->direct.local, &a->direct.remote) ? DIRECT_HOST_LISTENS : DIRECT_GUEST_LISTENS);
}

/* The login has ended, and so has what hangs on it. The guest may have ended it because it heard nothing on the direct
 * connection any more; where we have, that was not to blame. */
static void on_anchor_ended(void *ctx, const char *why)
{
	struct agent *a = ctx;
	uint64_t silent_us = loop_now_us(a->loop) - peer_heard_us(a->peer);

	if (a->direct.up && silent_us < SESSION_PING_US + SESSION_PING_US / 4)
		a->direct.began_us = 0;
	peer_drop_connection(a->peer, why);
}

static void on_done(void *ctx, struct chan *chan, const char *why)
{
	struct agent *a = ctx;
	struct agent_direct *d = &a->direct;
	struct chan *old;

	d->attempt = NULL;
	d->asked = false;
	if (!chan) {
		try_next(a, why);
		return;
	}
	explicit_bzero(d->key, sizeof(d->key));
	if (peer_move(a->peer, chan, NULL, NULL, 0, &old) < 0 || !old)
		return;
	d->moving = true;
	d->began_us = loop_now_us(a->loop);
	d->anchor = anchor_new(a->loop, old, ANCHOR_HOST, on_anchor_ended, a);
	if (!d->anchor)
		peer_drop_connection(a->peer, "out of memory");
}

int agent_direct_state(struct agent *a, const struct control_direct_state *state)
{
	struct agent_direct *d = &a->direct;
	struct sock_address to = d->remote;
	int rc;

	if (state->number == 0 || state->number > d->number)
		return -EPROTO;
	if (state->number == a->lane.number) {
		agent_lane_state(a, state);
		return 0;
	}
	/* Of an attempt that ended with a connection, or that nobody waits for any more. */
	if (!d->asked || state->number != d->number)
		return 0;
	d->asked = false;
	if (state->error) {
		direct_free(d->attempt);
		d->attempt = NULL;
		try_next(a, strerror((int)state->error));
	} else if (d->way == DIRECT_GUEST_LISTENS) {
		sock_address_set_port(&to, state->port);
		rc = direct_connect(a->loop, &to, d->key, on_done, a, &d->attempt);
		if (rc < 0)
			try_next(a, strerror(-rc));
	} else {
		return -EPROTO;
	}
	return 0;
}

bool agent_direct_moved(struct agent *a)
{
	if (!a->direct.moving)
		return false;
	a->direct.moving = false;
	a->direct.up = true;
	a->direct.why[0] = '\0';
	log_info("session %s: connected directly, beside ssh", a->dir->name);
	agent_changed(a);
	return true;
}

void agent_direct_end(struct agent *a, bool lost)
{
	struct agent_direct *d = &a->direct;
	uint64_t now_us = loop_now_us(a->loop);

	if (lost && d->began_us && now_us - d->began_us < DIRECT_SHORT_US)
		d->not_before_us = now_us + DIRECT_PAUSE_US;
	if (a->direct_timer)
		loop_timer_stop(a->direct_timer);
	direct_free(d->attempt);
	anchor_free(d->anchor);
	explicit_bzero(d->key, sizeof(d->key));
	*d = (struct agent_direct){.not_before_us = d->not_before_us, .number = d->number};
}
