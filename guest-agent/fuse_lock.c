/* SPDX-License-Identifier: MIT */
/* Locks on the host. See fuse_lock.h. */
#include "fuse_lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "fuse_file.h"
#include "fuse_ops.h"
#include "invalidator.h"
#include "lock_type.h"
#include "loop.h"

#define RETRY_FIRST_US 4000u
#define RETRY_MOST_US  128000u

struct owner_key {
	uint64_t node, owner, kind;
};
static_assert(sizeof(struct owner_key) == 24, "no holes: it is compared by its bytes");

/* What the host knows an open file by, which may outlive the file. */
struct lock_handle {
	struct share *share;
	uint64_t fh;
	uint32_t generation;
};

struct lock_owner {
	struct owner_key key;
	struct lock_handle handle; /* through which it asked last */
	bool owed;                 /* it has given up what it held, and there was no memory to say so */
	LIST_ENTRY(lock_owner) of_file;
	UT_hash_handle hh;
};

static bool pay(struct mount *m, struct lock_owner *o);
static void pay_all(struct mount *m);

/* -------------------------------------------------------------------------------------------------------- owners */

static struct lock_owner *owner_find(const struct mount *m, const struct node *n, uint64_t owner, uint8_t kind)
{
	struct owner_key key = {.node = n->id, .owner = owner, .kind = kind};
	struct lock_owner *o;

	HASH_FIND(hh, m->locks.by_key, &key, sizeof(key), o);
	return o;
}

static void owner_free(struct mount *m, struct lock_owner *o)
{
	assert(m->locks.by_key);
	HASH_DEL(m->locks.by_key, o);
	LIST_REMOVE(o, of_file);
	free(o);
}

bool locks_note(struct mount *m, struct file *f, uint64_t owner, uint8_t kind)
{
	struct lock_owner *o = owner_find(m, f->node, owner, kind);

	/* What it held before would be taken for what it holds from here on. */
	if (o && o->owed && !pay(m, o))
		return false;
	o = owner_find(m, f->node, owner, kind);
	if (o) {
		LIST_REMOVE(o, of_file);
	} else {
		o = calloc(1, sizeof(*o));
		if (!o)
			return false;
		o->key = (struct owner_key){.node = f->node->id, .owner = owner, .kind = kind};
		HASH_ADD(hh, m->locks.by_key, key, sizeof(o->key), o);
		if (!o->hh.tbl) {
			free(o);
			return false;
		}
	}
	o->handle = (struct lock_handle){f->share, f->fh, f->generation};
	LIST_INSERT_HEAD(&f->locks, o, of_file);
	return true;
}

bool locks_held(const struct mount *m, const struct file *f, uint64_t owner)
{
	return owner_find(m, f->node, owner, NATIVE_LOCK_FCNTL) != NULL;
}

void locks_forget(struct mount *m, struct file *f)
{
	struct lock_owner *o;

	while ((o = LIST_FIRST(&f->locks)))
		owner_free(m, o);
}

/* ------------------------------------------------------------------------------------------------------- waiting */

static void retry_by(struct mount *m, uint64_t due_us)
{
	uint64_t now = loop_now_us(m->loop);

	if (due_us >= m->locks.retry_us)
		return;
	m->locks.retry_us = due_us;
	loop_timer_set(m->locks.retry, due_us > now ? due_us - now : 0);
}

static void on_retry(void *ctx)
{
	struct mount *m = ctx;
	uint64_t now = loop_now_us(m->loop);
	struct call_list due = TAILQ_HEAD_INITIALIZER(due);
	struct call *call, *after;

	m->locks.retry_us = UINT64_MAX;
	pay_all(m);
	for (call = TAILQ_FIRST(&m->locks.waits); call; call = after) {
		after = TAILQ_NEXT(call, waiting);
		if (call->lock.due_us > now) {
			retry_by(m, call->lock.due_us);
			continue;
		}
		TAILQ_REMOVE(&m->locks.waits, call, waiting);
		TAILQ_INSERT_TAIL(&due, call, waiting);
		call->waits_in = &due;
	}
	while ((call = TAILQ_FIRST(&due))) {
		TAILQ_REMOVE(&due, call, waiting);
		call_start(call);
	}
	mount_flush(m);
}

