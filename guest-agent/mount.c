/* SPDX-License-Identifier: MIT */
/*
 * One mount point: puts together shares, nodes, the session and the mounter. See mount.h.
 *
 * States: MOUNTING -> the first share is attached -> the mounter has a descriptor -> MOUNTED -> mount_unmount() or the
 * kernel says so -> UNMOUNTED. FAILED from MOUNTING alone. A mount never unmounts because a share's server is gone.
 */
#include "mount.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_call.h"
#include "fuse_session.h"
#include "invalidator.h"
#include "keep_socket.h"
#include "log.h"
#include "loop.h"
#include "mount_recall.h"
#include "mounter.h"
#include "open_order.h"

static void mount_set_status(struct mount *m, enum control_mount_status status, int error, const char *text)
{
	m->status = status;
	m->events->state(m->ctx, status, error, text);
}

/* --------------------------------------------------------------------------------------------- what is ours alone */

/* What a directory of ours shows: nobody writes in it. */
static void ours_attr(const struct mount *m, uint64_t ino, struct sftp_attr *attr)
{
	*attr = (struct sftp_attr){.ino = ino,
				   .mode = S_IFDIR | 0555,
				   .nlink = 2,
				   .blocks = 0,
				   .uid = m->ids.host_uid,
				   .gid = m->ids.host_gid};
}

const struct idmap *mount_ids(const struct mount *m, uint16_t share)
{
	return share == NODE_NO_SHARE ? &m->ids : &m->shares[share]->ids;
}

void mount_synthetic_attr(const struct mount *m, const struct node *n, struct sftp_attr *attr)
{
	ours_attr(m, n->id, attr);
}

void mount_root_attr(const struct mount *m, const struct share *s, struct sftp_attr *attr)
{
	if (s->root_known)
		*attr = s->root_attr;
	else
		ours_attr(m, s->root->id, attr);
}

struct node *mount_synthetic(struct mount *m, struct node *parent, const char *name)
{
	struct node *n = node_by_name(m->nodes, parent, name, strlen(name));

	if (n && n->flags & NODE_SYNTHETIC)
		return n;
	n = node_add_synthetic(m->nodes, parent, name);
	if (n && !node_set_graft(n, graft_child(node_graft(parent), name, strlen(name))))
		return NULL;
	return n;
}

/* ------------------------------------------------------------------------------------------------------- mounting */

static bool is_read_only(const struct mount *m)
{
	for (unsigned i = 0; i < m->share_count; i++)
		if (m->shares[i]->writable && !m->shares[i]->dropped)
			return false;
	return true;
}

int mount_settle(struct mount *m)
{
	return m->mounter ? mounter_set_read_only(m->mounter, is_read_only(m)) : 0;
}

/* The kernel refuses what the host would take: the other way round nothing is wrong but some errors. */
static void on_remounted(void *ctx, const char *text)
{
	struct mount *m = ctx;
	bool wrong = mounter_is_read_only(m->mounter) && !is_read_only(m);

	mount_set_status(m, MOUNT_MOUNTED, 0, wrong ? text : m->note);
}

/* When the shares are others than when it was asked for, or an earlier agent's were, once it is like them. */
static void tell_mounted(struct mount *m, bool allow_other)
{
	if (m->allow_other && !allow_other)
		snprintf(m->note, sizeof(m->note),
			 "only the login user sees it: /etc/fuse.conf lacks user_allow_other");
	if (mount_settle(m) <= 0)
		mount_set_status(m, MOUNT_MOUNTED, 0, m->note);
}

static void on_mounted(void *ctx, int fd, bool allow_other)
{
	struct mount *m = ctx;
	int rc = session_start(m, fd);

	if (rc < 0) {
		mount_set_status(m, MOUNT_FAILED, -rc, strerror(-rc));
		return;
	}
	if (m->keep_path && mount_recall_begin(m) == 0)
		mounter_keep(m->mounter, recall_fd(m->recall));
	tell_mounted(m, allow_other);
}

/* What an earlier agent has left. It is as if it had never gone, or not to be had. */
static int on_taken(void *ctx, int fd, int memory, bool allow_other)
{
	struct mount *m = ctx;
	int rc = mount_recall_take(m, memory);

	if (rc < 0)
		close(fd);
	else
		rc = session_adopt(m, fd);
	if (rc == 0)
		rc = mount_recall_names(m);
	if (rc == 0)
		rc = session_ask_again(m);
	if (rc < 0) {
		log_warn("mount %s: what an earlier agent left cannot be gone on with: %s", m->target,
			 mount_recall_strerror(-rc));
		session_end(m);
		mount_recall_end(m);
		return rc;
	}
	tell_mounted(m, allow_other);
	return 0;
}

