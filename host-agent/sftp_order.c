/* SPDX-License-Identifier: MIT */
/*
 * Requests on one handle are begun in the order sent; those marked ROW_SHARED (READ) may run beside one another, the
 * others run alone. Requests on a file system other than the root's own take at most all threads but two, so that one
 * that hangs leaves the rest alone; the paths of a stock client may lead anywhere and share such a limit of their own.
 * A request whose turn has not come waits in the list of its handle or device; whoever finishes one lets the next go.
 *
 * The lock is held for moments and never over a system call.
 */
#include "sftp_order.h"

static void wait_in(struct sftp_order *o, struct job_list *list, struct sftp_job *job)
{
	TAILQ_INSERT_TAIL(list, job, link);
	TAILQ_INSERT_TAIL(&o->waiting, job, waiting_link);
	job->waits_in = list;
	o->waiting_bytes += job->in.cap;
}

static void wait_no_more(struct sftp_order *o, struct sftp_job *job)
{
	TAILQ_REMOVE(job->waits_in, job, link);
	TAILQ_REMOVE(&o->waiting, job, waiting_link);
	job->waits_in = NULL;
	o->waiting_bytes -= job->in.cap;
	pthread_cond_signal(&o->room);
}

static bool handle_free_for(const struct handle *h, const struct sftp_job *job)
{
	return !h->exclusive && (job->row->flags & ROW_SHARED || !h->shared);
}

static void handle_enter(struct handle *h, struct sftp_job *job)
{
	job->in_handle = true;
	if (job->row->flags & ROW_SHARED)
		h->shared++;
	else
		h->exclusive = true;
}

/* True: the device takes it, run it. False: it waits. */
static bool device_enter(struct sftp_order *o, struct sftp_job *job)
{
	if (job->device != 0 && o->devices[job->device].active >= SFTP_THREADS_MAX - 2) {
		wait_in(o, &o->devices[job->device].waiting, job);
		return false;
	}
	o->devices[job->device].active++;
	job->in_device = true;
	return true;
}

bool sftp_order_enter(struct sftp_order *o, struct sftp_job *job)
{
	struct handle *h = job->handle;
	bool run;

	pthread_mutex_lock(&o->lock);
	if (h && (!TAILQ_EMPTY(&h->waiting) || !handle_free_for(h, job))) {
		wait_in(o, &h->waiting, job);
		run = false;
	} else {
		if (h)
			handle_enter(h, job);
		run = device_enter(o, job);
	}
	pthread_mutex_unlock(&o->lock);
	return run;
}

/* With the lock: what may run now that this job has left its device and its handle. */
static void order_leave(struct sftp_order *o, struct sftp_job *job, struct job_list *ready)
{
	struct handle *h = job->handle;
	struct sftp_job *next;

	if (job->in_device) {
		o->devices[job->device].active--;
		next = TAILQ_FIRST(&o->devices[job->device].waiting);
		if (next) {
			wait_no_more(o, next);
			device_enter(o, next);
			TAILQ_INSERT_TAIL(ready, next, link);
		}
	}
	if (!job->in_handle)
		return;
	if (job->row->flags & ROW_SHARED)
		h->shared--;
	else
		h->exclusive = false;
	while ((next = TAILQ_FIRST(&h->waiting)) && handle_free_for(h, next)) {
		wait_no_more(o, next);
		handle_enter(h, next);
		if (device_enter(o, next))
			TAILQ_INSERT_TAIL(ready, next, link);
	}
}

void sftp_order_leave(struct sftp_order *o, struct sftp_job *job, struct job_list *ready)
{
	pthread_mutex_lock(&o->lock);
	order_leave(o, job, ready);
	pthread_mutex_unlock(&o->lock);
}

struct sftp_job *sftp_order_cancel(struct sftp_order *o, uint32_t id)
{
	struct sftp_job *job;

	pthread_mutex_lock(&o->lock);
	TAILQ_FOREACH(job, &o->waiting, waiting_link)
	if (job->id == id && job->row->flags & ROW_NATIVE)
		break;
	if (job) {
		wait_no_more(o, job);
		job->cancelled = true;
	}
	pthread_mutex_unlock(&o->lock);
	return job;
}

/* ---- how much is under way ---- */

void sftp_order_wait_for_room(struct sftp_order *o)
{
	pthread_mutex_lock(&o->lock);
	while (o->under_way > SFTP_REQUESTS_MAX || o->waiting_bytes > SFTP_WAITING_MAX)
		pthread_cond_wait(&o->room, &o->lock);
	pthread_mutex_unlock(&o->lock);
}

void sftp_order_count_in(struct sftp_order *o)
{
	pthread_mutex_lock(&o->lock);
	o->under_way++;
	pthread_mutex_unlock(&o->lock);
}

void sftp_order_count_out(struct sftp_order *o)
{
	pthread_mutex_lock(&o->lock);
	if (o->under_way-- == SFTP_REQUESTS_MAX + 1)
		pthread_cond_signal(&o->room);
	pthread_mutex_unlock(&o->lock);
}

void sftp_order_init(struct sftp_order *o)
{
	*o = (struct sftp_order){0};
	TAILQ_INIT(&o->waiting);
	for (size_t i = 0; i <= SFTP_DEVICES_MAX; i++)
		TAILQ_INIT(&o->devices[i].waiting);
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->room, NULL);
}

void sftp_order_clear(struct sftp_order *o)
{
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->room);
}
