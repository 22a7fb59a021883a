/* SPDX-License-Identifier: MIT */
/*
 * One attempt to connect. See connector.h.
 *
 * The attempt is held by two: the loop's side (struct connector) and the thread. The thread fills it in and pushes it
 * on the attempt's own queue; whoever lets go last frees it, with a login nobody wanted any more.
 *
 * One thing of the process they share: exit() takes OpenSSL down under a thread that may be in it, be it only to free
 * what it keeps of each thread when that ends. So exit() joins the threads, and gives each a moment: those that were
 * cancelled end within a millisecond, and one that hangs does so in a resolver or an ssh-agent, where it does no harm.
 */
#include "connector.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "cancel.h"
#include "handoff.h"
#include "link.h"
#include "link_params.h"
#include "loop.h"
#include "ssh_config.h"
#include "ssh_login.h"
#include "ssh_target.h"

#define EXIT_WAIT_MS 200

/* A thread to be joined. */
struct worker {
	pthread_t thread;
	struct worker *next;
};

static struct worker *workers; /* the loop's thread alone looks */

struct attempt {
	struct handoff_item item;
	atomic_int refs;
	struct handoff *queue;
	struct cancel *cancel;
	struct link_params *params;
	struct ssh_target *target;
	struct ssh_login *login;
	struct link_error err;
};

struct connector {
	struct attempt *attempt;
	struct loop_fd *watch;
	connector_done_fn *done;
	void *ctx;
};

static void attempt_unref(struct attempt *a)
{
	if (atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	ssh_login_free(a->login);
	ssh_target_free(a->target);
	link_params_free(a->params);
	cancel_unref(a->cancel);
	handoff_free(a->queue);
	free(a);
}

static struct attempt *attempt_new(const struct link_params *params)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	atomic_init(&a->refs, 1);
	a->queue = handoff_new();
	a->cancel = cancel_new();
	a->params = link_params_copy(params);
	if (!a->queue || !a->cancel || !a->params) {
		attempt_unref(a);
		return NULL;
	}
	return a;
}

static void *attempt_run(void *arg)
{
	struct attempt *a = arg;
	const struct link_params *p = a->params;

	if (ssh_config_query(&p->ssh, a->cancel, &a->target, &a->err) == 0)
		ssh_login_run(a->target, p->host_key, p->command, a->cancel, &a->login, &a->err);
	handoff_push(a->queue, &a->item);
	attempt_unref(a);
	return NULL;
}

/* Joins those that have ended, or end before `deadline`. */
static void workers_join(const struct timespec *deadline)
{
	struct worker **at = &workers;

	while (*at) {
		struct worker *w = *at;

		if (pthread_clockjoin_np(w->thread, NULL, CLOCK_MONOTONIC, deadline) == 0) {
			*at = w->next;
			free(w);
		} else {
			at = &w->next;
		}
	}
}

static void wait_at_exit(void)
{
	struct timespec deadline;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += EXIT_WAIT_MS * 1000000;
	deadline.tv_sec += deadline.tv_nsec / 1000000000;
	deadline.tv_nsec %= 1000000000;
	workers_join(&deadline);
}

/* Handlers of atexit() run last in, first out, and OpenSSL registers its own when it is first used. */
static void register_at_exit(void)
{
	ssh_login_init();
	atexit(wait_at_exit);
}

/* Signals are the loop's: a thread that took one would keep it from the descriptor the loop waits on. */
static int thread_start(struct attempt *a)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct timespec already = {0};
	struct worker *w = malloc(sizeof(*w));
	sigset_t all, before;
	int rc;

	if (!w)
		return -ENOMEM;
	pthread_once(&once, register_at_exit);
	workers_join(&already);
	atomic_fetch_add(&a->refs, 1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, NULL, attempt_run, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		atomic_fetch_sub(&a->refs, 1); /* the caller still has its own */
		free(w);
		return -rc;
	}
	pthread_setname_np(w->thread, "connect");
	w->next = workers;
	workers = w;
	return 0;
}

static void on_result(void *ctx, int fd, unsigned what)
{
	struct connector *c = ctx;
	struct attempt *a = c->attempt;
	connector_done_fn *done = c->done;
	struct ssh_login *login;
	void *done_ctx = c->ctx;

	(void)fd;
	(void)what;
	if (!handoff_take_all(a->queue))
		return;
	loop_fd_free(c->watch);
	free(c);
	login = a->login;
	a->login = NULL;
	done(done_ctx, login, a->target, &a->err);
	attempt_unref(a);
}

struct connector *connector_start(struct loop *loop, const struct link_params *params, connector_done_fn *done,
				  void *ctx)
{
	struct connector *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->done = done;
	c->ctx = ctx;
	c->attempt = attempt_new(params);
	if (c->attempt)
		c->watch = loop_fd_new(loop, handoff_fd(c->attempt->queue), LOOP_READ, on_result, c);
	if (!c->watch || thread_start(c->attempt) < 0) {
		loop_fd_free(c->watch);
		if (c->attempt)
			attempt_unref(c->attempt);
		free(c);
		return NULL;
	}
	return c;
}

void connector_cancel(struct connector *c)
{
	if (!c)
		return;
	loop_fd_free(c->watch);
	cancel_now(c->attempt->cancel);
	attempt_unref(c->attempt);
	free(c);
}
