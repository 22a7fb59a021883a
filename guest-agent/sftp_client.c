/* SPDX-License-Identifier: MIT */
/* Native SFTP requests over a pipe. See sftp_client.h. */
#include "sftp_client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "bounds.h"
#include "heap.h"

/* Bytes built and not taken by the pipe, beyond which requests wait: two of the largest writes. */
#define CLIENT_OUT_MAX  (2u << 20)
#define CLIENT_TAIL_MIN (16u << 10) /* a string as long is not copied into `out`: it goes from where it is */
#define CLIENT_BUCKETS  512u        /* twice what can be under way: chains are short */
#define CLIENT_SPARE    64u         /* requests kept for reuse */
#define INIT_BODY_MAX   4096u
#define ERRNO_MAX       4095u /* the kernel's own bound */

enum client_state { DETACHED, GREETING, READY };

struct request {
	TAILQ_ENTRY(request) order; /* all that are not answered, oldest first; or the spare list */
	struct request *chain;      /* same bucket */
	TAILQ_ENTRY(request) waiting;
	uint32_t id;
	uint8_t type;
	bool sent;
	sftp_done *done;
	void *ctx;
	uint8_t *packet; /* while it waits */
	size_t packet_len;
	/* What follows the packet and was not copied into it: the caller's, until the pipe has taken it. */
	TAILQ_ENTRY(request) tailed;
	const uint8_t *tail;
	size_t tail_len, tail_sent;
	size_t tail_at; /* where in `out` it goes */
};
TAILQ_HEAD(request_list, request);

struct sftp_client {
	const struct sftp_client_events *events;
	void *ctx;
	const struct sftp_pipe_ops *ops;
	void *pipe;
	enum client_state state;

	struct sftp_framer framer;
	const char *why; /* set by whoever refuses a packet */

	struct wire_buf out;
	size_t out_sent;   /* bytes of out the pipe has taken */
	size_t begun;      /* where in out the request being built begins */
	size_t begun_mark; /* of its length */
	uint8_t begun_type;
	const uint8_t *begun_tail;
	size_t begun_tail_len;
	bool waited_for; /* somebody waits for an answer to what is in out */

	uint32_t next_id;
	struct request *buckets[CLIENT_BUCKETS];
	struct request_list requests, waiting, spare;
	struct request_list tailed; /* those in `out` whose tails are not taken yet, in its order */
	size_t spare_count;
	struct sftp_client_stats stats;
};

/* Which requests may have changed something when their answer was lost. CREATE and OPEN with TRUNC among them. */
static bool type_modifies(uint8_t type)
{
	switch (type) {
	case NATIVE_SETATTR:
	case NATIVE_SYMLINK:
	case NATIVE_MKDIR:
	case NATIVE_MKNOD:
	case NATIVE_UNLINK:
	case NATIVE_RMDIR:
	case NATIVE_RENAME:
	case NATIVE_LINK:
	case NATIVE_CREATE:
	case NATIVE_WRITE:
	case NATIVE_FALLOCATE:
	case NATIVE_COPY:
	case NATIVE_SETXATTR:
	case NATIVE_REMOVEXATTR:
	case NATIVE_LOCK:
		return true;
	default:
		return false;
	}
}

struct sftp_client *sftp_client_new(const struct sftp_client_events *events, void *ctx)
{
	struct sftp_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->events = events;
	c->ctx = ctx;
	c->framer.max = SFTP_PACKET_MAX;
	TAILQ_INIT(&c->requests);
	TAILQ_INIT(&c->waiting);
	TAILQ_INIT(&c->tailed);
	TAILQ_INIT(&c->spare);
	return c;
}

void sftp_client_free(struct sftp_client *c)
{
	struct request *r;

	if (!c)
		return;
	assert(c->state == DETACHED);
	while ((r = TAILQ_FIRST(&c->spare))) {
		TAILQ_REMOVE(&c->spare, r, order);
		free(r);
	}
	sftp_framer_clear(&c->framer);
	wire_buf_free(&c->out);
	free(c);
}

bool sftp_client_ready(const struct sftp_client *c)
{
	return c->state == READY;
}

const struct sftp_client_stats *sftp_client_stats(const struct sftp_client *c)
{
	return &c->stats;
}

static struct request **bucket_of(struct sftp_client *c, uint32_t id)
{
	return &c->buckets[id % CLIENT_BUCKETS];
}

