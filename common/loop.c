/* SPDX-License-Identifier: MIT */
/* The loop on libevent's event_core. See loop.h for what a turn is. */
#include "loop.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "busy_poll.h"
#include "clock.h"

struct deferred {
	STAILQ_ENTRY(deferred) next;
	loop_cb *cb;
	void *ctx;
};

struct loop_hook {
	TAILQ_ENTRY(loop_hook) next;
	struct loop *loop;
	loop_cb *cb;
	void *ctx;
};

struct loop {
	struct event_base *base;
	TAILQ_HEAD(, loop_hook) hooks;
	struct loop_hook *next_hook; /* where the running sweep goes on; a freed hook moves it */
	STAILQ_HEAD(, deferred) deferred;
	bool stopping;
	struct busy_poll busy_poll;
	unsigned polling_held;
	uint64_t turn;
	unsigned came, happened; /* in this turn: descriptors that had something, and callbacks of any kind */
	uint64_t came_us;        /* when the first of the last ones had */
};

struct loop_fd {
	struct loop *loop;
	struct event *read, *write;
	unsigned interest;
	loop_fd_cb *cb;
	void *ctx;
};

struct loop_timer {
	struct loop *loop;
	struct event *ev;
	loop_cb *cb;
	void *ctx;
};

struct loop_signal {
	struct loop *loop;
	struct event *ev;
	loop_signal_cb *cb;
	void *ctx;
};

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct event_config *cfg = event_config_new();

	if (loop && cfg) {
		/* One thread: no locks. No changelist: it would defer the removal of a descriptor past its reuse. */
		event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
		loop->base = event_base_new_with_config(cfg);
	}
	if (cfg)
		event_config_free(cfg);
	if (!loop || !loop->base) {
		free(loop);
		return NULL;
	}
	TAILQ_INIT(&loop->hooks);
	STAILQ_INIT(&loop->deferred);
	return loop;
}

static void loop_run_deferred(struct loop *loop)
{
	struct deferred *d;

	while ((d = STAILQ_FIRST(&loop->deferred))) {
		STAILQ_REMOVE_HEAD(&loop->deferred, next);
		d->cb(d->ctx);
		free(d);
	}
}

static void loop_run_hooks(struct loop *loop)
{
	struct loop_hook *hook;

	for (hook = TAILQ_FIRST(&loop->hooks); hook; hook = loop->next_hook) {
		loop->next_hook = TAILQ_NEXT(hook, next);
		hook->cb(hook->ctx);
	}
	loop->next_hook = NULL;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop_run_deferred(loop);
	event_base_free(loop->base);
	free(loop);
}

static int loop_look(struct loop *loop, int how)
{
	return event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | how) < 0 ? -EIO : 0;
}

/* Until something happens, or the time is over. */
static int loop_busy_poll(struct loop *loop, uint64_t until)
{
	int rc;

	while (!(rc = loop_look(loop, EVLOOP_NONBLOCK)) && !loop->happened && loop_now_us(loop) < until)
		sched_yield();
	return rc;
}

static int loop_wait(struct loop *loop)
{
	uint64_t before = loop->came_us;
	bool lively = loop->came && !loop->polling_held;
	int rc = 0;

	loop->turn++;
	loop->came = loop->happened = 0;
	if (lively && busy_poll_now(&loop->busy_poll))
		rc = loop_busy_poll(loop, loop_now_us(loop) + BUSY_POLL_US);
	if (rc == 0 && !loop->happened)
		rc = loop_look(loop, 0);
	if (lively && loop->came)
		busy_poll_waited(&loop->busy_poll, loop->came, loop->came_us - before);
	return rc;
}

int loop_run(struct loop *loop)
{
	loop->stopping = false;
	/* What was made before the first turn may already have something to write or to free. */
	loop_run_hooks(loop);
	loop_run_deferred(loop);
	while (!loop->stopping) {
		int rc = loop_wait(loop);

		if (rc < 0)
			return rc;
		loop_run_hooks(loop);
		loop_run_deferred(loop);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	/* Also from a hook or a deferred call: the next wait returns at once. */
	event_base_loopexit(loop->base, NULL);
}

void loop_hold_polling(struct loop *loop, bool hold)
{
	loop->polling_held += hold ? 1 : (unsigned)-1;
}

uint64_t loop_turn(const struct loop *loop)
{
	return loop->turn;
}

uint64_t loop_now_us(const struct loop *loop)
{
	/* 20 ns through the vDSO: not worth a cache that is stale after a long callback. */
	(void)loop;
	return clock_us(CLOCK_MONOTONIC);
}

static void on_fd_event(evutil_socket_t fd, short what, void *arg)
{
	struct loop_fd *watch = arg;

	if (!watch->loop->came++)
		watch->loop->came_us = loop_now_us(watch->loop);
	watch->loop->happened++;
	watch->cb(watch->ctx, (int)fd, what & EV_WRITE ? LOOP_WRITE : LOOP_READ);
}

struct loop_fd *loop_fd_new(struct loop *loop, int fd, unsigned interest, loop_fd_cb *cb, void *ctx)
{
	struct loop_fd *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->loop = loop;
	watch->cb = cb;
	watch->ctx = ctx;
	watch->read = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_fd_event, watch);
	watch->write = event_new(loop->base, fd, EV_WRITE | EV_PERSIST, on_fd_event, watch);
	if (!watch->read || !watch->write || loop_fd_set(watch, interest) < 0) {
		loop_fd_free(watch);
		return NULL;
	}
	return watch;
}

