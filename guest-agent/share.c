/* SPDX-License-Identifier: MIT */
/* One of the host's shares in a mount. See share.h. */
#include "share.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_call.h"
#include "log.h"
#include "loop.h"

/* A server that dies at once is asked for again ever more slowly. */
#define BACKOFF_MIN_US 50000u
#define BACKOFF_MAX_US 2000000u
#define FORGETS_MAX    1024u /* entries of one FORGET, */
#define FORGET_SIZE    16u   /* bytes each */
/* How long what nobody waits for (RELEASE, FORGET) stays for company: it would wake the server for itself. */
#define LAZY_US 2000u

static const char *const state_names[] = {"lost", "asked", "greeting", "attached"};
static_assert(sizeof(state_names) / sizeof(*state_names) == SHARE_STATE_COUNT, "each state has a name");

const char *share_state_name(enum share_state state)
{
	return state_names[state];
}

static void share_set_state(struct share *s, enum share_state state)
{
	if (s->state == state)
		return;
	log_debug("mount %s: share %u: %s -> %s", s->mount->target, s->index, share_state_name(s->state),
		  share_state_name(state));
	s->state = state;
}

/* ------------------------------------------------------------------------------------------------------- parking */

void share_park(struct share *s, struct call *call)
{
	call->parked_next = NULL;
	call->parked_prev = s->parked.last;
	*s->parked.last = call;
	s->parked.last = &call->parked_next;
}

void share_unpark(struct share *s, struct call *call)
{
	*call->parked_prev = call->parked_next;
	if (call->parked_next)
		call->parked_next->parked_prev = call->parked_prev;
	else
		s->parked.last = call->parked_prev;
}

/* Each starts again; one that is parked anew meanwhile waits for the next attachment. */
static void share_start_parked(struct share *s)
{
	struct call *call = s->parked.first, *next;

	s->parked.first = NULL;
	s->parked.last = &s->parked.first;
	for (; call; call = next) {
		next = call->parked_next;
		call_start(call);
	}
}

/* ------------------------------------------------------------------------------------------------------ attaching */

/* The kernel forgets up to 65,536 nodes a request, and some of these a turn, when memory is wanted: in pieces. */
static void forgets_send(struct share *s)
{
	const uint8_t *at = s->forgets.data;

	while (s->forget_count && sftp_client_ready(s->client)) {
		uint32_t count = s->forget_count < FORGETS_MAX ? s->forget_count : FORGETS_MAX;
		struct wire_buf *b = sftp_client_begin(s->client, NATIVE_FORGET);

		wire_put_u32(b, count);
		wire_put_bytes(b, at, count * FORGET_SIZE);
		sftp_client_end(s->client, NULL, NULL);
		at += count * FORGET_SIZE;
		s->forget_count -= count;
	}
	s->forget_count = 0;
	wire_buf_empty(&s->forgets, FORGETS_MAX * FORGET_SIZE);
}

static void on_lazy(void *ctx)
{
	struct share *s = ctx;

	if (s->state < SHARE_GREETING)
		return;
	forgets_send(s);
	sftp_client_flush(s->client, true);
}

/* The pipe is of no use: its owner ends it, and a new one is asked for later. */
static void share_refuse(struct share *s, const char *why)
{
	log_warn("mount %s: the host's file server: %s", s->mount->target, why);
	s->mount->events->close_share(s->mount->ctx, s->index, why);
	share_lost(s);
}

static void on_retry(void *ctx)
{
	struct share *s = ctx;

	if (s->state == SHARE_GREETING) {
		share_refuse(s, "the share's folder cannot be read");
	} else if (s->state == SHARE_LOST) {
		share_set_state(s, SHARE_ASKED);
		s->mount->events->open_share(s->mount->ctx, s->index);
	}
}

static void root_done(void *ctx, const struct sftp_reply *reply)
{
	struct share *s = ctx;
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	if (reply->lost)
		return;
	sftp_attr_get(&r, &attr);
	if (reply->error || !wire_read_done(&r)) {
		log_warn("mount %s: share %u: its root cannot be read: errno %d", s->mount->target, s->index,
			 reply->error);
		/* Not from inside the client: the timer drops the pipe. */
		loop_timer_set(s->retry, 0);
		return;
	}
	s->root_attr = attr;
	s->root_known = true;
	s->backoff_us = BACKOFF_MIN_US;
	node_set_identity(s->root, &attr);
	share_set_state(s, SHARE_ATTACHED);
	mount_share_ready(s->mount, s);
	share_start_parked(s);
}

static void on_ready(void *ctx)
{
	struct share *s = ctx;
	struct wire_buf *b;

	node_bind(s->mount->nodes, s->root, NATIVE_ROOT);
	b = sftp_client_begin(s->client, NATIVE_GETATTR);
	wire_put_u64(b, NATIVE_ROOT);
	wire_put_u64(b, 0);
	sftp_client_end(s->client, root_done, s);
}

