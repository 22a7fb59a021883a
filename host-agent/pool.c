/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One worker leads: it reads the next job and carries it out, with no hand-over between threads on the way. That is
 * right as long as jobs are short, and file calls are, nearly always. For when one is not, a second worker, the heir,
 * watches: a leader that has been at the same job for SFTP_TAKEOVER_US is no longer the leader; the heir reads on, and
 * the old leader joins the crew when its job ends, whenever that is. A job that knows it will be long gives the turn
 * away at once (pool_yield()).
 *
 * The turn is one atomic word: a serial number and what its holder is doing. The leader counts up with each job, so the
 * heir takes exactly the job it has been watching, or fails; the leader learns after its job, by the same word, whether
 * it still leads. While the leader reads (for ever, when there is no input) the turn cannot be taken. The heir sleeps
 * then, and is woken by the next job; it polls only while jobs keep coming.
 *
 * Jobs put aside (pool_push()) are taken by whoever has nothing to do, the crew before the heir. When nobody is left
 * waiting a thread is started, up to the limit; at the limit, with every thread in a long call, nothing is read.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "bounds.h"
#include "log.h"

/* After so many looks at a leader that reads, the heir sleeps until it is woken. */
#define IDLE_LOOKS 8

enum phase { FREE, READING, RUNNING };

static uint64_t turn_word(uint64_t serial, enum phase phase)
{
	return serial << 2 | phase;
}

static enum phase turn_phase(uint64_t turn)
{
	return turn & 3;
}

struct ready {
	struct ready *next;
	void *job;
};

struct pool {
	const struct pool_ops *ops;
	void *ctx;
	unsigned max;
	_Atomic uint64_t turn;
	atomic_bool heir_asleep;

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t heir, crew, done;
	struct ready *ready, **ready_end;
	atomic_uint ready_count;   /* read by the leader without the lock */
	unsigned threads, waiting; /* waiting: the heir and the crew */
	unsigned crew_waiting;
	bool has_heir, ended;
	int start_error;
};

/* The turn this thread holds, 0 when it does not lead. */
static _Thread_local uint64_t my_turn;

static void *worker(void *arg);

static void add_us(struct timespec *t, long us)
{
	t->tv_nsec += us * 1000;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

/* With the lock. Stacks are small: the deepest call is a request's. */
static int start_thread(struct pool *p)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256u << 10);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, worker, p);
	pthread_attr_destroy(&attr);
	if (r == 0)
		p->threads++;
	return -r;
}

static void *ready_take(struct pool *p)
{
	struct ready *r = p->ready;
	void *job;

	if (!r)
		return NULL;
	p->ready = r->next;
	if (!p->ready)
		p->ready_end = &p->ready;
	atomic_fetch_sub(&p->ready_count, 1);
	job = r->job;
	free(r);
	return job;
}

/* Takes the turn if it is free, or held by a leader that has been at `watched` since the last look. */
static bool turn_take(struct pool *p, uint64_t turn, uint64_t watched)
{
	uint64_t mine = turn_word((turn >> 2) + 1, READING);

	if (turn_phase(turn) == READING || (turn_phase(turn) == RUNNING && turn != watched))
		return false;
	if (!atomic_compare_exchange_strong(&p->turn, &turn, mine))
		return false;
	my_turn = mine;
	return true;
}

