/* SPDX-License-Identifier: MIT */
/* One request of the kernel, from its arrival to its answer. See fuse_call.h. */
#include "fuse_call.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "lookahead.h"
#include "loop.h"
#include "second_walk.h"

/* How soon after an interrupt its caller is looked at, and how often then. */
#define INTERRUPT_FIRST_US 2000u
#define INTERRUPT_AGAIN_US 100000u
#define PF_SIGNALED        0x400u /* linux/sched.h: killed by a signal */

static void on_interrupt(fuse_req_t req, void *data)
{
	struct call *call = data;
	struct mount *m = call->mount;

	(void)req;
	if (call->interrupted)
		return;
	call->interrupted = true;
	m->interrupted++;
	/* Later: it may come while the call is being made. And a signal that kills is first seen as any other. */
	loop_timer_set(m->interrupts, INTERRUPT_FIRST_US);
}

struct call *call_new(fuse_req_t req, fuse_ino_t ino, call_fn *issue)
{
	struct mount *m = fuse_req_userdata(req);
	struct node *n = node_by_id(m->nodes, ino);
	struct call *call = n ? calloc(1, sizeof(*call)) : NULL;

	m->requests++;
	if (!call) {
		fuse_reply_err(req, n ? ENOMEM : ESTALE);
		return NULL;
	}
	call->mount = m;
	call->req = req;
	call->node = node_ref(n);
	call->share = n->share == NODE_NO_SHARE ? NULL : m->shares[n->share];
	call->issue = issue;
	call->unique = m->unique;
	TAILQ_INSERT_TAIL(&m->calls, call, link);
	fuse_req_interrupt_func(req, on_interrupt, call);
	return call;
}

void call_free(struct call *call)
{
	struct mount *m = call->mount;

	if (call->interrupted)
		m->interrupted--;
	TAILQ_REMOVE(&m->calls, call, link);
	if (call->opened)
		file_close(call->opened);
	node_unref(m->nodes, call->node);
	node_unref(m->nodes, call->other);
	node_unref(m->nodes, call->finding);
	free(call->name);
	free(call->other_name);
	free(call);
}

/* The second walk came to a folder that has gone since it began: what is below that is not there, as locally. Nor is
 * what has no name any more to be linked. */
static bool folder_is_gone(struct call *call)
{
	return (call->node->flags & NODE_IS_DIR || call->other) && !call->file && second_walk_take_end(call);
}

void call_reply_err(struct call *call, int err)
{
	if (err == ESTALE)
		second_walk_begin(call);
	if (call->req)
		fuse_reply_err(call->req, err);
	call_free(call);
}

bool call_reply_failed(struct call *call, const struct sftp_reply *reply)
{
	if (!reply->error)
		return false;
	call_reply_err(call, reply->error == ESTALE && folder_is_gone(call) ? ENOENT : reply->error);
	return true;
}

bool call_set_other(struct call *call, fuse_ino_t ino)
{
	struct node *n = node_by_id(call->mount->nodes, ino);

	if (!n || n->share != call->node->share) {
		call_reply_err(call, n ? EXDEV : ESTALE);
		return false;
	}
	call->other = node_ref(n);
	return true;
}

static bool set_name(struct call *call, char **to, const char *name)
{
	size_t len = strlen(name);

	if (!sftp_name_valid((const uint8_t *)name, len)) {
		call_reply_err(call, len > SFTP_NAME_MAX ? ENAMETOOLONG : EINVAL);
		return false;
	}
	*to = strdup(name);
	if (!*to) {
		call_reply_err(call, ENOMEM);
		return false;
	}
	return true;
}

bool call_set_name(struct call *call, const char *name)
{
	return set_name(call, &call->name, name);
}

bool call_set_other_name(struct call *call, const char *name)
{
	return set_name(call, &call->other_name, name);
}

void call_set_mode(struct call *call, mode_t mode)
{
	call->make.mode = idmap_mode_to_host(mode);
	call->make.umask = fuse_req_ctx(call->req)->umask & 0777u;
}