static void lock_wait(struct call *call)
{
	struct mount *m = call->mount;

	call->lock.wait_us = call->lock.wait_us ? 2 * call->lock.wait_us : RETRY_FIRST_US;
	if (call->lock.wait_us > RETRY_MOST_US)
		call->lock.wait_us = RETRY_MOST_US;
	call->lock.due_us = loop_now_us(m->loop) + call->lock.wait_us;
	TAILQ_INSERT_TAIL(&m->locks.waits, call, waiting);
	call->waits_in = &m->locks.waits;
	call->state = CALL_QUEUED;
	retry_by(m, call->lock.due_us);
}

/* The server keeps the order of a handle alone: true, the call waits for what is being given up through others. */
static bool lock_wait_given_up(struct call *call)
{
	struct mount *m = call->mount;

	if (!m->locks.giving_up)
		return false;
	call->lock.due_us = UINT64_MAX;
	TAILQ_INSERT_TAIL(&m->locks.waits, call, waiting);
	call->waits_in = &m->locks.waits;
	call->state = CALL_QUEUED;
	return true;
}

/* Something was given up: whoever waits tries again. */
static void locks_wake(struct mount *m)
{
	struct call *call;

	TAILQ_FOREACH(call, &m->locks.waits, waiting)
	{
		call->lock.due_us = 0;
		call->lock.wait_us = 0;
	}
	if (!TAILQ_EMPTY(&m->locks.waits))
		retry_by(m, 0);
}

/* ------------------------------------------------------------------------------------------------------ giving up */

static bool handle_is_served(const struct lock_handle *h)
{
	return share_attached(h->share) && h->generation == h->share->generation;
}

static void put_lock(struct wire_buf *b, uint64_t fh, uint8_t what, const struct sftp_lock *lock)
{
	wire_put_u64(b, fh);
	wire_put_u8(b, what);
	sftp_lock_put(b, lock);
}

static void given_up(void *ctx, const struct sftp_reply *reply)
{
	struct mount *m = ctx;

	(void)reply;
	m->locks.giving_up--;
	locks_wake(m);
}

/* Nobody waits for it to be done: the server keeps the order of the handle. False: out of memory. */
static bool give_up(struct mount *m, const struct lock_handle *h, const struct sftp_lock *lock)
{
	struct wire_buf *b;

	if (!handle_is_served(h))
		return true;
	b = sftp_client_begin(h->share->client, NATIVE_LOCK);
	put_lock(b, h->fh, NATIVE_LOCK_SET, lock);
	if (sftp_client_end(h->share->client, given_up, m) == 0)
		return false;
	m->locks.giving_up++;
	return true;
}

static struct sftp_lock all_of(const struct lock_owner *o)
{
	return (struct sftp_lock){.owner = o->key.owner, .kind = (uint8_t)o->key.kind, .type = NATIVE_LOCK_NONE};
}

static void owe(struct mount *m, struct lock_owner *o)
{
	o->owed = true;
	retry_by(m, loop_now_us(m->loop) + RETRY_MOST_US);
}

/* Says what is owed: true, and the owner is gone. */
static bool pay(struct mount *m, struct lock_owner *o)
{
	const struct sftp_lock all = all_of(o);

	if (!give_up(m, &o->handle, &all)) {
		owe(m, o);
		return false;
	}
	owner_free(m, o);
	return true;
}

/* The handle of a closed file has no other debts: it can be closed on the host, too. */
static void release_paid(struct mount *m, const struct lock_handle *h)
{
	const struct lock_owner *o;

	LIST_FOREACH(o, &m->locks.closed, of_file)
	if (o->handle.share == h->share && o->handle.fh == h->fh && o->handle.generation == h->generation)
		return;
	if (handle_is_served(h))
		file_release_handle(h->share, h->fh);
}