/* With the lock; true: this thread leads now. False: look for something else to do. */
static bool heir_wait(struct pool *p)
{
	uint64_t watched = 0;
	int idle = 0;

	while (!p->ready && !p->ended) {
		uint64_t turn = atomic_load(&p->turn);
		struct timespec until;

		if (turn_take(p, turn, watched))
			return true;
		watched = turn;
		idle = turn_phase(turn) == READING ? idle + 1 : 0;
		if (idle > IDLE_LOOKS) {
			/* Says so first and looks again after: the leader does it the other way round. */
			atomic_store(&p->heir_asleep, true);
			if (turn_phase(atomic_load(&p->turn)) == READING)
				pthread_cond_wait(&p->heir, &p->lock);
			atomic_store(&p->heir_asleep, false);
			idle = 0;
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		add_us(&until, SFTP_TAKEOVER_US);
		pthread_cond_timedwait(&p->heir, &p->lock, &until);
	}
	return false;
}

/*
 * With the lock, by a thread that has nothing to do. Returns a job that was put aside, or NULL: this thread leads, or
 * the pool has ended.
 */
static void *wait_for_work(struct pool *p, bool *leads)
{
	void *job = NULL;

	*leads = false;
	p->waiting++;
	while (!p->ended || p->ready) {
		job = ready_take(p);
		if (job)
			break;
		if (p->has_heir) {
			p->crew_waiting++;
			pthread_cond_wait(&p->crew, &p->lock);
			p->crew_waiting--;
			continue;
		}
		p->has_heir = true;
		*leads = heir_wait(p);
		p->has_heir = false;
		pthread_cond_signal(&p->crew);
		if (*leads)
			break;
	}
	p->waiting--;
	/* Somebody has to be there to take over from whoever goes to work now. */
	if (p->waiting == 0 && !p->ended && p->threads < p->max && start_thread(p) < 0)
		log_warn("no further thread; requests may wait for slow ones");
	return job;
}

/* What was put aside goes before new input: all others may be in long calls. */
static void *lead_next(struct pool *p)
{
	void *job = NULL;

	if (atomic_load_explicit(&p->ready_count, memory_order_relaxed)) {
		pthread_mutex_lock(&p->lock);
		job = ready_take(p);
		pthread_mutex_unlock(&p->lock);
	}
	return job ? job : p->ops->next(p->ctx);
}

/* Reads and carries out until the turn is lost; false at the end of the input. */
static bool lead(struct pool *p)
{
	for (;;) {
		void *job = lead_next(p);
		uint64_t running;

		if (!job)
			return false;
		running = turn_word((my_turn >> 2) + 1, RUNNING);
		my_turn = running;
		atomic_store(&p->turn, running);
		if (atomic_load(&p->heir_asleep)) {
			pthread_mutex_lock(&p->lock);
			pthread_cond_signal(&p->heir);
			pthread_mutex_unlock(&p->lock);
		}
		p->ops->run(p->ctx, job);
		if (!my_turn)
			return true;
		my_turn = turn_word((running >> 2) + 1, READING);
		if (!atomic_compare_exchange_strong(&p->turn, &running, my_turn)) {
			my_turn = 0;
			return true;
		}
	}
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	bool leads;
	void *job;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		job = wait_for_work(p, &leads);
		if (!job && !leads)
			break;
		pthread_mutex_unlock(&p->lock);
		if (job)
			p->ops->run(p->ctx, job);
		else
			leads = lead(p);
		pthread_mutex_lock(&p->lock);
		if (!job && !leads) {
			my_turn = 0;
			p->ended = true;
			pthread_cond_broadcast(&p->crew);
			pthread_cond_broadcast(&p->heir);
		}
	}
	p->threads--;
	pthread_cond_broadcast(&p->done);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct pool *pool_new(const struct pool_ops *ops, void *ctx, unsigned max)
{
	struct pool *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	p->ops = ops;
	p->ctx = ctx;
	p->max = max;
	p->ready_end = &p->ready;
	p->turn = turn_word(1, FREE);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->heir, &attr);
	pthread_cond_init(&p->crew, &attr);
	pthread_cond_init(&p->done, &attr);
	pthread_condattr_destroy(&attr);
	return p;
}

int pool_run(struct pool *p, unsigned patience_ms)
{
	struct timespec until;
	int r;

	pthread_mutex_lock(&p->lock);
	r = start_thread(p);
	if (r < 0) {
		pthread_mutex_unlock(&p->lock);
		return r;
	}
	while (!p->ended)
		pthread_cond_wait(&p->done, &p->lock);
	clock_gettime(CLOCK_MONOTONIC, &until);
	add_us(&until, (long)patience_ms * 1000);
	while (p->threads && r == 0)
		r = -pthread_cond_timedwait(&p->done, &p->lock, &until);
	r = p->threads ? -EBUSY : 0;
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	while (p->ready)
		ready_take(p);
	pthread_cond_destroy(&p->heir);
	pthread_cond_destroy(&p->crew);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pool_push(struct pool *p, void *job)
{
	struct ready *r = malloc(sizeof(*r));

	/* Without memory for the note the job is done here and now. */
	if (!r) {
		p->ops->run(p->ctx, job);
		return;
	}
	*r = (struct ready){.job = job};
	pthread_mutex_lock(&p->lock);
	*p->ready_end = r;
	p->ready_end = &r->next;
	atomic_fetch_add(&p->ready_count, 1);
	pthread_cond_signal(p->crew_waiting ? &p->crew : &p->heir);
	pthread_mutex_unlock(&p->lock);
}

void pool_yield(struct pool *p)
{
	uint64_t turn = my_turn;

	if (!turn)
		return;
	my_turn = 0;
	if (!atomic_compare_exchange_strong(&p->turn, &turn, turn_word((turn >> 2) + 1, FREE)))
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->heir);
	pthread_mutex_unlock(&p->lock);
}