static void on_mount_failed(void *ctx, int error, const char *text)
{
	mount_set_status(ctx, MOUNT_FAILED, error, text);
}

/* Busy: something is still open there. It goes from its place at once, and with the last use altogether. */
static void on_unmounted(void *ctx, int error, const char *text)
{
	struct mount *m = ctx;

	if (error == EBUSY && !m->lazy) {
		m->lazy = true;
		mounter_unmount(m->mounter, true);
		return;
	}
	if (error)
		log_warn("mount %s: %s", m->target, text);
	mount_session_ended(m);
}

static void on_mounter_ended(void *ctx)
{
	mount_set_status(ctx, MOUNT_UNMOUNTED, 0, "");
}

static const struct mounter_events mounter_events = {
	.mounted = on_mounted,
	.taken = on_taken,
	.failed = on_mount_failed,
	.remounted = on_remounted,
	.unmounted = on_unmounted,
	.ended = on_mounter_ended,
};

void mount_share_ready(struct mount *m, struct share *s)
{
	struct mounter_params params = {.target = m->target,
					.owner = m->owner,
					.allow_other = m->allow_other,
					.read_only = is_read_only(m),
					.instead = m->instead,
					.keep_path = m->keep_path,
					.keep_s = m->keep_s};

	if (m->mounter || s->index != 0)
		return;
	m->mounter = mounter_new(m->loop, &params, &mounter_events, m);
	if (!m->mounter)
		log_error("mount %s: out of memory", m->target);
}

/* Before it was asked for: there is no way to the first share yet. */
static void give_up_left(const struct mount *m)
{
	if (m->keep_path && !m->mounter)
		keep_socket_unmount(m->keep_path);
}

void mount_session_ended(struct mount *m)
{
	if (m->ending)
		return;
	m->ending = true;
	/* No more of its requests; what is left of the mount goes with mount_free(). */
	loop_fd_free(m->session_watch);
	m->session_watch = NULL;
	if (m->mounter) {
		mounter_end(m->mounter);
		return;
	}
	give_up_left(m);
	on_mounter_ended(m);
}

void mount_unmount(struct mount *m)
{
	if (m->status == MOUNT_MOUNTED)
		mounter_unmount(m->mounter, false);
	else
		mount_session_ended(m);
}

/* --------------------------------------------------------------------------------------------------------- making */

static void on_node_forgotten(void *ctx, uint16_t share, uint64_t server, uint64_t given)
{
	struct mount *m = ctx;

	share_forget(m->shares[share], server, given);
}

struct mount *mount_new(struct loop *loop, const struct mount_params *p, const struct mount_events *events, void *ctx)
{
	struct mount *m = calloc(1, sizeof(*m));

	assert(p->share_count > 0 && p->share_count <= CONTROL_MOUNTS_MAX);
	if (!m)
		return NULL;
	m->loop = loop;
	m->events = events;
	m->ctx = ctx;
	m->ids = p->ids;
	m->owner = p->owner;
	m->allow_other = p->allow_other;
	m->instead = p->instead;
	m->host_locks = p->host_locks;
	m->acl = p->acl;
	m->meter = p->meter;
	m->status = MOUNT_MOUNTING;
	m->linked = true;
	m->next_request = 1;
	TAILQ_INIT(&m->calls);
	TAILQ_INIT(&m->fetched);
	m->target = strdup(p->target);
	m->keep_path = p->keep_path ? strdup(p->keep_path) : NULL;
	m->keep_s = p->keep_s;
	m->nodes = node_table_new(on_node_forgotten, m);
	m->interrupts = calls_interrupts_new(m);
	if (!m->target || (p->keep_path && !m->keep_path) || !m->nodes || !m->interrupts || lookahead_init(m) < 0 ||
	    locks_init(m) < 0 || open_order_init(m) < 0 || mount_shares_init(m, p->shares, p->share_count) < 0) {
		mount_free(m);
		return NULL;
	}
	return m;
}

static void writes_free(void *ctx, struct node *n)
{
	(void)ctx;
	write_behind_free(node_writes(n));
	if (n->more)
		n->more->writes = NULL;
}