static struct request *request_new(struct sftp_client *c)
{
	struct request *r = TAILQ_FIRST(&c->spare);

	if (r) {
		TAILQ_REMOVE(&c->spare, r, order);
		c->spare_count--;
	} else {
		r = malloc(sizeof(*r));
	}
	if (r)
		memset(r, 0, sizeof(*r));
	return r;
}

static struct request *request_find(struct sftp_client *c, uint32_t id)
{
	struct request *r = *bucket_of(c, id);

	while (r && r->id != id)
		r = r->chain;
	return r;
}

/* Takes the request out of every list; the memory is kept for the next one. */
static void request_end(struct sftp_client *c, struct request *r)
{
	struct request **at = bucket_of(c, r->id);

	while (*at != r)
		at = &(*at)->chain;
	*at = r->chain;
	TAILQ_REMOVE(&c->requests, r, order);
	if (r->sent) {
		c->stats.under_way--;
		if (r->tail)
			TAILQ_REMOVE(&c->tailed, r, tailed);
	} else {
		TAILQ_REMOVE(&c->waiting, r, waiting);
		c->stats.queued--;
	}
	free(r->packet);
	if (c->spare_count < CLIENT_SPARE) {
		TAILQ_INSERT_HEAD(&c->spare, r, order);
		c->spare_count++;
	} else {
		free(r);
	}
}

/* ------------------------------------------------------------------------------------------------------- sending */

int sftp_client_attach(struct sftp_client *c, const struct sftp_pipe_ops *ops, void *pipe)
{
	size_t mark;

	assert(c->state == DETACHED);
	c->ops = ops;
	c->pipe = pipe;
	wire_buf_reset(&c->out);
	c->out_sent = 0;
	mark = wire_put_length_begin(&c->out);
	wire_put_u8(&c->out, SSH_FXP_INIT);
	wire_put_u32(&c->out, 3);
	wire_put_cstring(&c->out, NATIVE_EXTENSION);
	wire_put_cstring(&c->out, NATIVE_VERSION);
	wire_put_length_end(&c->out, mark);
	if (c->out.failed)
		return -ENOMEM;
	c->state = GREETING;
	c->waited_for = true;
	return 0;
}

void sftp_client_detach(struct sftp_client *c)
{
	struct request *r;

	c->state = DETACHED;
	sftp_framer_clear(&c->framer);
	wire_buf_free(&c->out);
	c->out_sent = 0;
	while ((r = TAILQ_FIRST(&c->requests))) {
		struct sftp_reply reply = {.error = r->sent && type_modifies(r->type) ? EIO : ENOTCONN, .lost = true};
		sftp_done *done = r->done;
		void *ctx = r->ctx;

		request_end(c, r);
		if (done)
			done(ctx, &reply);
	}
}

static bool type_unanswered(uint8_t type)
{
	return type == NATIVE_FORGET || type == NATIVE_CANCEL || type == NATIVE_RELEASE;
}

static size_t out_left(const struct sftp_client *c)
{
	return c->out.len - c->out_sent;
}

/* The request stands in `out`. */
static void request_goes(struct sftp_client *c, struct request *r)
{
	r->sent = true;
	c->stats.under_way++;
	r->tail_at = c->out.len;
	if (r->tail)
		TAILQ_INSERT_TAIL(&c->tailed, r, tailed);
}

/* Moves requests that wait into `out` as far as both limits allow. */
static void client_fill(struct sftp_client *c)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&c->waiting)) && c->stats.under_way < SFTP_REQUESTS_MAX &&
	       out_left(c) < CLIENT_OUT_MAX) {
		wire_put_bytes(&c->out, r->packet, r->packet_len);
		if (c->out.failed) {
			c->out.failed = false; /* it goes on waiting; bytes before it are whole */
			return;
		}
		free(r->packet);
		r->packet = NULL;
		TAILQ_REMOVE(&c->waiting, r, waiting);
		c->stats.queued--;
		request_goes(c, r);
		if (type_unanswered(r->type))
			request_end(c, r);
	}
}

static size_t client_write(struct sftp_client *c, const uint8_t *data, size_t len)
{
	size_t taken = c->ops->write(c->pipe, data, len);

	c->stats.bytes_out += taken;
	return taken;
}