static int event_switch(struct event *ev, bool on)
{
	return on ? event_add(ev, NULL) : event_del(ev);
}

int loop_fd_set(struct loop_fd *watch, unsigned interest)
{
	unsigned changed = watch->interest ^ interest;

	if ((changed & LOOP_READ) && event_switch(watch->read, interest & LOOP_READ) < 0)
		return -EIO;
	if ((changed & LOOP_WRITE) && event_switch(watch->write, interest & LOOP_WRITE) < 0)
		return -EIO;
	watch->interest = interest;
	return 0;
}

static void loop_fd_release(void *arg)
{
	free(arg);
}

void loop_fd_free(struct loop_fd *watch)
{
	if (!watch)
		return;
	if (watch->read)
		event_free(watch->read);
	if (watch->write)
		event_free(watch->write);
	watch->read = watch->write = NULL;
	/* The memory waits for the end of the turn: our caller may be watch->cb itself. */
	loop_defer(watch->loop, loop_fd_release, watch);
}

static void on_timer_event(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *timer = arg;

	(void)fd;
	(void)what;
	timer->loop->happened++;
	timer->cb(timer->ctx);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_cb *cb, void *ctx)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->loop = loop;
	timer->cb = cb;
	timer->ctx = ctx;
	timer->ev = evtimer_new(loop->base, on_timer_event, timer);
	if (!timer->ev) {
		free(timer);
		return NULL;
	}
	return timer;
}

void loop_timer_set(struct loop_timer *timer, uint64_t after_us)
{
	struct timeval tv = {.tv_sec = (time_t)(after_us / 1000000u), .tv_usec = (suseconds_t)(after_us % 1000000u)};

	evtimer_add(timer->ev, &tv);
}

void loop_timer_stop(struct loop_timer *timer)
{
	evtimer_del(timer->ev);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
	return evtimer_pending(timer->ev, NULL);
}

void loop_timer_free(struct loop_timer *timer)
{
	if (!timer)
		return;
	event_free(timer->ev);
	free(timer);
}

static void on_signal_event(evutil_socket_t signo, short what, void *arg)
{
	struct loop_signal *sig = arg;

	(void)what;
	sig->loop->happened++;
	sig->cb(sig->ctx, (int)signo);
}

struct loop_signal *loop_signal_new(struct loop *loop, int signo, loop_signal_cb *cb, void *ctx)
{
	struct loop_signal *sig = calloc(1, sizeof(*sig));

	if (!sig)
		return NULL;
	sig->loop = loop;
	sig->cb = cb;
	sig->ctx = ctx;
	sig->ev = evsignal_new(loop->base, signo, on_signal_event, sig);
	if (!sig->ev || evsignal_add(sig->ev, NULL) < 0) {
		loop_signal_free(sig);
		return NULL;
	}
	return sig;
}

void loop_signal_free(struct loop_signal *sig)
{
	if (!sig)
		return;
	if (sig->ev)
		event_free(sig->ev);
	free(sig);
}

struct loop_hook *loop_hook_new(struct loop *loop, loop_cb *cb, void *ctx)
{
	struct loop_hook *hook = calloc(1, sizeof(*hook));

	if (!hook)
		return NULL;
	hook->loop = loop;
	hook->cb = cb;
	hook->ctx = ctx;
	TAILQ_INSERT_TAIL(&loop->hooks, hook, next);
	return hook;
}

void loop_hook_free(struct loop_hook *hook)
{
	if (!hook)
		return;
	if (hook->loop->next_hook == hook)
		hook->loop->next_hook = TAILQ_NEXT(hook, next);
	TAILQ_REMOVE(&hook->loop->hooks, hook, next);
	free(hook);
}

void loop_defer(struct loop *loop, loop_cb *cb, void *ctx)
{
	struct deferred *d = malloc(sizeof(*d));

	/* Losing a deferred free would leak, running it now could free what is in use: neither can be survived. */
	if (!d)
		abort();
	d->cb = cb;
	d->ctx = ctx;
	STAILQ_INSERT_TAIL(&loop->deferred, d, next);
}
