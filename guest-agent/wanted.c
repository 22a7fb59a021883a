/* SPDX-License-Identifier: MIT */
/*
 * A mount and the streams of its shares. See wanted.h.
 *
 * A share asks for a pipe when it has none. With a session there, that is a stream of kind sftp to the host, given to
 * the share at once (its first bytes may follow OPEN without an answer); without one, or when the host refuses or the
 * stream ends, the share is told that it is lost, asks again in its own time, and is answered when a session claims the
 * mount.
 */
#include "wanted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keep_socket.h"
#include "log.h"
#include "loop.h"
#include "mount.h"
#include "mount_target.h"
#include "mux.h"
#include "open_args.h"
#include "wire.h"

/* A polite unmount waits for nobody: what is still busy then is detached. */
#define WANTED_UNMOUNT_US 2000000u

/* One share's way to its server, by the share's slot in the mount. */
struct pipe {
	struct wanted *wanted;
	unsigned share;
	uint32_t number;           /* the host's, of the share */
	struct mux_stream *stream; /* NULL: none */
	bool asked;                /* the share waits for one */
};

struct wanted {
	struct loop *loop;
	const struct wanted_events *events;
	void *ctx;
	char *asked_target; /* as the host wrote it */
	char target[1024];  /* where it goes: elsewhere than asked, when that would hide the user's home */
	char note[256];     /* says so, "" otherwise */
	struct control_mount_state state; /* as last told; its id is the present session's */
	struct mount *mount;              /* NULL: failed, or over */
	struct mux *mux;                  /* of the session that claims it; NULL: none */
	struct loop_timer *patience;
	bool ended, host_locks, acl;
	struct pipe pipes[CONTROL_MOUNTS_MAX];
};

const char *wanted_target(const struct wanted *w)
{
	return w->asked_target;
}

uint32_t wanted_id(const struct wanted *w)
{
	return w->state.id;
}

bool wanted_is_claimed(const struct wanted *w)
{
	return w->mux != NULL;
}

enum control_mount_status wanted_status(const struct wanted *w)
{
	return w->state.status;
}

/* ------------------------------------------------------------------------------------------------------------- pipes
 */

static size_t pipe_write(void *ctx, const void *data, size_t len)
{
	struct pipe *p = ctx;

	return p->stream ? mux_stream_write(p->stream, data, len) : 0;
}

static void pipe_consumed(void *ctx, size_t n)
{
	struct pipe *p = ctx;

	if (p->stream)
		mux_stream_consumed(p->stream, n);
}

static const struct sftp_pipe_ops pipe_ops = {.write = pipe_write, .consumed = pipe_consumed};

static void on_stream_data(void *ctx, const uint8_t *data, size_t len)
{
	struct pipe *p = ctx;

	if (p->wanted->mount)
		mount_share_input(p->wanted->mount, p->share, data, len);
}

static void on_stream_writable(void *ctx)
{
	struct pipe *p = ctx;

	if (p->wanted->mount)
		mount_share_writable(p->wanted->mount, p->share);
}

static void on_stream_closed(void *ctx, enum mux_reason reason)
{
	struct pipe *p = ctx;

	p->stream = NULL;
	if (reason != MUX_REASON_LOST)
		log_warn("mount %s: the host ended share %u: %s", p->wanted->asked_target, p->share,
			 mux_reason_name(reason));
	if (p->wanted->mount)
		mount_share_lost(p->wanted->mount, p->share);
}

/* The server's end of file: it has ended, whether it meant to or not. */
static void on_stream_fin(void *ctx)
{
	struct pipe *p = ctx;

	mux_stream_reset(p->stream, MUX_REASON_CANCELLED);
	on_stream_closed(p, MUX_REASON_NONE);
}

static const struct mux_stream_events stream_events = {
	.data = on_stream_data,
	.writable = on_stream_writable,
	.fin = on_stream_fin,
	.closed = on_stream_closed,
};

static void pipe_open(struct pipe *p)
{
	const struct sftp_target target = {.mount_id = p->wanted->state.id, .share = p->number};
	struct wire_buf args = {0};

	p->asked = false;
	sftp_target_put(&args, &target);
	if (!args.failed)
		p->stream = mux_open(p->wanted->mux, MUX_KIND_SFTP, args.data, args.len, &stream_events, p);
	wire_buf_free(&args);
	if (p->stream && !mount_share_attach(p->wanted->mount, p->share, &pipe_ops, p))
		return;
	if (p->stream)
		mux_stream_reset(p->stream, MUX_REASON_RESOURCES);
	p->stream = NULL;
	mount_share_lost(p->wanted->mount, p->share);
}