void mount_free(struct mount *m)
{
	struct file *f;
	struct dir *d;

	if (!m)
		return;
	calls_end(m);
	/* Ends the requests that are still under way, before what their answers belong to goes. */
	for (unsigned i = 0; i < m->share_count; i++)
		share_end(m->shares[i]);
	session_end(m);
	if (m->leaving)
		mounter_leave(m->mounter);
	else
		mounter_free(m->mounter);
	if (!m->leaving && !m->ending)
		give_up_left(m);
	mount_recall_end(m);
	while ((f = LIST_FIRST(&m->files)))
		file_free(m, f);
	while ((d = LIST_FIRST(&m->dirs)))
		dir_free(m, d);
	if (m->nodes) {
		lookahead_end(m);
		node_table_each(m->nodes, writes_free, NULL);
	}
	for (unsigned i = 0; i < m->share_count; i++)
		share_free(m->shares[i]);
	node_table_free(m->nodes);
	graft_free(m->grafts);
	locks_end(m);
	open_order_free(m);
	loop_timer_free(m->interrupts);
	free(m->keep_path);
	free(m->target);
	free(m);
}

void mount_leave(struct mount *m)
{
	if (!m)
		return;
	m->leaving = true;
	mount_free(m);
}

/* --------------------------------------------------------------------------------------------------------- shares */

void mount_flush(struct mount *m)
{
	for (unsigned i = 0; i < m->share_count; i++)
		share_flush(m->shares[i]);
}

int mount_share_attach(struct mount *m, unsigned share, const struct sftp_pipe_ops *pipe_ops, void *pipe)
{
	return share_attach(m->shares[share], pipe_ops, pipe);
}

void mount_share_lost(struct mount *m, unsigned share)
{
	share_lost(m->shares[share]);
	mount_flush(m);
}

void mount_share_input(struct mount *m, unsigned share, const uint8_t *data, size_t len)
{
	share_input(m->shares[share], data, len);
	mount_flush(m);
}

void mount_share_writable(struct mount *m, unsigned share)
{
	share_writable(m->shares[share]);
}

struct doubt {
	uint16_t share;
	uint64_t stamp;
};

/* A version seen before may not be the one that is there: the next OPEN drops the pages. */
static void node_doubt(void *ctx, struct node *n)
{
	const struct doubt *doubt = ctx;

	if (n->share != doubt->share)
		return;
	n->flags |= NODE_RACY;
	node_outdated(n, doubt->stamp);
}

static void node_attr_invalidate(struct mount *m, struct node *n, uint64_t stamp)
{
	attr_memory_drop(&m->attrs, n->id);
	node_outdated(n, stamp);
	node_forget_attr(m, n);
}

void mount_invalidate(struct mount *m, struct share *s, const struct sftp_invalidation *what)
{
	struct node *n = node_by_server(m->nodes, s->index, what->node);
	struct doubt doubt = {s->index, what->stamp};

	switch (what->kind) {
	case NATIVE_INVALIDATE_ENTRY:
		s->entries_stamp = what->stamp;
		if (n)
			listing_memory_drop(&m->listings, n);
		if (n)
			invalidate_entry(m->invalidator, n->id, (const char *)what->name, what->name_len);
		break;
	case NATIVE_INVALIDATE_ATTR:
		if (n)
			node_attr_invalidate(m, n, what->stamp);
		break;
	case NATIVE_INVALIDATE_RANGE:
		if (n)
			attr_memory_drop(&m->attrs, n->id);
		if (n)
			invalidate_range(m->invalidator, n->id, what->offset, what->length);
		break;
	case NATIVE_INVALIDATE_SUBTREE: /* everything, until the kernel can be told of a tree */
	case NATIVE_INVALIDATE_ALL:
		listing_memory_clear(&m->listings);
		s->entries_stamp = what->stamp;
		attr_memory_clear(&m->attrs);
		node_table_each(m->nodes, node_doubt, &doubt);
		invalidate_all(m->invalidator);
		break;
	}
}

struct mount_stats mount_stats(const struct mount *m)
{
	struct mount_stats out = {
		.requests = m->requests, .nodes = node_table_count(m->nodes), .write_bytes = m->write_bytes};
	const struct call *call;

	for (unsigned i = 0; i < m->share_count; i++) {
		const struct sftp_client_stats *s = sftp_client_stats(m->shares[i]->client);

		out.sftp_requests += s->requests;
		out.bytes_in += s->bytes_in;
		out.bytes_out += s->bytes_out;
	}
	TAILQ_FOREACH(call, &m->calls, link)
	out.calls++;
	return out;
}

const char *mount_target(const struct mount *m)
{
	return m->target;
}
