/* SPDX-License-Identifier: MIT */
/*
 * pool: threads that take turns reading requests from one input and carry out themselves what they read. Generic: it
 * knows jobs as pointers.
 */
#ifndef HOMEPORT_POOL_H
#define HOMEPORT_POOL_H

struct pool;

struct pool_ops {
	/*
	 * The next job; called by one thread at a time, never by two; may block for as long as the input does. NULL
	 * ends the pool.
	 */
	void *(*next)(void *ctx);
	void (*run)(void *ctx, void *job);
};

/* At most `max` threads, started as they are needed. NULL: no memory. */
struct pool *pool_new(const struct pool_ops *ops, void *ctx, unsigned max);

/*
 * Works until next() has said NULL and no job is being carried out any more, but waits for those at most so many ms
 * after the end: a call may hang for ever. -EBUSY: one still does; the process can only exit. Negative errno: no
 * thread could be started.
 */
int pool_run(struct pool *pool, unsigned patience_ms);

/* After a pool_run() that returned 0. */
void pool_free(struct pool *pool);

/* A job that was put aside by run() or next() is ready now: some worker carries it out. */
void pool_push(struct pool *pool, void *job);

/* Called from run(): what follows may take long, so somebody else had better read on now. Costs nothing the 2nd time.
 */
void pool_yield(struct pool *pool);

#endif
