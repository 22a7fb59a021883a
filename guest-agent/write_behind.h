/* SPDX-License-Identifier: MIT */
/*
 * write_behind: the writes of one node that were answered before the host had them. Pure: no descriptor, no clock.
 *
 * Theory of operation
 *
 * A write becomes a chunk, or joins the last one where that still waits, is of the same handle and ends where this one
 * begins. Chunks are sent in order. The first goes at once; while one is under way, a small last one waits for company,
 * until it is large, an answer comes, or somebody waits for it: so small writes leave as few large ones, and none is
 * ever held by a timer. The server keeps the order of one handle only, so a chunk of another handle that overlaps what
 * is under way waits for it.
 *
 * Whoever must not overtake a write (a read, a truncate, a stat, fsync, close) waits here, and is called when all that
 * was written before has been answered.
 *
 * An error belongs to every description that was open then: `errors` counts, each description remembers the count it
 * has seen, and takes the error once.
 */
#ifndef HOMEPORT_WRITE_BEHIND_H
#define HOMEPORT_WRITE_BEHIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define WRITE_CHUNK_MAX    (1u << 20)   /* SFTP_DATA_MAX */
#define WRITE_COALESCE     (256u << 10) /* a chunk this large waits for nothing */
#define WRITE_WINDOW       (4u << 20)   /* bytes of one node under way */
#define WRITE_NODE_MAX     (4u << 20)   /* bytes of one node beyond which write(2) waits */
#define WRITE_MOUNT_MAX    (16u << 20)  /* the same for all nodes of a mount */
#define WRITE_CROWDED_NODE (256u << 10) /* and what a node may hold in a mount that is full */

struct write_chunk {
	TAILQ_ENTRY(write_chunk) link;
	void *owner; /* the open file it goes through */
	uint64_t seq;
	uint64_t offset;
	size_t len, cap;
	uint8_t *data;
	bool append, sent;
};

TAILQ_HEAD(write_chunks, write_chunk);
TAILQ_HEAD(write_waiters, write_waiter);

struct write_waiter {
	TAILQ_ENTRY(write_waiter) link;
	struct write_waiters *list; /* NULL: it does not wait */
	uint64_t until;             /* the last chunk it waits for */
	void (*fn)(void *ctx);
	void *ctx;
};

/* Sends one chunk: 0, and write_behind_done() follows, never before it returns; until then its data stay as they are.
 * Or a positive errno: it has failed. */
typedef int write_send_fn(void *ctx, struct write_chunk *chunk);

struct write_behind {
	struct write_chunks chunks; /* all that are not answered, oldest first */
	struct write_waiters waiters;
	size_t bytes, under_way;
	size_t *total; /* bytes of all nodes of the mount */
	uint64_t next_seq;
	uint64_t errors;
	int error; /* the last one, positive */
	bool calling, pushing;
	write_send_fn *send;
	void *ctx;
};

/* `total` counts the bytes of several nodes together. NULL: out of memory. */
struct write_behind *write_behind_new(size_t *total, write_send_fn *send, void *ctx);

/* What a description has seen that was opened before there were writes. */
#define WRITE_ERRORS_NONE 1u

/* Frees it with all that waits; nobody is called. NULL is fine. */
void write_behind_free(struct write_behind *w);

/* Nothing waits or is under way, and no waiter is being called: it may be freed. */
bool write_behind_idle(const struct write_behind *w);

/* Takes a copy of the bytes (len is at most WRITE_CHUNK_MAX). 0 or -ENOMEM. Sends what may be sent. */
int write_behind_add(struct write_behind *w, void *owner, bool append, uint64_t offset, const void *data, size_t len);

/* A chunk was answered: error is 0 or a positive errno. Frees it, calls waiters, sends what may be sent. */
void write_behind_done(struct write_behind *w, struct write_chunk *chunk, int error);

/* The pipe is gone: what was not sent will not be. Each ends with this error; those under way end by done(). */
void write_behind_fail(struct write_behind *w, int error);

/*
 * Calls fn when all that was added so far is answered: true. False: there is nothing to wait for, fn is not called.
 */
bool write_behind_wait(struct write_behind *w, struct write_waiter *waiter, void (*fn)(void *ctx), void *ctx);

/* The same, until at most `room` bytes are unanswered. */
bool write_behind_wait_room(struct write_behind *w, size_t room, struct write_waiter *waiter, void (*fn)(void *ctx),
			    void *ctx);

/*
 * Sends all that waits, if one owner wrote it all and it may all be under way at once: then the owner, through whose
 * handle a request comes after the writes without anybody waiting for them. Else NULL, also when nothing is written.
 */
void *write_behind_push(struct write_behind *w);

/* Not interested any more. One that does not wait is fine. */
void write_behind_leave(struct write_waiter *waiter);

/* The error a description has not been told, positive, or 0; from then on it has. */
int write_behind_take_error(const struct write_behind *w, uint64_t *seen);

#endif