static void pay_all(struct mount *m)
{
	struct lock_owner *o, *next;

	for (o = m->locks.by_key; o; o = next) {
		next = o->hh.next;
		if (o->owed)
			(void)pay(m, o);
	}
	for (o = LIST_FIRST(&m->locks.closed); o; o = next) {
		const struct lock_handle h = o->handle;
		const struct sftp_lock all = all_of(o);

		next = LIST_NEXT(o, of_file);
		if (!give_up(m, &h, &all)) {
			owe(m, o);
			continue;
		}
		LIST_REMOVE(o, of_file);
		free(o);
		release_paid(m, &h);
	}
}

bool locks_flush(struct call *call, void (*done)(struct call *call, const struct sftp_reply *reply))
{
	struct mount *m = call->mount;
	struct lock_owner *o = owner_find(m, call->node, call->lock.lock.owner, NATIVE_LOCK_FCNTL);
	struct sftp_lock all;

	if (!o)
		return false;
	if (!handle_is_served(&o->handle)) {
		owner_free(m, o);
		return false;
	}
	/* Through the handle that was asked last: behind what may still be under way there. */
	all = all_of(o);
	put_lock(call_begin(call, NATIVE_LOCK), o->handle.fh, NATIVE_LOCK_SET, &all);
	call->sticks = call_try_send(call, done);
	if (!call->sticks) {
		owe(m, o);
		return false;
	}
	call_watch_caller(call);
	owner_free(m, o);
	return true;
}

bool locks_close(struct mount *m, struct file *f)
{
	struct lock_owner *o;
	bool all_said = true;

	while ((o = LIST_FIRST(&f->locks))) {
		if (pay(m, o))
			continue;
		HASH_DEL(m->locks.by_key, o);
		LIST_REMOVE(o, of_file);
		LIST_INSERT_HEAD(&m->locks.closed, o, of_file);
		all_said = false;
	}
	return all_said;
}

/* --------------------------------------------------------------------------------------------------------- taking */

/* What was asked for is not wanted any more: what was got is given up. */
static void lock_return(struct call *call)
{
	struct sftp_lock none = call->lock.lock;
	const struct lock_owner *o = owner_find(call->mount, call->node, none.owner, none.kind);

	none.type = NATIVE_LOCK_NONE;
	/* The call's own file may have been closed, and the owner's locks with it; what cannot be said goes with them.
	 */
	if (o)
		(void)give_up(call->mount, &o->handle, &none);
}

/* What the kernel keeps of the file may be of before the lock: answered when it is gone. */
static void lock_answer(struct call *call, const struct sftp_attr *attr, uint64_t stamp)
{
	struct mount *m = call->mount;
	struct node *n = call->node;
	struct node_opened o = {.drop = true, .tell = true};

	/* Attributes of before a write of ours say nothing of the pages. */
	if (!attr_is_old(n, stamp)) {
		o = node_opened(n, attr, loop_now_us(m->loop));
		attr_memory_put(&m->attrs, n->id, attr, loop_now_us(m->loop));
	}
	if (o.tell)
		node_forget_attr(m, n);
	if (!o.drop) {
		call_reply_err(call, 0);
		return;
	}
	node_forget_fetched(m, n);
	if (!invalidate_node_and_answer(m->invalidator, n->id, call->lock.unique)) {
		lock_return(call);
		call_reply_err(call, ENOLCK);
		return;
	}
	recall_answered(call->mount->recall, call->unique & ~MOUNT_UNIQUE_RESENT);
	fuse_reply_none(call->req);
	call_free(call);
}

static void lock_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	if (!call->req) {
		/* It has gone, or was told EINTR. */
		if (!reply->error && call->lock.lock.type != NATIVE_LOCK_NONE)
			lock_return(call);
		call_free(call);
	} else if (reply->error == EAGAIN && call->yields) {
		lock_wait(call);
	} else if (reply->error) {
		call_reply_err(call, reply->error);
	} else {
		sftp_attr_get(&r, &attr);
		if (!wire_read_done(&r)) {
			call_reply_malformed(call);
		} else if (call->lock.lock.type == NATIVE_LOCK_NONE) {
			locks_wake(call->mount);
			call_reply_err(call, 0);
		} else {
			lock_answer(call, &attr, reply->stamp);
		}
	}
}