void call_put_mode(const struct call *call, struct wire_buf *b)
{
	wire_put_u16(b, (uint16_t)call->make.umask);
	wire_put_u16(b, (uint16_t)call->make.mode);
}

/* ------------------------------------------------------------------------------------------------------- starting */

/* The highest of n and its ancestors that has no number in the present attachment; NULL when n has one. */
static struct node *node_to_find(struct node *n)
{
	if (!n || n->server)
		return NULL;
	while (n->parent && n->parent->share == n->share && !n->parent->server)
		n = n->parent;
	return n;
}

static bool node_is_stale(const struct node *n)
{
	for (; n; n = n->parent)
		if (n->flags & NODE_STALE)
			return true;
	return false;
}

static void find_done(struct call *call, const struct sftp_reply *reply)
{
	struct node *n = call->finding;
	struct sftp_attr attr;
	uint64_t server;

	call->finding = NULL;
	if (!reply_found(reply, &server, &attr) && reply->error == 0) {
		node_unref(call->mount->nodes, n);
		call_reply_malformed(call);
		return;
	}
	if (reply->error && reply->error != ENOENT && reply->error != ENOTDIR && reply->error != ESTALE) {
		/* It may be there all the same. */
		node_unref(call->mount->nodes, n);
		call_reply_err(call, reply->error);
		return;
	}
	if (reply->error == 0 && node_is(n, &attr) && !node_by_server(call->mount->nodes, n->share, server)) {
		node_bind(call->mount->nodes, n, server);
		n->given = 1;
	} else {
		if (reply->error == 0)
			share_forget(call->share, server, 1);
		if (!n->server) /* another call may have found it meanwhile */
			n->flags |= NODE_STALE;
	}
	node_unref(call->mount->nodes, n);
	if (call->req)
		call_start(call);
	else
		call_free(call);
}

static void call_find(struct call *call, struct node *n)
{
	struct wire_buf *b = call_begin(call, NATIVE_LOOKUP);

	call->finding = node_ref(n);
	wire_put_u64(b, n->parent->server);
	wire_put_cstring(b, n->name);
	call_send(call, find_done);
}

void call_start(struct call *call)
{
	struct node *n;

	call->state = CALL_NEW;
	if (!call->share) {
		call_reply_err(call, EROFS); /* a directory of ours: nothing can be made in it */
		return;
	}
	if (call->share->dropped ||
	    (call->file && !call->file->again && call->file->generation != call->share->generation)) {
		call_reply_err(call, ESTALE);
		return;
	}
	if (!share_attached(call->share)) {
		call->state = CALL_PARKED;
		share_park(call->share, call);
		return;
	}
	if (node_is_stale(call->node) || node_is_stale(call->other)) {
		call_reply_err(call, ESTALE);
		return;
	}
	n = node_to_find(call->node);
	if (!n)
		n = node_to_find(call->other);
	if (!n && call->file && call->file->again) {
		file_reopen(call, call->file);
	} else if (!n) {
		call->issue(call);
	} else if (!n->parent || !n->name) {
		n->flags |= NODE_STALE;
		call_reply_err(call, ESTALE);
	} else {
		call_find(call, n);
	}
}

static void call_park_again(struct call *call)
{
	node_unref(call->mount->nodes, call->finding);
	call->finding = NULL;
	if (!call->req) {
		call_free(call);
		return;
	}
	call->state = CALL_PARKED;
	share_park(call->share, call);
}

static void on_reply(void *ctx, const struct sftp_reply *reply)
{
	struct call *call = ctx;

	call->request = 0;
	call->state = CALL_NEW;
	if (reply->lost && reply->error == ENOTCONN)
		call_park_again(call);
	else
		call->done(call, reply);
}

struct wire_buf *call_begin(struct call *call, uint8_t type)
{
	return sftp_client_begin(call->share->client, type);
}

typedef void to_host_fn(const struct idmap *ids, uint32_t uid, uint32_t gid, struct sftp_caller *caller);