/* Gives the pipe what stands next: of `out` up to the first tail, or of that. False when it took less. */
static bool client_write_next(struct sftp_client *c)
{
	struct request *r = TAILQ_FIRST(&c->tailed);
	size_t left = (r ? r->tail_at : c->out.len) - c->out_sent;

	if (left) {
		size_t taken = client_write(c, c->out.data + c->out_sent, left);

		c->out_sent += taken;
		return taken == left;
	}
	r->tail_sent += client_write(c, r->tail + r->tail_sent, r->tail_len - r->tail_sent);
	if (r->tail_sent < r->tail_len)
		return false;
	TAILQ_REMOVE(&c->tailed, r, tailed);
	r->tail = NULL;
	return true;
}

static void client_drop_written(struct sftp_client *c)
{
	struct request *r;

	TAILQ_FOREACH(r, &c->tailed, tailed)
	r->tail_at -= c->out_sent;
	wire_buf_consume(&c->out, c->out_sent);
	c->out_sent = 0;
	/* Requests wait elsewhere: so much comes of FORGETs alone, and what they were about has gone as well. */
	if (!c->out.len && c->out.cap > 2 * CLIENT_OUT_MAX) {
		wire_buf_free(&c->out);
		heap_trim();
	}
}

bool sftp_client_flush(struct sftp_client *c, bool all)
{
	if (c->state == DETACHED)
		return false;
	if (!c->waited_for && !all && TAILQ_EMPTY(&c->waiting))
		return out_left(c) > 0;
	c->waited_for = false;
	do
		if (c->state == READY)
			client_fill(c);
	while ((out_left(c) > 0 || !TAILQ_EMPTY(&c->tailed)) && client_write_next(c));
	if (c->out_sent == c->out.len || c->out_sent >= CLIENT_OUT_MAX / 2)
		client_drop_written(c);
	return false;
}

struct wire_buf *sftp_client_begin(struct sftp_client *c, uint8_t type)
{
	assert(c->state == READY);
	do
		c->next_id++;
	while (c->next_id == 0 || request_find(c, c->next_id));
	c->begun = c->out.len;
	c->begun_mark = wire_put_length_begin(&c->out);
	c->begun_type = type;
	c->begun_tail = NULL;
	c->begun_tail_len = 0;
	wire_put_u8(&c->out, type);
	wire_put_u32(&c->out, type_unanswered(type) ? 0 : c->next_id);
	return &c->out;
}

/* Out of memory in the midst of a request: those before it are whole. */
static void client_undo(struct sftp_client *c, size_t start)
{
	c->out.len = start;
	c->out.failed = false;
}

/* Takes the request just built out of `out` again, to wait. */
static bool request_park(struct sftp_client *c, struct request *r, size_t start)
{
	r->packet_len = c->out.len - start;
	r->packet = malloc(r->packet_len);
	if (!r->packet)
		return false;
	memcpy(r->packet, c->out.data + start, r->packet_len);
	c->out.len = start;
	return true;
}

uint32_t sftp_client_end(struct sftp_client *c, sftp_done *done, void *ctx)
{
	size_t start = c->begun;
	bool park = !TAILQ_EMPTY(&c->waiting) || c->stats.under_way >= SFTP_REQUESTS_MAX ||
		    start - c->out_sent >= CLIENT_OUT_MAX;
	struct request *r;

	wire_put_length_end(&c->out, c->begun_mark);
	if (c->begun_tail && !c->out.failed)
		wire_poke_u32(c->out.data + c->begun_mark - 4,
			      (uint32_t)(c->out.len - c->begun_mark + c->begun_tail_len));
	c->waited_for |= done || c->begun_type == NATIVE_CANCEL;
	/* These take no place among those under way. What waits only a RELEASE must not overtake: it may use the
	 * handle.
	 */
	if (type_unanswered(c->begun_type) && (c->begun_type != NATIVE_RELEASE || TAILQ_EMPTY(&c->waiting))) {
		if (c->out.failed)
			client_undo(c, start);
		return 0;
	}
	r = c->out.failed ? NULL : request_new(c);
	if (!r || (park && !request_park(c, r, start))) {
		free(r);
		client_undo(c, start);
		return 0;
	}
	r->id = c->next_id;
	r->type = c->begun_type;
	r->done = done;
	r->ctx = ctx;
	r->tail = c->begun_tail;
	r->tail_len = c->begun_tail_len;
	r->chain = *bucket_of(c, r->id);
	*bucket_of(c, r->id) = r;
	TAILQ_INSERT_TAIL(&c->requests, r, order);
	if (park) {
		TAILQ_INSERT_TAIL(&c->waiting, r, waiting);
		c->stats.queued++;
	} else {
		request_goes(c, r);
	}
	return r->id;
}