static void on_open_share(void *ctx, unsigned share)
{
	struct wanted *w = ctx;
	struct pipe *p = &w->pipes[share];

	p->asked = true;
	if (w->mux && !p->stream)
		pipe_open(p);
}

static void on_close_share(void *ctx, unsigned share, const char *why)
{
	struct wanted *w = ctx;
	struct pipe *p = &w->pipes[share];

	log_error("mount %s: the server of share %u broke the protocol: %s", w->asked_target, share, why);
	if (p->stream)
		mux_stream_reset(p->stream, MUX_REASON_INTERNAL);
	p->stream = NULL;
}

/* ------------------------------------------------------------------------------------------------------------- states
 */

static void tell(struct wanted *w, enum control_mount_status status, int error, const char *text)
{
	w->state.status = status;
	w->state.error = (uint32_t)(error < 0 ? -error : error);
	snprintf(w->state.target, sizeof(w->state.target), "%s", w->target[0] ? w->target : w->asked_target);
	snprintf(w->state.text, sizeof(w->state.text), "%s", status == MOUNT_MOUNTED && !text[0] ? w->note : text);
	w->events->state(w->ctx, w, &w->state);
}

static void finish(struct wanted *w)
{
	if (w->ended)
		return;
	w->ended = true;
	w->events->ended(w->ctx, w);
}

static void on_state(void *ctx, enum control_mount_status status, int error, const char *text)
{
	struct wanted *w = ctx;

	tell(w, status, error, text);
	if (status == MOUNT_FAILED || status == MOUNT_UNMOUNTED)
		finish(w);
}

static const struct mount_events mount_events = {
	.state = on_state,
	.open_share = on_open_share,
	.close_share = on_close_share,
};

static void on_patience(void *ctx)
{
	struct wanted *w = ctx;

	log_warn("mount %s: still in use; it is detached, and gone when the last user is", w->asked_target);
	mount_free(w->mount);
	w->mount = NULL;
	tell(w, MOUNT_UNMOUNTED, 0, "");
	finish(w);
}

void wanted_unmount(struct wanted *w)
{
	if (!w->mount || w->ended) {
		tell(w, MOUNT_UNMOUNTED, 0, "");
		finish(w);
		return;
	}
	loop_timer_set(w->patience, WANTED_UNMOUNT_US);
	mount_unmount(w->mount);
}

/* -------------------------------------------------------------------------------------------------- claimed, orphaned
 */

/* The shares as mount.h wants them; what they point to stays the message's. */
static unsigned copy_shares(struct mount_share *shares, const struct control_mount *msg)
{
	for (uint32_t i = 0; i < msg->share_count; i++)
		shares[i] = (struct mount_share){.point = msg->shares[i].point,
						 .writable = msg->shares[i].writable,
						 .virtual_owners = msg->shares[i].virtual_owners,
						 .uids = msg->shares[i].uids,
						 .gids = msg->shares[i].gids};
	return msg->share_count;
}

/* The stream does not lead where the share is to be read from now. */
static void pipe_close(struct pipe *p)
{
	if (!p->stream)
		return;
	mux_stream_reset(p->stream, MUX_REASON_CANCELLED);
	on_stream_closed(p, MUX_REASON_LOST);
}

/* Which slot reads from where, of `count` that are wanted; the streams of all others end. */
static void pipes_set(struct wanted *w, const struct control_mount *msg, const unsigned *slots)
{
	bool is_wanted[CONTROL_MOUNTS_MAX] = {0};

	for (uint32_t i = 0; i < msg->share_count; i++) {
		struct pipe *p = &w->pipes[slots[i]];

		is_wanted[slots[i]] = true;
		if (p->number != msg->shares[i].number)
			pipe_close(p);
		p->number = msg->shares[i].number;
	}
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++) {
		if (is_wanted[i])
			continue;
		pipe_close(&w->pipes[i]);
		w->pipes[i].asked = false;
	}
}