static void on_invalidate(void *ctx, const struct sftp_invalidation *what)
{
	struct share *s = ctx;

	if (s->mount->invalidator)
		mount_invalidate(s->mount, s, what);
}

static const struct sftp_client_events client_events = {.ready = on_ready, .invalidate = on_invalidate};

static void share_set_params(struct share *s, const struct mount_share *params)
{
	s->writable = params->writable;
	s->ids = s->mount->ids;
	s->ids.recorded = params->virtual_owners;
	if (params->uids)
		s->ids.uids = *params->uids;
	if (params->gids)
		s->ids.gids = *params->gids;
}

struct share *share_new(struct mount *m, uint16_t index, const struct mount_share *params)
{
	struct share *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->mount = m;
	s->index = index;
	share_set_params(s, params);
	s->generation = 1;
	s->backoff_us = BACKOFF_MIN_US;
	s->parked.last = &s->parked.first;
	s->point = strdup(params->point);
	s->client = sftp_client_new(&client_events, s);
	s->retry = loop_timer_new(m->loop, on_retry, s);
	s->lazy = loop_timer_new(m->loop, on_lazy, s);
	if (!s->point || !s->client || !s->retry || !s->lazy) {
		share_free(s);
		return NULL;
	}
	loop_timer_set(s->retry, 0);
	return s;
}

int share_become(struct share *s, const struct mount_share *params)
{
	char *point = strdup(params->point);

	if (!point)
		return -ENOMEM;
	free(s->point);
	s->point = point;
	share_set_params(s, params);
	s->generation++;
	s->entries_stamp = 0;
	return 0;
}

void share_end(struct share *s)
{
	if (s->state >= SHARE_GREETING) {
		s->generation++;
		share_set_state(s, SHARE_LOST);
		sftp_client_detach(s->client);
	}
	loop_timer_stop(s->retry);
	loop_timer_stop(s->lazy);
}

void share_free(struct share *s)
{
	if (!s)
		return;
	sftp_client_free(s->client);
	loop_timer_free(s->retry);
	loop_timer_free(s->lazy);
	wire_buf_free(&s->forgets);
	free(s->point);
	free(s);
}

int share_attach(struct share *s, const struct sftp_pipe_ops *ops, void *pipe)
{
	int rc = sftp_client_attach(s->client, ops, pipe);

	if (rc < 0)
		return rc;
	loop_timer_stop(s->retry);
	share_set_state(s, SHARE_GREETING);
	sftp_client_flush(s->client, true);
	return 0;
}

void share_lost(struct share *s)
{
	bool had = s->state >= SHARE_GREETING;

	share_set_state(s, SHARE_LOST);
	if (had) {
		node_table_detach(s->mount->nodes, s->index);
		attr_memory_clear(&s->mount->attrs);
		listing_memory_clear(&s->mount->listings);
		s->generation++;
		s->entries_stamp = 0;
		wire_buf_reset(&s->forgets);
		s->forget_count = 0;
		sftp_client_detach(s->client);
		node_writes_lost(s->mount, s);
	}
	if (s->dropped)
		return;
	loop_timer_set(s->retry, s->backoff_us);
	s->backoff_us = 2 * s->backoff_us < BACKOFF_MAX_US ? 2 * s->backoff_us : BACKOFF_MAX_US;
}

void share_drop(struct share *s)
{
	s->dropped = true;
	share_lost(s);
	s->root_known = s->space_known = false;
	loop_timer_stop(s->retry);
	share_start_parked(s);
}

void share_want(struct share *s)
{
	s->dropped = false;
	s->backoff_us = BACKOFF_MIN_US;
	loop_timer_set(s->retry, 0);
}

void share_input(struct share *s, const uint8_t *data, size_t len)
{
	const char *why;
	int rc = sftp_client_input(s->client, data, len, &why);

	if (rc < 0)
		share_refuse(s, why);
}

/* ------------------------------------------------------------------------------------------------------- sending */

void share_forget(struct share *s, uint64_t server, uint64_t lookups)
{
	if (!sftp_client_ready(s->client))
		return;
	wire_put_u64(&s->forgets, server);
	wire_put_u64(&s->forgets, lookups);
	if (s->forgets.failed) {
		/* The server keeps a few nodes longer than it need. */
		wire_buf_reset(&s->forgets);
		s->forget_count = 0;
		return;
	}
	s->forget_count++;
}

void share_flush(struct share *s)
{
	bool stayed;

	if (s->state < SHARE_GREETING)
		return;
	if (s->forget_count >= FORGETS_MAX)
		forgets_send(s);
	stayed = sftp_client_flush(s->client, false);
	if ((stayed || s->forget_count) && !loop_timer_is_set(s->lazy))
		loop_timer_set(s->lazy, LAZY_US);
}

void share_writable(struct share *s)
{
	if (s->state >= SHARE_GREETING)
		sftp_client_flush(s->client, true);
}
