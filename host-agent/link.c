/* SPDX-License-Identifier: MIT */
/*
 * Keeps one connection wanted. Runs on the loop's thread; the attempts themselves run in connector.c.
 *
 * While a connection is wanted, a timer looks whether the machine slept (CLOCK_BOOTTIME ran on while CLOCK_MONOTONIC
 * stood still). It is a timerfd of CLOCK_BOOTTIME, which after a sleep is due the moment the machine is back. After a
 * sleep, and when a route or an address appears, the pause is over at once; a connection that is up is then only
 * doubtful, which its owner may look into.
 */
#include "link.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "backoff.h"
#include "bringer.h"
#include "chan.h"
#include "chan_ssh.h"
#include "clock.h"
#include "connector.h"
#include "link_params.h"
#include "log.h"
#include "loop.h"
#include "route_watch.h"
#include "ssh_login.h"
#include "ssh_target.h"

/* A shorter sleep is no more than a slow network to a connection. */
#define SLEEP_LOOK_S 2

struct link {
	struct loop *loop;
	struct link_params *params;
	const struct link_events *events;
	void *ctx;
	enum link_state state;
	struct connector *connector; /* while CONNECTING */
	struct bringer *bringer;     /* while BRINGING */
	struct loop_timer *pause;    /* while WAITING */
	int look_fd;                 /* ticks while not IDLE */
	struct loop_fd *look;
	struct route_watch *routes;       /* NULL where it cannot be had */
	struct chan_ssh_outcome *outcome; /* of the chan last handed out */
	struct backoff backoff;
	struct sleep_watch sleep;
	struct link_error last;
	struct link_info info; /* of the last login, in the arrays below */
	char host[256], user[256], host_key[128], host_key_type[64], cipher[64];
	char printed[BRINGER_PRINTED_MAX];
};

static void link_connect(struct link *link);

const char *link_state_name(enum link_state state)
{
	static const char *const names[] = {"idle", "connecting", "bringing", "connected", "waiting"};

	static_assert(sizeof(names) / sizeof(names[0]) == LINK_STATE_COUNT, "a name for each state");
	return (unsigned)state < LINK_STATE_COUNT ? names[state] : "unknown";
}

static void set_state(struct link *link, enum link_state state)
{
	log_debug("link: %s -> %s", link_state_name(link->state), link_state_name(state));
	link->state = state;
}

static void wait_for(struct link *link, uint64_t pause_us)
{
	set_state(link, LINK_WAITING);
	loop_timer_set(link->pause, pause_us);
}

static void link_failed(struct link *link, const struct link_error *err)
{
	/* A copy: the callee may stop, start or defer the end of the link. */
	struct link_error told = *err;

	link->last = told;
	link->events->failed(link->ctx, &told);
}

/* No connection came of an attempt. */
static void attempt_failed(struct link *link, const struct link_error *err)
{
	wait_for(link, backoff_failed(&link->backoff, err->permanent));
	link_failed(link, err);
}

static void attempt_failed_here(struct link *link)
{
	struct link_error err;

	link_error_set(&err, LINK_ERROR_LOCAL, "%s: out of memory or descriptors", link->params->ssh.destination);
	attempt_failed(link, &err);
}

static void link_up(struct link *link, struct chan *chan)
{
	link->last = (struct link_error){0};
	backoff_connected(&link->backoff, loop_now_us(link->loop));
	set_state(link, LINK_CONNECTED);
	link->events->connected(link->ctx, chan, &link->info);
}

static void on_brought(void *ctx, struct chan *chan, const struct link_error *err)
{
	struct link *link = ctx;

	link->bringer = NULL;
	if (chan)
		link_up(link, chan);
	else
		attempt_failed(link, err);
}

static void link_bring(struct link *link, struct chan *chan)
{
	const struct bringer_params params = {
		.name = link->params->ssh.destination,
		.builds = link->params->builds,
		.outcome = link->outcome,
		.printed = link->printed,
	};

	link->bringer = bringer_new(link->loop, chan, &params, on_brought, link);
	if (link->bringer)
		set_state(link, LINK_BRINGING);
	else
		attempt_failed_here(link);
}

/* Of a socket of IP; else of no length. */
static void keep_ends(int fd, struct link_info *info)
{
	info->local.len = info->remote.len = sizeof(info->local.in6);
	if (getsockname(fd, &info->local.any, &info->local.len) < 0 ||
	    getpeername(fd, &info->remote.any, &info->remote.len) < 0 ||
	    (info->local.any.sa_family != AF_INET && info->local.any.sa_family != AF_INET6))
		info->local.len = info->remote.len = 0;
}

/* Both, login and target, may be gone when the connection is told. */
static void keep_info(struct link *link, const struct ssh_login *login, const struct ssh_target *target)
{
	snprintf(link->host, sizeof(link->host), "%s", target->hostname);
	snprintf(link->user, sizeof(link->user), "%s", target->user);
	snprintf(link->host_key, sizeof(link->host_key), "%s", ssh_login_host_key(login));
	snprintf(link->host_key_type, sizeof(link->host_key_type), "%s", ssh_login_host_key_type(login));
	snprintf(link->cipher, sizeof(link->cipher), "%s", ssh_login_cipher(login));
	link->printed[0] = '\0';
	link->info = (struct link_info){
		.host = link->host,
		.port = target->port,
		.user = link->user,
		.host_key = link->host_key,
		.host_key_type = link->host_key_type,
		.cipher = link->cipher,
		.printed = link->printed,
	};
	keep_ends(ssh_login_watch_fd(login), &link->info);
}

