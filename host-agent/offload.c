/* SPDX-License-Identifier: MIT */
/* Work on a thread, its result on the loop. See offload.h. */
#include "offload.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "handoff.h"
#include "loop.h"

/* What both sides hold: whoever lets go last frees it. */
struct shared {
	struct handoff_item item;
	struct handoff *queue;
	const struct offload_work *work;
	void *job;
	atomic_uint refs;
};

struct offload {
	struct shared *shared;
	struct loop_fd *watch;
	void *ctx;
};

static void shared_unref(struct shared *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	s->work->free(s->job);
	handoff_free(s->queue);
	free(s);
}

static void *thread_run(void *arg)
{
	struct shared *s = arg;

	pthread_setname_np(pthread_self(), s->work->name);
	s->work->run(s->job);
	handoff_push(s->queue, &s->item);
	shared_unref(s);
	return NULL;
}

/* Signals are the loop's: a thread that took one would keep it from the descriptor the loop waits on. */
static int thread_start(struct shared *s)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	atomic_fetch_add(&s->refs, 1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, thread_run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		atomic_fetch_sub(&s->refs, 1); /* the caller still has its own */
		return -rc;
	}
	pthread_detach(thread);
	return 0;
}

static void on_result(void *ctx, int fd, unsigned what)
{
	struct offload *o = ctx;
	struct shared *s = o->shared;
	void *done_ctx = o->ctx;

	(void)fd;
	(void)what;
	if (!handoff_take_all(s->queue))
		return;
	loop_fd_free(o->watch);
	free(o);
	s->work->done(done_ctx, s->job);
	shared_unref(s);
}

static struct shared *shared_new(const struct offload_work *work, void *job)
{
	struct shared *s = calloc(1, sizeof(*s));

	if (!s) {
		work->free(job);
		return NULL;
	}
	s->work = work;
	s->job = job;
	atomic_init(&s->refs, 1);
	s->queue = handoff_new();
	if (s->queue)
		return s;
	shared_unref(s);
	return NULL;
}

struct offload *offload_start(struct loop *loop, const struct offload_work *work, void *job, void *ctx)
{
	struct shared *s = shared_new(work, job);
	struct offload *o = s ? calloc(1, sizeof(*o)) : NULL;

	if (!s)
		return NULL;
	if (o) {
		o->shared = s;
		o->ctx = ctx;
		o->watch = loop_fd_new(loop, handoff_fd(s->queue), LOOP_READ, on_result, o);
		if (o->watch && thread_start(s) == 0)
			return o;
		loop_fd_free(o->watch);
		free(o);
	}
	shared_unref(s);
	return NULL;
}

void offload_cancel(struct offload *o)
{
	if (!o)
		return;
	loop_fd_free(o->watch);
	shared_unref(o->shared);
	free(o);
}