static void lock_issue(struct call *call)
{
	const struct sftp_lock *lock = &call->lock.lock;

	if (call_wait_writes(call, call->node, lock_issue) || lock_wait_given_up(call))
		return;
	if (lock->type != NATIVE_LOCK_NONE && !locks_note(call->mount, call->file, lock->owner, lock->kind)) {
		call_reply_err(call, ENOLCK);
		return;
	}
	put_lock(call_begin(call, NATIVE_LOCK), call->file->fh, NATIVE_LOCK_SET, lock);
	call_send(call, lock_done);
}

static void test_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct flock answer = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct sftp_lock found;

	if (call_reply_failed(call, reply))
		return;
	sftp_lock_get(&r, &found);
	if (!wire_read_done(&r) || found.type > NATIVE_LOCK_WRITE || found.start > INT64_MAX ||
	    found.length > INT64_MAX - found.start) {
		call_reply_malformed(call);
		return;
	}
	if (found.type != NATIVE_LOCK_NONE) {
		answer.l_type = lock_type_to_fcntl(found.type);
		answer.l_start = (off_t)found.start;
		answer.l_len = (off_t)found.length;
	}
	if (call->req)
		fuse_reply_lock(call->req, &answer);
	call_free(call);
}

static void test_issue(struct call *call)
{
	if (lock_wait_given_up(call))
		return;
	put_lock(call_begin(call, NATIVE_LOCK), call->file->fh, NATIVE_LOCK_TEST, &call->lock.lock);
	call_send(call, test_done);
}

/* ----------------------------------------------------------------------------------------------------- the kernel's */

static struct call *lock_call(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi, call_fn *issue)
{
	struct call *call = call_new(req, ino, issue);

	if (call) {
		call->file = file_of(fi);
		call->lock.lock.owner = fi->lock_owner;
		call->lock.unique = call->mount->unique;
	}
	return call;
}

static struct call *fcntl_call(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi,
			       const struct flock *asked, call_fn *issue)
{
	struct call *call = lock_call(req, ino, fi, issue);
	struct sftp_lock *lock = call ? &call->lock.lock : NULL;

	if (lock) {
		lock->kind = NATIVE_LOCK_FCNTL;
		lock->type = lock_type_of_fcntl(asked->l_type);
		lock->start = (uint64_t)asked->l_start;
		lock->length = (uint64_t)asked->l_len;
	}
	return call;
}

void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct call *call = fcntl_call(req, ino, fi, lock, test_issue);

	if (call)
		call_start(call);
}

void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	struct call *call = fcntl_call(req, ino, fi, lock, lock_issue);

	if (!call)
		return;
	call->yields = sleep;
	call_start(call);
}

void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct call *call = lock_call(req, ino, fi, lock_issue);

	if (!call)
		return;
	call->lock.lock.kind = NATIVE_LOCK_FLOCK;
	call->lock.lock.type = op & LOCK_SH ? NATIVE_LOCK_READ : op & LOCK_EX ? NATIVE_LOCK_WRITE : NATIVE_LOCK_NONE;
	call->yields = !(op & LOCK_NB);
	call_start(call);
}

int locks_init(struct mount *m)
{
	TAILQ_INIT(&m->locks.waits);
	LIST_INIT(&m->locks.closed);
	m->locks.retry_us = UINT64_MAX;
	m->locks.retry = loop_timer_new(m->loop, on_retry, m);
	return m->locks.retry ? 0 : -ENOMEM;
}

void locks_end(struct mount *m)
{
	struct lock_owner *o;

	assert(!m->locks.by_key);
	while ((o = LIST_FIRST(&m->locks.closed))) {
		LIST_REMOVE(o, of_file);
		free(o);
	}
	loop_timer_free(m->locks.retry);
	m->locks.retry = NULL;
}
