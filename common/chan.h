/* SPDX-License-Identifier: MIT */
/*
 * chan: a connected, ordered byte stream to the peer; the bottom layer. chan_fd.h makes one of descriptors, chan_tls.h
 * one of a TCP connection, the host's chan_ssh.h one of an SSH channel. A chan is used by one owner at a time, on the
 * loop's thread.
 */
#ifndef HOMEPORT_CHAN_H
#define HOMEPORT_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chan;
struct loop;

/* What the owner is told. Each callback may free the chan; after `closed` nothing more comes. */
struct chan_events {
	/* Bytes arrived. They are the callee's only for the call; it takes all of them. */
	void (*data)(void *ctx, const uint8_t *data, size_t len);
	/* A chan that took less than it was given can take more now. */
	void (*writable)(void *ctx);
	/*
	 * A descriptor, not blocking, that the next *max bytes may be moved to as they are, instead of `data`; `passed`
	 * then tells how many were (more than 0). -1: none, and it is worth asking again after *max bytes (0: unknown).
	 * Either may be NULL.
	 */
	int (*outlet)(void *ctx, size_t *max);
	void (*passed)(void *ctx, size_t n);
	/* The stream ended: error is 0 (end of file) or a negative errno; `why` is a sentence for a person. */
	void (*closed)(void *ctx, int error, const char *why);
};

struct chan_ops {
	/* The owner changed: starts or stops reading (c->events is NULL). May be NULL. */
	void (*owned)(struct chan *c);
	/* kept: see chan_write_kept(). */
	size_t (*write)(struct chan *c, const uint8_t *data, size_t len, bool kept);
	/* NULL: always. */
	bool (*is_flushed)(const struct chan *c);
	/* NULL: it cannot. See chan_leave_loop(). */
	int (*set_loop)(struct chan *c, struct loop *loop);
	void (*free)(struct chan *c);
};

/* The first member of each kind of chan. */
struct chan {
	const struct chan_ops *ops;
	const struct chan_events *events;
	void *ctx;
	size_t turn; /* chan_set_turn() */
};

/* For a kind of chan: how much a turn reads, of which it could read `most`. */
static inline size_t chan_turn(const struct chan *c, size_t most)
{
	return c->turn && c->turn < most ? c->turn : most;
}

/* Hands the chan to its (next) owner. Bytes that arrive while events is NULL are not read. */
void chan_set_owner(struct chan *c, const struct chan_events *events, void *ctx);

/* Takes as many of the bytes as it can at once, maybe none; `writable` follows when it took less than len. Never calls
 * back before it returns. An error is told by `closed`, later. */
size_t chan_write(struct chan *c, const uint8_t *data, size_t len);

/* The same of bytes that stay as they are until the peer says that it has them: a chan that can sends the very pages.
 * So they are not used for anything else before, and memory that is given up earlier is unmapped. */
size_t chan_write_kept(struct chan *c, const uint8_t *data, size_t len);

/* From now on a turn reads no more than so many bytes, or little more. 0: as many as it likes. It is the owner's wish,
 * and ends with it. */
void chan_set_turn(struct chan *c, size_t max);

/* Whether what was taken has left this process, and an end would not lose it; if not, a turn follows when it has. */
bool chan_is_flushed(const struct chan *c);

/*
 * A chan without an owner goes to another loop, maybe another thread's: it leaves the one it is on, not from below a
 * callback of its own, and joins the next, which alone may then be used with it. -ENOTSUP: it stays; -ENOMEM: it
 * joined, and is of no use. Between the two it may be freed, on the thread it left.
 */
int chan_leave_loop(struct chan *c);
int chan_join_loop(struct chan *c, struct loop *loop);

/* Ends the stream and frees the chan. NULL is fine. */
void chan_free(struct chan *c);

#endif