static struct wire_buf *begin_for_caller(struct call *call, uint8_t type, to_host_fn *to_host)
{
	const struct fuse_ctx *who = call->req ? fuse_req_ctx(call->req) : NULL;
	struct sftp_caller caller = {.request = call->mount->next_request++};
	struct wire_buf *b = call_begin(call, type);

	if (call->req)
		recall_asked(call->mount->recall, call->unique & ~MOUNT_UNIQUE_RESENT);
	to_host(&call->share->ids, who ? who->uid : call->mount->ids.guest_uid,
		who ? who->gid : call->mount->ids.guest_gid, &caller);
	sftp_caller_put(b, &caller);
	return b;
}

struct wire_buf *call_begin_modifying(struct call *call, uint8_t type)
{
	return begin_for_caller(call, type, idmap_caller_to_host);
}

struct wire_buf *call_begin_making(struct call *call, uint8_t type)
{
	return begin_for_caller(call, type, idmap_owner_to_host);
}

bool call_try_send(struct call *call, call_done_fn *done)
{
	call->done = done;
	call->request = sftp_client_end(call->share->client, on_reply, call);
	call->state = call->request ? CALL_SENT : CALL_NEW;
	return call->request;
}

void call_send(struct call *call, call_done_fn *done)
{
	if (!call_try_send(call, done))
		call_reply_err(call, ENOMEM);
}

static void on_writes_answered(void *ctx)
{
	struct call *call = ctx;

	/* From the top: the share may have been lost meanwhile. */
	call->state = CALL_NEW;
	if (call->local)
		call->issue(call);
	else
		call_start(call);
}

bool call_wait_writes(struct call *call, struct node *n, call_fn *issue)
{
	if (!node_writes(n) || !write_behind_wait(node_writes(n), &call->waiter, on_writes_answered, call))
		return false;
	call->issue = issue;
	call->state = CALL_BARRIER;
	return true;
}

bool call_after_writes(struct call *call, call_fn *issue, uint64_t *fh)
{
	struct node *n = call->node;
	const struct file *f = node_writes(n) ? write_behind_push(node_writes(n)) : NULL;

	if (f) {
		*fh = f->fh;
		return true;
	}
	*fh = call->file ? call->file->fh : 0;
	return !call_wait_writes(call, n, issue);
}

bool call_wait_room(struct call *call, struct node *n, size_t room, call_fn *issue)
{
	if (!node_writes(n) || !write_behind_wait_room(node_writes(n), room, &call->waiter, on_writes_answered, call))
		return false;
	call->issue = issue;
	call->state = CALL_BARRIER;
	return true;
}

/* ------------------------------------------------------------------------------------------------------ answering */

void attr_to_stat(const struct mount *m, const struct node *n, const struct sftp_attr *attr, struct stat *st)
{
	idmap_attr_to_guest(mount_ids(m, n->share), n->share, attr, st);
}

bool attr_is_old(const struct node *n, uint64_t stamp)
{
	return (node_writes(n) && node_writes(n)->bytes) || (n->changed && stamp <= n->changed);
}

bool attr_is_outdated(const struct node *n, const struct listing *l, const struct sftp_attr *attr)
{
	struct version listed = version_of(attr);

	if (attr_is_old(n, l->stamp))
		return true;
	return node_told_after(n, l->fetched_us) && !version_same(&listed, &n->told);
}

bool reply_found(const struct sftp_reply *reply, uint64_t *server, struct sftp_attr *attr)
{
	struct wire_reader r = reply->body;

	*server = wire_get_u64(&r);
	sftp_attr_get(&r, attr);
	return wire_read_done(&r) && *server;
}

void call_reply_malformed(struct call *call)
{
	static struct log_limit limit;

	if (log_limit_pass(&limit, loop_now_us(call->mount->loop), 1))
		log_warn("mount %s: the host's reply is malformed", call->mount->target);
	call_reply_err(call, EIO);
}

void node_note_change(struct mount *m, struct node *n, const struct sftp_change *change, uint64_t stamp, bool settled)
{
	bool later = stamp > n->changed;

	node_changed(n, change, stamp);
	if (later && settled)
		attr_memory_put(&m->attrs, n->id, &change->after, loop_now_us(m->loop));
	else
		attr_memory_drop(&m->attrs, n->id);
}

