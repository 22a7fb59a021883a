/* SPDX-License-Identifier: MIT */
/*
 * A request's way: read (sftp_io) by whoever leads (pool), given its row here and its place (sftp_order), carried out
 * by its row's function (sftp_native, sftp_stock), answered (sftp_io). What is put aside meanwhile the pool carries out
 * when its turn has come.
 */
#include "sftp_server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "log.h"
#include "pool.h"
#include "sftp_io.h"
#include "sftp_job.h"
#include "sftp_native.h"
#include "sftp_order.h"

#define JOBS_KEPT       16u /* finished jobs kept with their buffers */
#define JOBS_KEPT_LARGE 4u  /* no large ones beyond this many */
#define JOB_LARGE       (512u << 10)
#define END_PATIENCE_MS 1000u
/* Room for every reply but those that carry as much as was asked for: a stock listing is the longest. */
#define REPLY_MIN (68u << 10)

struct sftp_server {
	struct share *share;
	struct pool *pool; /* NULL: one packet at a time */
	struct sftp_input input;
	struct sftp_output output;
	int error; /* of the input */

	struct sftp_order order;

	pthread_mutex_t lock; /* of what follows */
	struct job_list kept;
	unsigned kept_count;
};

/* ---- jobs ---- */

static struct sftp_job *job_new(struct sftp_server *s)
{
	struct sftp_job *job;

	pthread_mutex_lock(&s->lock);
	job = TAILQ_FIRST(&s->kept);
	if (job) {
		TAILQ_REMOVE(&s->kept, job, link);
		s->kept_count--;
	}
	pthread_mutex_unlock(&s->lock);
	if (!job)
		job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	*job = (struct sftp_job){.server = s, .share = s->share, .in = job->in, .out = job->out};
	wire_buf_reset(&job->in);
	wire_buf_reset(&job->out);
	return job;
}

static void job_free(struct sftp_job *job)
{
	wire_buf_free(&job->in);
	wire_buf_free(&job->out);
	free(job);
}

/* Whether it takes a place among those under way. */
static bool is_counted(const struct sftp_job *job)
{
	return !job->row || !(job->row->flags & ROW_AT_ONCE);
}

