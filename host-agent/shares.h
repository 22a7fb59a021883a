/* SPDX-License-Identifier: MIT */
/*
 * shares: the file servers. Each sftp stream the guest opens gets a process of its own, `homeport sftp-server` at the
 * far end of a socketpair, and a relay between: to the agent a share is bytes. A server that dies ends its stream, the
 * guest opens another, and one that dies again and again is refused until it had time to be repaired.
 */
#ifndef HOMEPORT_SHARES_H
#define HOMEPORT_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "op_counters.h"

struct loop;
struct mux_stream;
struct served;
struct shares;

struct share_source {
	const char *location; /* what is served */
	bool writable;
	bool mask;           /* secrets below it are as if absent */
	bool locks;          /* the client's are carried to its files */
	bool virtual_owners; /* whose a file is to the client is recorded with it */
	bool acl;            /* the client has their POSIX ACLs */
};

struct shares_events {
	/* A server died, or one runs again: served_error() says which. */
	void (*changed)(void *ctx);
};

struct shares *shares_new(struct loop *loop, const struct shares_events *events, void *ctx);

/* Ends every server and waits for none. NULL is fine. */
void shares_free(struct shares *s);

/* Adds a share; what source points to is copied. NULL: out of memory. */
struct served *shares_add(struct shares *s, const struct share_source *source);

/* What it serves; as it was given. */
const struct share_source *served_source(const struct served *share);

/*
 * It is not shared any more: the pointer is not the caller's from here on. A stream that is served goes on until it
 * ends, but for no longer than SHARE_RETIRE_US: a client may have something left to write.
 */
void served_retire(struct served *share);

/* Serves an offered stream, or refuses it. A share serves one stream at a time: an older one is ended. */
void served_stream(struct served *share, struct mux_stream *stream);

/* SFTP requests so far, of all its servers. */
uint64_t served_requests(const struct served *share);

/* Bytes of its files that were read and written, so far. */
void served_bytes(const struct served *share, uint64_t *read, uint64_t *written);

/* What its servers carried out, by kind, added to `sum`. */
void served_count(const struct served *share, struct op_counters *sum);

/* From now on the servers of all shares take the time of what they carry out, or do not any more. */
void shares_time(struct shares *s, bool timed);

/* Why it is not served, a sentence; NULL when all is well. */
const char *served_error(const struct served *share);

#endif
