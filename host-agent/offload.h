/* SPDX-License-Identifier: MIT */
/*
 * offload: one piece of work that may block on the file system, done on a thread of its own: reading a configuration
 * again, writing one. The loop never waits for the thread: work that is given up goes on by itself, and takes its
 * memory with it.
 */
#ifndef HOMEPORT_OFFLOAD_H
#define HOMEPORT_OFFLOAD_H

struct loop;
struct offload;

struct offload_work {
	const char *name;       /* of the thread */
	void (*run)(void *job); /* on the thread, with the job for itself */
	/* On the loop, when run() has returned. The offload is gone when this is called; the job is freed after it. */
	void (*done)(void *ctx, void *job);
	void (*free)(void *job); /* on either */
};

/* Starts; the job is the offload's from here on. NULL: out of memory, descriptors or threads, and the job is freed. */
struct offload *offload_start(struct loop *loop, const struct offload_work *work, void *job, void *ctx);

/* done() is not called any more. NULL is fine. */
void offload_cancel(struct offload *o);

#endif
