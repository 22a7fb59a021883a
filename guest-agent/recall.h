/* SPDX-License-Identifier: MIT */
/*
 * recall: what the next agent has to know of a mount when this one has died, in memory that outlives it: a memfd, of
 * which the mount's helper keeps a descriptor (helper.h).
 *
 * Theory of operation
 *
 *	head	the kernel's INIT and what was answered to it; which agent this is, counted from 0 (the incarnation)
 *	arrival	the beginning of the request that is being read: the kernel writes it right here
 *	slots	requests of the kernel that have no answer yet, the beginning of each, in a table by their number
 *	opens	files that are open, in a table by their handle; and which nodes have writes the host may not have
 *	names	a log: directories that the kernel may know and files that are open, by number, parent and name;
 *		compacted when most of it is old
 *
 * A process may be killed between any two stores, so a slot is valid when its number is in it, which is stored last,
 * and a record when the log's end is behind it. Nobody reads while another writes: who takes it over has the helper's
 * word that the other has gone. Pure of libfuse and of the loop; everything may be NULL, and then does nothing.
 */
#ifndef HOMEPORT_RECALL_H
#define HOMEPORT_RECALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct recall;

#define RECALL_INIT_MAX        128u
#define RECALL_REQUEST_MAX     384u /* any request with one name; longer ones are kept by their beginning */
#define RECALL_INCARNATION_MAX 0x7fffu

/* A new one, of incarnation 0. NULL: errno says why. */
struct recall *recall_new(void);

/*
 * One that another agent has left: the next incarnation's from here on. fd becomes its own, also on failure. NULL:
 * errno is EPROTO when it is of a version that is not known here, EINVAL when it is none or damaged, EOVERFLOW when it
 * was taken up too often; or that of a system call.
 */
struct recall *recall_take(int fd);

void recall_free(struct recall *r); /* what it holds stays, with whoever has a descriptor of it */
int recall_fd(const struct recall *r);
uint32_t recall_incarnation(const struct recall *r);

/* What was agreed with the kernel. */
struct recall_init {
	uint32_t request_len; /* 0: nothing yet */
	uint8_t request[RECALL_INIT_MAX];
	uint32_t minor, max_write; /* of the answer */
	uint32_t flags, flags2;
};
void recall_set_init_request(struct recall *r, const void *request, size_t len);
void recall_set_init_answer(struct recall *r, uint32_t minor, uint32_t max_write, uint32_t flags, uint32_t flags2);
const struct recall_init *recall_init(const struct recall *r);

/*
 * Where the next request begins that is read (cleared; RECALL_REQUEST_MAX bytes; NULL: nowhere): it is known from the
 * moment that the kernel has handed it over, until recall_began() or recall_arrived(), which says that nobody waits for
 * an answer. What is there may be torn.
 */
void *recall_arrival(struct recall *r);
void recall_arrived(struct recall *r);
const void *recall_arrival_left(const struct recall *r); /* what the agent before left there */

/*
 * A request by its number: it has come (what was known of it stays, if it came before); the host was asked to change
 * something for it; it was answered. Where the table is full it is not known, and only counted.
 */
void recall_began(struct recall *r, uint64_t unique, const void *request, size_t len);
void recall_asked(struct recall *r, uint64_t unique);
void recall_answered(struct recall *r, uint64_t unique);

struct recall_request {
	uint64_t unique;
	uint32_t len; /* of the whole request */
	bool asked;
	uint8_t bytes[RECALL_REQUEST_MAX];
};
/* Whether somebody may wait for the answer to a request that is not known; and that there is nobody. */
bool recall_misses_requests(const struct recall *r);
void recall_misses_none(struct recall *r);
/* NULL: not known. Valid until it is answered. */
const struct recall_request *recall_request(const struct recall *r, uint64_t unique);
/* Those there are, from *at on (at first 0); NULL: no more. */
const struct recall_request *recall_request_next(const struct recall *r, unsigned *at);

/*
 * A file is open under a handle (not 0), or not any more; flags as native requests have them. Where the table is full
 * it is not known.
 */
#define RECALL_OPENS 4096u
struct recall_open {
	uint64_t handle, node;
	uint32_t flags, spare;
};
void recall_opened(struct recall *r, uint64_t handle, uint64_t node, uint32_t flags);
void recall_closed(struct recall *r, uint64_t handle);
/* NULL: not known. *slot is its place, below RECALL_OPENS. */
const struct recall_open *recall_open(const struct recall *r, uint64_t handle, unsigned *slot);

/* Bytes that were written to a node may not be on the host; or all are. Where there are too many, every node is one. */
void recall_set_dirty(struct recall *r, uint64_t node, bool dirty);
bool recall_is_dirty(const struct recall *r, uint64_t node);

/* A directory, or a file. `share` is the number of the root of its share; 0: it is ours alone. A root has no parent
 * (0), and the share's point for a name. */
struct recall_name {
	uint64_t id, parent, share;
	uint64_t ino;
	int64_t btime;
	uint32_t dev;
	bool dir;
	const char *name;
};
void recall_name(struct recall *r, const struct recall_name *name, bool renamed);
void recall_name_gone(struct recall *r, uint64_t id);

/* In the order they were written; later ones of the same number replace earlier ones, `gone` has only the number. Stops
 * at what is damaged. */
void recall_each_name(const struct recall *r, void (*fn)(void *ctx, const struct recall_name *name, bool gone),
		      void *ctx);

/* Whether the log should be written anew: begin, every name that is there, end. */
bool recall_is_long(const struct recall *r);
void recall_rewrite_begin(struct recall *r);
void recall_rewrite_end(struct recall *r);

#endif