int wanted_claim(struct wanted *w, struct mux *mux, const struct control_mount *msg)
{
	struct mount_share shares[CONTROL_MOUNTS_MAX];
	unsigned slots[CONTROL_MOUNTS_MAX];
	int rc;

	if (w->ended || !w->mount || msg->host_locks != w->host_locks || msg->acl != w->acl)
		return -EINVAL;
	rc = mount_set_shares(w->mount, shares, copy_shares(shares, msg), slots);
	if (rc < 0)
		return rc;
	pipes_set(w, msg, slots);
	w->mux = mux;
	wanted_set_linked(w, true);
	w->state.id = msg->id;
	if (!rc)
		tell(w, w->state.status, (int)w->state.error, w->state.text);
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++)
		if (w->pipes[i].asked && !w->pipes[i].stream)
			pipe_open(&w->pipes[i]);
	return 0;
}

void wanted_set_linked(struct wanted *w, bool linked)
{
	if (w->mount)
		mount_set_linked(w->mount, linked);
}

void wanted_orphan(struct wanted *w)
{
	w->mux = NULL;
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++)
		pipe_close(&w->pipes[i]);
}

/* --------------------------------------------------------------------------------------------------------- begin, end
 */

static int begin(struct wanted *w, const struct control_mount *msg, const struct control_config *config,
		 const char *keep_path, const struct wanted_keep *keep, struct op_meter *meter)
{
	struct mount_share shares[CONTROL_MOUNTS_MAX];
	struct mount_params params = {
		.target = w->target,
		.shares = shares,
		.share_count = copy_shares(shares, msg),
		.ids = {.host_uid = config->host_uid,
			.host_gid = config->host_gid,
			.guest_uid = geteuid(),
			.guest_gid = getegid()},
		.owner = geteuid(),
		.allow_other = true,
		.host_locks = msg->host_locks,
		.acl = msg->acl,
		.keep_path = keep_path,
		.keep_s = keep->seconds,
		.instead = keep->instead,
		.meter = meter,
	};

	w->mount = mount_new(w->loop, &params, &mount_events, w);
	return w->mount ? 0 : -ENOMEM;
}

/* A target that cannot be is a mount that failed, like any other. */
static bool resolve(struct wanted *w, const char *guarded)
{
	const char *home = getenv("HOME");
	int rc = mount_target_resolve(w->asked_target, home ? home : "/", w->target, sizeof(w->target), w->note,
				      sizeof(w->note));

	if (!rc && mount_target_within(guarded, w->target)) {
		rc = -EBUSY;
		snprintf(w->note, sizeof(w->note), "%.80s: it would hide %.80s, where homeport-guest has its socket",
			 w->target, guarded);
	}
	if (!rc)
		return true;
	w->target[0] = '\0';
	tell(w, MOUNT_FAILED, rc, w->note);
	finish(w);
	return false;
}

struct wanted *wanted_new(struct loop *loop, struct mux *mux, const struct control_mount *msg,
			  const struct control_config *config, const char *guarded, const struct wanted_keep *keep,
			  struct op_meter *meter, const struct wanted_events *events, void *ctx)
{
	char keep_path[KEEP_SOCKET_PATH_MAX];
	struct wanted *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct wanted){
		.loop = loop, .mux = mux, .events = events, .ctx = ctx, .host_locks = msg->host_locks, .acl = msg->acl};
	w->state.id = msg->id;
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++)
		w->pipes[i] = (struct pipe){.wanted = w, .share = i};
	for (uint32_t i = 0; i < msg->share_count; i++)
		w->pipes[i].number = msg->shares[i].number;
	w->asked_target = strdup(msg->target);
	w->patience = loop_timer_new(loop, on_patience, w);
	if (!w->asked_target || !w->patience) {
		wanted_free(w);
		return NULL;
	}
	if (!resolve(w, guarded))
		return w;
	keep_socket_path(guarded, keep->host, msg->target, keep_path);
	if (begin(w, msg, config, keep_path, keep, meter) < 0) {
		wanted_free(w);
		return NULL;
	}
	tell(w, MOUNT_MOUNTING, 0, "");
	return w;
}

void wanted_leave(struct wanted *w)
{
	mount_leave(w->mount);
	w->mount = NULL;
	wanted_free(w);
}

void wanted_free(struct wanted *w)
{
	if (!w)
		return;
	w->ended = true;
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++) {
		if (w->pipes[i].stream)
			mux_stream_reset(w->pipes[i].stream, MUX_REASON_CANCELLED);
		w->pipes[i].stream = NULL;
	}
	mount_free(w->mount);
	loop_timer_free(w->patience);
	free(w->asked_target);
	free(w);
}