uint32_t sftp_client_end_string(struct sftp_client *c, const uint8_t *data, size_t len, sftp_done *done, void *ctx)
{
	if (len < CLIENT_TAIL_MIN) {
		wire_put_string(&c->out, data, len);
	} else {
		wire_put_u32(&c->out, (uint32_t)len);
		c->begun_tail = data;
		c->begun_tail_len = len;
	}
	return sftp_client_end(c, done, ctx);
}

bool sftp_client_cancel(struct sftp_client *c, uint32_t id)
{
	struct request *r = request_find(c, id);
	struct wire_buf *b;

	if (!r)
		return false;
	if (!r->sent) {
		request_end(c, r);
		return true;
	}
	b = sftp_client_begin(c, NATIVE_CANCEL);
	wire_put_u32(b, id);
	sftp_client_end(c, NULL, NULL);
	return false;
}

/* ----------------------------------------------------------------------------------------------------- receiving */

static int refuse(struct sftp_client *c, const char *why)
{
	c->why = why;
	return -EPROTO;
}

static int on_version(struct sftp_client *c, struct wire_reader r)
{
	bool native = false;

	if (wire_get_u32(&r) != 3)
		return refuse(c, "it speaks another version of SFTP");
	while (!r.bad && r.left) {
		size_t name_len, value_len;
		const uint8_t *name = wire_get_string(&r, &name_len, INIT_BODY_MAX);
		const uint8_t *value = wire_get_string(&r, &value_len, INIT_BODY_MAX);

		if (name && value && name_len == strlen(NATIVE_EXTENSION) &&
		    memcmp(name, NATIVE_EXTENSION, name_len) == 0 && value_len == strlen(NATIVE_VERSION) &&
		    memcmp(value, NATIVE_VERSION, value_len) == 0)
			native = true;
	}
	if (!wire_read_done(&r))
		return refuse(c, "its VERSION is malformed");
	if (!native)
		return refuse(c, "it is not a homeport server of this version");
	c->state = READY;
	c->events->ready(c->ctx);
	return 0;
}

static int on_reply(struct sftp_client *c, struct wire_reader r)
{
	struct request *request = request_find(c, wire_get_u32(&r));
	uint32_t error = wire_get_u32(&r);
	struct sftp_reply reply = {.error = (int)error, .stamp = wire_get_u64(&r)};
	sftp_done *done;
	void *ctx;

	if (r.bad || error > ERRNO_MAX || (error && r.left))
		return refuse(c, "a reply is malformed");
	if (!request || !request->sent || request->tail)
		return refuse(c, "it answered what was not asked");
	reply.body = r;
	done = request->done;
	ctx = request->ctx;
	request_end(c, request);
	c->stats.requests++;
	if (done)
		done(ctx, &reply);
	return 0;
}

static int on_invalidate(struct sftp_client *c, struct wire_reader r)
{
	struct sftp_invalidation what;

	sftp_invalidation_get(&r, &what);
	if (!wire_read_done(&r))
		return refuse(c, "an invalidation is malformed");
	c->events->invalidate(c->ctx, &what);
	return 0;
}

static int on_packet(void *ctx, const uint8_t *packet, size_t len)
{
	struct sftp_client *c = ctx;
	struct wire_reader r = wire_reader(packet, len);
	uint8_t type = wire_get_u8(&r);

	if (c->state == GREETING && type == SSH_FXP_VERSION)
		return on_version(c, r);
	if (c->state == READY && type == NATIVE_REPLY)
		return on_reply(c, r);
	if (c->state == READY && type == NATIVE_INVALIDATE)
		return on_invalidate(c, r);
	return refuse(c, "it sent a packet out of place");
}

int sftp_client_input(struct sftp_client *c, const uint8_t *data, size_t len, const char **why)
{
	int rc;

	c->why = "its bytes are not SFTP";
	c->stats.bytes_in += len;
	rc = sftp_framer_feed(&c->framer, data, len, on_packet, c);
	if (rc < 0) {
		*why = rc == -ENOMEM ? "out of memory" : c->why;
		return rc;
	}
	if (c->ops->consumed)
		c->ops->consumed(c->pipe, len);
	return 0;
}
