/* SPDX-License-Identifier: MIT */
/*
 * sftp_client: native SFTP requests over a pipe, and their replies. Pure: no descriptor, no clock.
 * PROTOCOL.md, "Native SFTP".
 *
 * Theory of operation
 *
 * Each request has an id, a type and a `done` that is called exactly once. At most SFTP_REQUESTS_MAX are under way;
 * what comes beyond that, or beyond CLIENT_OUT_MAX bytes that the pipe has not taken, waits in a queue, built and
 * ready. Bytes leave by sftp_client_flush(), which the owner calls once a batch, not once a request.
 *
 * A pipe can end (the share's server died) and another take its place: sftp_client_detach() ends every request, and
 * says of each whether it may have been carried out. Node numbers and handles belong to a pipe, so what is still wanted
 * must be built anew by its owner.
 *
 * State: DETACHED -> attach -> GREETING (INIT sent) -> VERSION -> READY -> detach -> DETACHED.
 */
#ifndef HOMEPORT_SFTP_CLIENT_H
#define HOMEPORT_SFTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp_wire.h"
#include "wire.h"

struct sftp_client;

/* The byte stream to the server, and whose it is. */
struct sftp_pipe_ops {
	/* Takes as many bytes as it can now; when fewer than len, sftp_client_flush() is called again when it can more.
	 */
	size_t (*write)(void *ctx, const void *data, size_t len);
	/* n bytes given to sftp_client_input() are used up: the peer may send as many again. NULL where nobody counts.
	 */
	void (*consumed)(void *ctx, size_t n);
};

/* What became of a request. error is a positive errno, 0 for success. */
struct sftp_reply {
	int error;
	bool lost; /* the pipe ended first. EIO: it modifies and may have been done; ENOTCONN: it may be repeated */
	uint64_t stamp;
	struct wire_reader body; /* empty unless error is 0; valid for the call */
};
typedef void sftp_done(void *ctx, const struct sftp_reply *reply);

struct sftp_client_events {
	/* Both sides agreed on native requests. */
	void (*ready)(void *ctx);
	void (*invalidate)(void *ctx, const struct sftp_invalidation *what);
};

struct sftp_client *sftp_client_new(const struct sftp_client_events *events, void *ctx);

/* Must be detached. NULL is fine. */
void sftp_client_free(struct sftp_client *c);

/* Starts the conversation over a new pipe; 0 or -ENOMEM. */
int sftp_client_attach(struct sftp_client *c, const struct sftp_pipe_ops *ops, void *pipe);

/* The pipe is gone: each request ends with `lost`, in the order they were made. Its `done` makes no new ones. */
void sftp_client_detach(struct sftp_client *c);

bool sftp_client_ready(const struct sftp_client *c);

/*
 * Bytes from the server. 0, -ENOMEM, or -EPROTO: then *why says what was wrong and the owner must drop the pipe and
 * detach. Calls `done`, `ready` and `invalidate`, none of which may detach or free the client.
 */
int sftp_client_input(struct sftp_client *c, const uint8_t *data, size_t len, const char **why);

/*
 * Gives the pipe what it takes. Calls nothing back. While there are only requests that nobody waits for (RELEASE and
 * FORGET), they stay until something else goes or `all` says so: they do not wake the server alone. True: some stayed.
 */
bool sftp_client_flush(struct sftp_client *c, bool all);

/*
 * Makes a request: begin() returns the buffer for the body, end() sends or queues it and returns its id, never 0.
 * Between the two nothing else may be done with the client. Only while ready. -- Requests without an answer (FORGET,
 * CANCEL, RELEASE) have done == NULL; end() returns 0 for those that need not wait.
 * Out of memory: end() returns 0, nothing is sent and done is not called.
 */
struct wire_buf *sftp_client_begin(struct sftp_client *c, uint8_t type);
uint32_t sftp_client_end(struct sftp_client *c, sftp_done *done, void *ctx);

/*
 * end() for a body whose last field is this string. A long one is not copied: its bytes stay the caller's, and as they
 * are, until `done` is called (which is not NULL).
 */
uint32_t sftp_client_end_string(struct sftp_client *c, const uint8_t *data, size_t len, sftp_done *done, void *ctx);

/*
 * The request is not wanted any more. One that still waits here goes away: true, and `done` will not be called. One
 * under way is cancelled at the server, which answers all the same.
 */
bool sftp_client_cancel(struct sftp_client *c, uint32_t id);

/* Requests answered so far, requests under way, requests that wait here. */
struct sftp_client_stats {
	uint64_t requests;
	uint64_t bytes_in, bytes_out;
	size_t under_way, queued;
};
const struct sftp_client_stats *sftp_client_stats(const struct sftp_client *c);

#endif