void call_changed(struct call *call, struct node *n, const struct sftp_change *change, uint64_t stamp)
{
	node_note_change(call->mount, n, change, stamp, !(node_writes(n) && node_writes(n)->bytes));
}

bool call_take_change(struct call *call, const struct sftp_reply *reply, struct sftp_change *change)
{
	struct wire_reader r = reply->body;

	if (call_reply_failed(call, reply))
		return false;
	sftp_change_get(&r, change);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return false;
	}
	call_changed(call, call->node, change, reply->stamp);
	return true;
}

void node_forget_attr(struct mount *m, struct node *n)
{
	/* A node the kernel does not know has nothing to forget; but it may be about to take an answer. */
	if (n->lookups)
		node_untold(n, fuse_lowlevel_notify_inval_inode(m->session, n->id, -1, 0) == 0);
}

void call_answer_attr(struct call *call, const struct node *n, const struct sftp_attr *attr, double keep_s)
{
	struct stat st;

	attr_to_stat(call->mount, n, attr, &st);
	if (call->statx)
		raw_reply_statx(call->req, &st, attr, keep_s);
	else
		fuse_reply_attr(call->req, &st, keep_s);
}

void call_reply_attr_aged(struct call *call, struct node *n, const struct sftp_attr *attr, uint64_t age_us)
{
	node_tell(n, attr, loop_now_us(call->mount->loop) - age_us);
	if (n->flags & NODE_ROOT)
		call->mount->shares[n->share]->root_attr = *attr;
	if (call->req)
		call_answer_attr(call, n, attr, MOUNT_KEEP_S - (double)age_us / 1e6);
	call_free(call);
}

void call_reply_attr(struct call *call, struct node *n, const struct sftp_attr *attr)
{
	call_reply_attr_aged(call, n, attr, 0);
}

void call_reply_buf(struct call *call, const void *data, size_t len)
{
	if (call->req)
		fuse_reply_buf(call->req, data, len);
	call_free(call);
}

void call_reply_entry_aged(struct call *call, struct node *n, const struct sftp_attr *attr, uint64_t age_us)
{
	struct mount *m = call->mount;
	double keep = MOUNT_KEEP_S - (double)age_us / 1e6;
	struct fuse_entry_param e = {.ino = n->id, .attr_timeout = keep, .entry_timeout = keep};

	if (call->outdated)
		e.entry_timeout = 0;
	if (call->req) {
		attr_to_stat(m, n, attr, &e.attr);
		node_tell(n, attr, loop_now_us(m->loop) - age_us);
		/* Counted before the kernel can forget it; when nobody took the answer, it never will. */
		node_told(n);
		if (fuse_reply_entry(call->req, &e) != 0)
			n->lookups--;
	}
	node_unref(m->nodes, n);
	call_free(call);
}

void call_reply_entry(struct call *call, struct node *n, const struct sftp_attr *attr)
{
	call_reply_entry_aged(call, n, attr, 0);
}

static void again_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	if (call_reply_failed(call, reply))
		return;
	sftp_attr_get(&r, &attr);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	call_reply_entry(call, node_ref(call->other), &attr);
}

/* The attributes that came with the name were older than a write of ours. */
static void again_issue(struct call *call)
{
	struct wire_buf *b;

	if (call_wait_writes(call, call->other, again_issue))
		return;
	b = call_begin(call, NATIVE_GETATTR);
	wire_put_u64(b, call->other->server);
	wire_put_u64(b, 0);
	call_send(call, again_done);
}

/* Nobody but us knows of the directory: it has no names but those we make in it. */
static void remember_empty(struct call *call, struct node *dir, uint64_t stamp)
{
	struct mount *m = call->mount;
	struct listing_told told = {.generation = call->share->generation,
				    .stamp = stamp,
				    .now_us = loop_now_us(m->loop),
				    .begins = true,
				    .end = true};
	struct listing *l = listing_new_empty(&told);

	if (l)
		lookahead_remember(m, dir, l);
	listing_unref(m->nodes, l);
}