static void on_done(void *ctx, struct ssh_login *login, const struct ssh_target *target, const struct link_error *err)
{
	struct link *link = ctx;
	struct chan *chan;

	link->connector = NULL;
	if (!login) {
		attempt_failed(link, err);
		return;
	}
	keep_info(link, login, target);
	chan_ssh_outcome_unref(link->outcome);
	link->outcome = NULL;
	chan = chan_ssh_new(link->loop, login, &link->outcome);
	if (!chan)
		attempt_failed_here(link);
	else if (link->params->builds)
		link_bring(link, chan);
	else
		link_up(link, chan);
}

static void link_connect(struct link *link)
{
	struct link_error err;

	loop_timer_stop(link->pause);
	link->connector = connector_start(link->loop, link->params, on_done, link);
	if (link->connector) {
		set_state(link, LINK_CONNECTING);
		return;
	}
	link_error_set(&err, LINK_ERROR_LOCAL, "%s: no thread, memory or descriptor to connect with",
		       link->params->ssh.destination);
	wait_for(link, backoff_failed(&link->backoff, false));
	link_failed(link, &err);
}

static void on_pause_over(void *ctx)
{
	struct link *link = ctx;

	if (link->state == LINK_WAITING)
		link_connect(link);
}

/* The world may have changed for the better. */
static void retry(struct link *link, const char *why)
{
	backoff_reset(&link->backoff);
	if (link->state == LINK_WAITING) {
		log_debug("link: trying at once: %s", why);
		link_connect(link);
	} else if (link->state == LINK_CONNECTED && link->events->doubtful) {
		link->events->doubtful(link->ctx, why);
	}
}

static void on_look(void *ctx, int fd, unsigned what)
{
	struct link *link = ctx;
	uint64_t ticks;

	(void)what;
	(void)!read(fd, &ticks, sizeof(ticks));
	if (sleep_watch_slept(&link->sleep, clock_us(CLOCK_BOOTTIME), clock_us(CLOCK_MONOTONIC)))
		retry(link, "this machine was asleep");
}

static void look_every(struct link *link, time_t seconds)
{
	const struct itimerspec spec = {{seconds, 0}, {seconds, 0}};

	timerfd_settime(link->look_fd, 0, &spec, NULL);
}

static void on_route(void *ctx)
{
	retry(ctx, "the network changed");
}

struct link *link_new(struct loop *loop, const struct link_params *params, const struct link_events *events, void *ctx)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->loop = loop;
	link->events = events;
	link->ctx = ctx;
	link->params = link_params_copy(params);
	link->pause = loop_timer_new(loop, on_pause_over, link);
	link->look_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (link->look_fd >= 0)
		link->look = loop_fd_new(loop, link->look_fd, LOOP_READ, on_look, link);
	if (!link->params || !link->pause || !link->look) {
		link_free(link);
		return NULL;
	}
	link->routes = route_watch_new(loop, on_route, link);
	return link;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	connector_cancel(link->connector);
	bringer_free(link->bringer);
	chan_ssh_outcome_unref(link->outcome);
	route_watch_free(link->routes);
	loop_timer_free(link->pause);
	loop_fd_free(link->look);
	if (link->look_fd >= 0)
		close(link->look_fd);
	link_params_free(link->params);
	free(link);
}

void link_start(struct link *link)
{
	if (link->state != LINK_IDLE)
		return;
	backoff_reset(&link->backoff);
	link->sleep.started = false;
	sleep_watch_slept(&link->sleep, clock_us(CLOCK_BOOTTIME), clock_us(CLOCK_MONOTONIC));
	look_every(link, SLEEP_LOOK_S);
	/* From the loop, so that a failure to start is not told before this returns. */
	wait_for(link, 0);
}

void link_stop(struct link *link)
{
	connector_cancel(link->connector);
	link->connector = NULL;
	bringer_free(link->bringer);
	link->bringer = NULL;
	loop_timer_stop(link->pause);
	look_every(link, 0);
	set_state(link, LINK_IDLE);
}

void link_lost(struct link *link)
{
	const struct link_error *err = link->outcome ? &link->outcome->error : NULL;
	bool telling = err && err->kind == LINK_ERROR_COMMAND;

	if (link->state != LINK_CONNECTED)
		return;
	if (telling)
		wait_for(link, backoff_failed(&link->backoff, err->permanent));
	else
		wait_for(link, backoff_lost(&link->backoff, loop_now_us(link->loop)));
	if (telling)
		link_failed(link, err);
}

void link_hurry(struct link *link)
{
	if (link->state == LINK_WAITING)
		retry(link, "asked to");
}

enum link_state link_state(const struct link *link)
{
	return link->state;
}

const struct link_error *link_last_error(const struct link *link)
{
	return &link->last;
}