static void job_done(struct sftp_job *job)
{
	struct sftp_server *s = job->server;
	bool keep;

	if (is_counted(job))
		sftp_order_count_out(&s->order);
	pthread_mutex_lock(&s->lock);
	keep = s->kept_count < (job->in.cap + job->out.cap > JOB_LARGE ? JOBS_KEPT_LARGE : JOBS_KEPT);
	if (keep) {
		TAILQ_INSERT_HEAD(&s->kept, job, link);
		s->kept_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (!keep)
		job_free(job);
}

void sftp_job_may_block(struct sftp_job *job)
{
	if (job->server->pool)
		pool_yield(job->server->pool);
}

/* Without memory it is left out: nothing the client has kept lives longer than a second anyway. */
void sftp_job_invalidate(struct sftp_job *job, enum native_invalidate kind, uint64_t node, const char *name)
{
	static const struct sftp_row row = {
		NATIVE_INVALIDATE, ROW_NATIVE | ROW_AT_ONCE, ROW_NONE, ROW_NONE, ROW_NONE, NULL};
	struct sftp_server *s = job->server;
	struct sftp_invalidation what = {
		.kind = kind, .node = node, .name = (const uint8_t *)name, .name_len = name ? strlen(name) : 0};
	struct sftp_job *told;

	if (job->told > SFTP_TOLD_MAX)
		return;
	if (job->told++ == SFTP_TOLD_MAX)
		what = (struct sftp_invalidation){.kind = NATIVE_INVALIDATE_ALL};
	told = job_new(s);
	if (!told)
		return;
	told->row = &row;
	sftp_invalidation_put(&told->out, &what);
	if (told->out.failed) {
		job_done(told);
		return;
	}
	log_debug("invalidate %d: node %" PRIu64, what.kind, what.node);
	sftp_output_place(&s->output, told, &s->share->stamp, NATIVE_INVALIDATE_STAMP);
}

/* ---- a request's row, handle and device ---- */

/* A field of the body, or 0 where it is not there. */
static uint64_t body_u64(const struct sftp_job *job, uint8_t at)
{
	return at != ROW_NONE && job->in.len >= 5u + at + 8 ? wire_peek_u64(job->in.data + 5 + at) : 0;
}

static uint32_t body_u32(const struct sftp_job *job, uint8_t at)
{
	return at != ROW_NONE && job->in.len >= 5u + at + 4 ? wire_peek_u32(job->in.data + 5 + at) : 0;
}

static const struct sftp_row *find_row(const struct sftp_server *s, const struct sftp_job *job)
{
	const struct sftp_row *row = s->share->native ? sftp_native_row(job->type) : NULL;

	return row ? row : sftp_stock_row(&job->in);
}

static void find_place(struct sftp_server *s, struct sftp_job *job)
{
	const struct sftp_row *row = job->row;
	struct node_info info;
	uint64_t node;
	uint64_t fh = body_u64(job, row->fh_at);

	/* A stock client's handle is a string, ours of 8 bytes. */
	if (fh && (row->flags & ROW_NATIVE || body_u32(job, row->fh_at - 4) == 8))
		job->handle = handles_get(s->share->handles, fh);
	node = body_u64(job, row->node_at);
	if (job->handle)
		job->device = job->handle->identity.device;
	else if (node && nodes_info(s->share->nodes, node, &info) == 0)
		job->device = info.identity.device;
	else if (row->flags & ROW_STOCK)
		job->device = SFTP_DEVICE_OF_PATHS;
}

/* The largest reply this request can have. */
static size_t reply_max(const struct sftp_job *job)
{
	size_t asked = job->row ? body_u32(job, job->row->length_at) : 0;

	return REPLY_MIN + (asked > SFTP_DATA_MAX ? SFTP_DATA_MAX : asked);
}

/* ---- carrying out ---- */

static void put_native_reply(struct sftp_job *job, int error)
{
	if (job->out.failed)
		error = -ENOMEM;
	if (error < 0)
		job->out.len = NATIVE_REPLY_HEADER;
	wire_poke_u32(job->out.data, (uint32_t)job->out.len - 4);
	job->out.data[4] = NATIVE_REPLY;
	wire_poke_u32(job->out.data + 5, job->id);
	wire_poke_u32(job->out.data + 9, (uint32_t)-error);
	wire_poke_u64(job->out.data + 13, job->stamp);
}

static void put_stock_reply(struct sftp_job *job, int error)
{
	if (error < 0 || job->out.failed || job->out.len == STOCK_REPLY_HEADER)
		sftp_stock_put_status(job, job->out.failed && error == 0 ? -ENOMEM : error);
	wire_poke_u32(job->out.data, (uint32_t)job->out.len - 4);
	wire_poke_u32(job->out.data + 5, job->id);
}

static int job_refusal(const struct sftp_server *s, const struct sftp_job *job)
{
	if (!job->row)
		return -ENOSYS;
	if (job->row->flags & ROW_STOCK && s->share->native)
		return -ENOSYS;
	if (job->row->flags & ROW_MODIFIES && !s->share->writable)
		return -EROFS;
	if (job->cancelled)
		return -EINTR;
	return 0;
}

static void job_carry_out(struct sftp_job *job)
{
	struct sftp_server *s = job->server;
	bool native = job->row ? job->row->flags & ROW_NATIVE : s->share->native;
	size_t header = native ? NATIVE_REPLY_HEADER : STOCK_REPLY_HEADER;
	struct share_counters *counters = s->share->counters;
	uint64_t begun = share_counters_begin(counters, job->type);
	int r = job_refusal(s, job);

	/* 256 bytes are the least a buffer has, so that the header at least has its place (wire.c). */
	if (!wire_buf_reserve(&job->out, 256)) {
		log_warn("no memory for a reply");
		sftp_output_drop(&s->output, job);
		return;
	}
	job->out.len = header;
	job->stamp = atomic_load(&s->share->stamp);
	if (r == 0 && job->handle && !(job->row->flags & ROW_CLOSES))
		r = handles_bring(s->share->handles, job->handle);
	if (r == 0)
		r = job->row->run(job);
	assert(r <= 0);
	share_counters_done(counters, job->type, begun);
	if (r == -ESTALE && native) {
		share_node_lost(s->share);
		native_tell_gone(job, body_u64(job, job->row->node_at));
	}
	if (native)
		put_native_reply(job, r);
	else
		put_stock_reply(job, r);
	if (log_enabled(LOG_LEVEL_DEBUG))
		log_debug("%s #%u: %s, %zu bytes", sftp_type_name(job->type), job->id, r ? strerror(-r) : "ok",
			  job->out.len);
	if (job->row && job->row->flags & ROW_NO_REPLY)
		sftp_output_drop(&s->output, job);
	else
		sftp_output_send(&s->output, job);
}

/* Gives the job's place away, and back what it held. */
static void finish(struct sftp_server *s, struct sftp_job *job)
{
	struct job_list ready = TAILQ_HEAD_INITIALIZER(ready);
	struct sftp_job *next;

	sftp_order_leave(&s->order, job, &ready);
	while ((next = TAILQ_FIRST(&ready))) {
		TAILQ_REMOVE(&ready, next, link);
		pool_push(s->pool, next);
	}
	if (job->handle)
		share_handle_put(s->share, job->handle);
	job->handle = NULL;
}

static void on_job(void *ctx, void *arg)
{
	struct sftp_server *s = ctx;
	struct sftp_job *job = arg;
	struct sftp_job place = *job;

	/* Where a server answers, or another disk, the others need not first see how long it takes. */
	if (job->device != SFTP_DEVICE_OF_PATHS && (job->device != 0 || s->share->root.devices[0].remote))
		sftp_job_may_block(job);
	sftp_output_reserve(&s->output, job, reply_max(job));
	job_carry_out(job); /* and gives the job away */
	finish(s, &place);
}

/* ---- what is not put in order: INIT, FORGET, CANCEL, and what is no request ---- */

/* u32 version, then pairs of strings. */
static int take_init(struct sftp_job *job)
{
	struct wire_reader r = wire_reader(job->in.data + 1, job->in.len - 1);
	const uint8_t *name, *value;
	size_t name_len, value_len;
	bool native = false;

	wire_get_u32(&r);
	while (!r.bad && r.left) {
		name = wire_get_string(&r, &name_len, SFTP_PACKET_MAX);
		value = wire_get_string(&r, &value_len, SFTP_PACKET_MAX);
		if (!r.bad && name_len == strlen(NATIVE_EXTENSION) && !memcmp(name, NATIVE_EXTENSION, name_len) &&
		    value_len == strlen(NATIVE_VERSION) && !memcmp(value, NATIVE_VERSION, value_len))
			native = true;
	}
	if (r.bad)
		return -EPROTO;
	job->share->native = native;
	sftp_stock_put_version(&job->out);
	return job->out.failed ? -ENOMEM : 0;
}

/* A request that waits is answered at once, wherever it stands; one that has begun runs on. */
static void cancel(struct sftp_server *s, uint32_t id)
{
	struct sftp_job *job = sftp_order_cancel(&s->order, id);

	if (job)
		pool_push(s->pool, job);
}

/* Done by the reader itself. 1: that was all; 0: it is to be put in order; -EPROTO. */
static int take_at_once(struct sftp_server *s, struct sftp_job *job)
{
	int r;

	if (job->type == SSH_FXP_INIT) {
		r = take_init(job);
		if (r < 0)
			return r;
		sftp_output_reserve(&s->output, job, job->out.len);
		sftp_output_send(&s->output, job);
		return 1;
	}
	if (!job->row || !(job->row->flags & ROW_AT_ONCE))
		return 0;
	if (job->type == NATIVE_CANCEL)
		cancel(s, body_u32(job, 0));
	else
		job->row->run(job);
	job_done(job);
	return 1;
}

/* Type and id, row, what it works on. -EPROTO: too short to be answered. */
static int job_parse(struct sftp_server *s, struct sftp_job *job)
{
	job->type = job->in.data[0];
	if (job->in.len < 5)
		return -EPROTO;
	job->id = job->type == SSH_FXP_INIT ? 0 : wire_peek_u32(job->in.data + 1);
	job->row = job->type == SSH_FXP_INIT ? NULL : find_row(s, job);
	if (job->row)
		find_place(s, job);
	atomic_fetch_add_explicit(&s->share->counters->requests, 1, memory_order_relaxed);
	return 0;
}

/* ---- the reader ---- */

/* The next job that may run; one that may not yet is left in its list. */
static void *on_next(void *ctx)
{
	struct sftp_server *s = ctx;

	for (;;) {
		struct sftp_job *job;
		int r;

		sftp_order_wait_for_room(&s->order);
		job = job_new(s);
		r = job ? sftp_input_next(&s->input, &job->in) : -ENOMEM;
		if (r > 0)
			r = job_parse(s, job);
		else if (r == 0)
			r = -ENODATA;
		if (r == 0) {
			if (is_counted(job))
				sftp_order_count_in(&s->order);
			r = take_at_once(s, job);
		}
		if (r < 0) {
			s->error = r == -ENODATA ? 0 : r;
			if (job)
				job_free(job);
			return NULL;
		}
		if (r == 0 && sftp_order_enter(&s->order, job))
			return job;
	}
}

/* ---- what others call ---- */

struct sftp_server *sftp_server_new(struct share *share)
{
	struct sftp_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->share = share;
	TAILQ_INIT(&s->kept);
	sftp_order_init(&s->order);
	pthread_mutex_init(&s->lock, NULL);
	sftp_output_init(&s->output, -1, job_done);
	return s;
}

void sftp_server_free(struct sftp_server *s)
{
	struct sftp_job *job;

	if (!s)
		return;
	while ((job = TAILQ_FIRST(&s->kept))) {
		TAILQ_REMOVE(&s->kept, job, link);
		job_free(job);
	}
	sftp_output_clear(&s->output);
	sftp_order_clear(&s->order);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int sftp_server_run(struct sftp_server *s, int in_fd, int out_fd)
{
	static const struct pool_ops ops = {.next = on_next, .run = on_job};
	int r = sftp_input_init(&s->input, in_fd);

	if (r < 0)
		return r;
	s->output.fd = out_fd;
	s->pool = pool_new(&ops, s, SFTP_THREADS_MAX);
	r = s->pool ? pool_run(s->pool, END_PATIENCE_MS) : -ENOMEM;
	if (r == -EBUSY)
		return r;
	pool_free(s->pool);
	s->pool = NULL;
	sftp_input_clear(&s->input);
	return r < 0 ? r : s->error;
}

int sftp_server_packet(struct sftp_server *s, const uint8_t *packet, size_t len, struct wire_buf *reply)
{
	struct sftp_job *job = job_new(s);
	int r;

	if (!job)
		return -ENOMEM;
	s->output.memory = reply;
	wire_put_bytes(&job->in, packet, len);
	r = len && !job->in.failed ? job_parse(s, job) : -EPROTO;
	if (r == 0) {
		if (is_counted(job))
			sftp_order_count_in(&s->order);
		r = take_at_once(s, job);
	}
	if (r < 0) {
		job_free(job);
		return r;
	}
	if (r == 0 && sftp_order_enter(&s->order, job))
		on_job(s, job);
	return 0;
}