void call_reply_found(struct call *call, struct node *parent, const char *name, uint64_t server,
		      const struct sftp_attr *attr, uint64_t stamp)
{
	struct mount *m = call->mount;
	struct node *n = node_found(m->nodes, parent, name, strlen(name), server, attr);

	if (!n) {
		share_forget(call->share, server, 1);
		call_reply_err(call, ENOMEM);
		return;
	}
	if (!node_graft(n) && n->flags & NODE_IS_DIR &&
	    !node_set_graft(n, graft_child(node_graft(parent), name, strlen(name)))) {
		node_unref(m->nodes, n);
		call_reply_err(call, ENOMEM);
		return;
	}
	call->outdated = stamp < call->share->entries_stamp;
	if (call->fresh && !(attr->flags & SFTP_ATTR_FOLDS))
		remember_empty(call, n, stamp);
	if (!attr_is_old(n, stamp) || !call->req) {
		call_reply_entry(call, n, attr);
		return;
	}
	node_unref(m->nodes, call->other);
	call->other = n;
	call->issue = again_issue;
	again_issue(call);
}

/* --------------------------------------------------------------------------------------------------- interruption */

/* Takes the call out of where it waits. True: it is nowhere any more, and can be freed. */
static bool call_withdraw(struct call *call)
{
	switch (call->state) {
	case CALL_PARKED:
		share_unpark(call->share, call);
		return true;
	case CALL_BARRIER:
		write_behind_leave(&call->waiter);
		return true;
	case CALL_QUEUED:
		TAILQ_REMOVE(call->waits_in, call, waiting);
		return true;
	case CALL_SENT:
		if (call->sticks)
			return false;
		return sftp_client_cancel(call->share->client, call->request);
	case CALL_NEW:
		break;
	}
	return true;
}

void call_answered(struct call *call)
{
	call->req = NULL;
	if (call_withdraw(call))
		call_free(call);
}

static void call_answer_now(struct call *call, int err)
{
	if (call->mount->leaving)
		fuse_reply_none(call->req); /* the next agent answers it */
	else
		fuse_reply_err(call->req, err);
	call_answered(call);
}

/* The text of a file of /proc about a thread; false when it is gone, or in a place we cannot see. */
static bool read_proc(pid_t tid, const char *what, char *text, size_t size)
{
	char path[40];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, text, size - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* The thread is about to end by a signal: SIGKILL is pending for it, whatever the signal was; or it is ending already.
 */
static bool caller_was_killed(pid_t tid)
{
	char text[2048];
	const char *at;
	unsigned flags = 0;

	if (!read_proc(tid, "stat", text, sizeof(text)))
		return true;
	at = strrchr(text, ')');
	if (at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & PF_SIGNALED)
		return true;
	if (!read_proc(tid, "status", text, sizeof(text)))
		return true;
	at = strstr(text, "SigPnd:");
	return at && strtoull(at + 7, NULL, 16) & 1u << (SIGKILL - 1);
}

void call_watch_caller(struct call *call)
{
	struct mount *m = call->mount;

	if (call->interrupted)
		return;
	call->interrupted = true;
	m->interrupted++;
	if (!loop_timer_is_set(m->interrupts))
		loop_timer_set(m->interrupts, INTERRUPT_AGAIN_US);
}

static void on_interrupts_timer(void *ctx)
{
	struct mount *m = ctx;
	struct call *call, *next;

	for (call = TAILQ_FIRST(&m->calls); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->interrupted && call->req && (call->yields || caller_was_killed(fuse_req_ctx(call->req)->pid)))
			call_answer_now(call, EINTR);
	}
	mount_flush(m);
	if (m->interrupted)
		loop_timer_set(m->interrupts, INTERRUPT_AGAIN_US);
}

struct loop_timer *calls_interrupts_new(struct mount *m)
{
	return loop_timer_new(m->loop, on_interrupts_timer, m);
}

void calls_end(struct mount *m)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&m->calls); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->req)
			call_answer_now(call, EIO);
	}
}
