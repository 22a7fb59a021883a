/* SPDX-License-Identifier: MIT */
/* Owners and their descriptions. See file_locks.h. */
#include "file_locks.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "lock_type.h"

struct owner_key {
	uint64_t owner;
	struct node_identity file;
	uint32_t kind;
};
static_assert(sizeof(struct owner_key) == 32, "no holes: it is compared by its bytes");

#define RANGES_MAX 16 /* as many as a program that locks to read a file is expected to have of it at once */

struct range {
	uint64_t start, end; /* the last of it */
};

/* An open file description, and what it can be locked for. */
struct description {
	int fd;
	bool reads, writes;
	uint64_t lent_by; /* the handle whose it is; 0: its own */
};

struct owner {
	struct owner_key key;
	struct description d;
	struct range ranges[RANGES_MAX]; /* that it has locked, while d does not write; none overlaps another */
	size_t range_count;
	bool unknown; /* they were too many */
	UT_hash_handle hh;
};

struct file_locks {
	pthread_mutex_t mutex; /* also around fcntl() and flock(), which do not wait */
	struct owner *by_key;
	size_t count, max, borrowed;
};

struct file_locks *file_locks_new(size_t max)
{
	struct file_locks *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	pthread_mutex_init(&all->mutex, NULL);
	all->max = max;
	return all;
}

void file_locks_free(struct file_locks *all)
{
	struct owner *o, *next;

	if (!all)
		return;
	o = all->by_key;
	HASH_CLEAR(hh, all->by_key);
	for (; o; o = next) {
		next = o->hh.next;
		close(o->d.fd);
		free(o);
	}
	pthread_mutex_destroy(&all->mutex);
	free(all);
}

static struct owner *owner_find(struct file_locks *all, const struct handle *h, const struct sftp_lock *lock)
{
	struct owner_key key;
	struct owner *o;

	memset(&key, 0, sizeof(key));
	key.owner = lock->owner;
	key.file = h->identity;
	key.kind = lock->kind;
	HASH_FIND(hh, all->by_key, &key, sizeof(key), o);
	return o;
}

/* ------------------------------------------------------------------------------------------------- descriptions */

static bool is_lent(const struct file_locks *all, uint64_t fh, uint8_t kind)
{
	const struct owner *o = all->borrowed ? all->by_key : NULL;

	while (o && (o->d.lent_by != fh || o->key.kind != kind))
		o = o->hh.next;
	return o;
}

static bool is_refused(int r)
{
	return r == -EACCES || r == -EPERM || r == -EROFS || r == -ETXTBSY;
}

/* The handle's own, of what the file's mode does not let us open any more; one owner has it, and with it its locks. */
static int description_borrow(const struct file_locks *all, const struct handle *h, uint8_t kind, struct description *d)
{
	if (is_lent(all, h->fh, kind))
		return -ENOLCK;
	*d = (struct description){.fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0),
				  .reads = h->flags & NATIVE_O_READ,
				  .writes = h->flags & NATIVE_O_WRITE,
				  .lent_by = h->fh};
	return d->fd < 0 ? -ENOLCK : 0;
}

static int description_open(const struct root *root, const struct handle *h, int flags, struct description *d)
{
	int fd = root_reopen(root, h->fd, flags);

	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE ? -ENOLCK : fd;
	*d = (struct description){.fd = fd, .reads = flags != O_WRONLY, .writes = flags != O_RDONLY};
	return 0;
}

/* For reading and writing wherever it may be: what will be wanted is not known yet. */
static int description_new(const struct file_locks *all, const struct root *root, const struct handle *h, uint8_t kind,
			   bool writable, struct description *d)
{
	int r = writable && !(h->node_flags & NODE_PROTECTED) ? description_open(root, h, O_RDWR, d) : -EROFS;

	if (is_refused(r) && h->flags & NATIVE_O_WRITE && description_borrow(all, h, kind, d) == 0)
		return 0;
	if (is_refused(r))
		r = description_open(root, h, O_RDONLY, d);
	/* Of a file that may be written and not read. */
	if (is_refused(r) && writable)
		r = description_open(root, h, O_WRONLY, d);
	return is_refused(r) ? description_borrow(all, h, kind, d) : r;
}

static int description_lock(const struct description *d, const struct flock *lock)
{
	struct flock l = *lock;

	if (fcntl(d->fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* With its locks, which of a handle's own would stay. */
static void description_close(const struct description *d, uint32_t kind)
{
	const struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (d->lent_by && kind == NATIVE_LOCK_FLOCK)
		(void)flock(d->fd, LOCK_UN);
	else if (d->lent_by)
		(void)description_lock(d, &none);
	close(d->fd);
}

/* -------------------------------------------------------------------------------------------------------- owners */

static void owner_free(struct file_locks *all, struct owner *o)
{
	HASH_DEL(all->by_key, o);
	all->count--;
	all->borrowed -= o->d.lent_by != 0;
	description_close(&o->d, o->key.kind);
	free(o);
}

static int owner_add(struct file_locks *all, const struct root *root, const struct handle *h,
		     const struct sftp_lock *lock, bool writable, struct owner **out)
{
	struct owner *o = all->count < all->max ? calloc(1, sizeof(*o)) : NULL;
	int r;

	if (!o)
		return -ENOLCK;
	o->key.owner = lock->owner;
	o->key.file = h->identity;
	o->key.kind = lock->kind;
	r = description_new(all, root, h, lock->kind, writable, &o->d);
	if (r < 0) {
		free(o);
		return r;
	}
	HASH_ADD(hh, all->by_key, key, sizeof(o->key), o);
	if (!o->hh.tbl) {
		description_close(&o->d, o->key.kind);
		free(o);
		return -ENOLCK;
	}
	all->count++;
	all->borrowed += o->d.lent_by != 0;
	*out = o;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- ranges */

static struct range range_of(const struct sftp_lock *lock)
{
	return (struct range){lock->start, lock->length ? lock->start + lock->length - 1 : INT64_MAX};
}

static struct flock lock_of(short type, struct range r)
{
	return (struct flock){.l_type = type,
			      .l_whence = SEEK_SET,
			      .l_start = (off_t)r.start,
			      .l_len = r.end < INT64_MAX ? (off_t)(r.end - r.start + 1) : 0};
}

/* What was locked or unlocked of a file that the owner cannot write, where it may want to one day. */
static void ranges_note(struct owner *o, const struct sftp_lock *lock)
{
	struct range kept[RANGES_MAX + 2];
	const struct range changed = range_of(lock);
	size_t n = 0;

	for (size_t i = 0; i < o->range_count; i++) {
		const struct range r = o->ranges[i];

		if (r.start < changed.start)
			kept[n++] = (struct range){r.start, r.end < changed.start ? r.end : changed.start - 1};
		if (r.end > changed.end)
			kept[n++] = (struct range){r.start > changed.end ? r.start : changed.end + 1, r.end};
	}
	if (lock->type != NATIVE_LOCK_NONE)
		kept[n++] = changed;
	o->unknown = o->unknown || n > RANGES_MAX;
	o->range_count = o->unknown ? 0 : n;
	memcpy(o->ranges, kept, o->range_count * sizeof(*kept));
}

/* An owner that could only read the file can write it now. What it has is locked through the new description before it
 * is not through the old one any more: both are locks for reading, which do not exclude each other. */
static int owner_upgrade(struct file_locks *all, const struct root *root, const struct handle *h, struct owner *o,
			 bool writable)
{
	struct description d;
	int r;

	if (o->unknown || description_new(all, root, h, (uint8_t)o->key.kind, writable, &d) < 0)
		return -ENOLCK;
	r = d.writes ? 0 : -ENOLCK;
	for (size_t i = 0; r == 0 && i < o->range_count; i++) {
		const struct flock l = lock_of(F_RDLCK, o->ranges[i]);

		r = description_lock(&d, &l);
	}
	if (r < 0) {
		description_close(&d, o->key.kind);
		return -ENOLCK;
	}
	all->borrowed += (d.lent_by != 0) - (o->d.lent_by != 0);
	description_close(&o->d, o->key.kind);
	o->d = d;
	return 0;
}

static int owner_flock(const struct owner *o, const struct sftp_lock *lock)
{
	static const int operations[] = {
		[NATIVE_LOCK_NONE] = LOCK_UN, [NATIVE_LOCK_READ] = LOCK_SH, [NATIVE_LOCK_WRITE] = LOCK_EX};

	return flock(o->d.fd, operations[lock->type] | LOCK_NB) < 0 ? -errno : 0;
}

static int owner_lock(struct file_locks *all, const struct root *root, const struct handle *h, struct owner *o,
		      const struct sftp_lock *lock, bool writable)
{
	const struct flock l = lock_of(lock_type_to_fcntl(lock->type), range_of(lock));
	int r = 0;

	if (lock->type == NATIVE_LOCK_WRITE && !o->d.writes)
		r = owner_upgrade(all, root, h, o, writable);
	else if (lock->type == NATIVE_LOCK_READ && !o->d.reads)
		r = -ENOLCK;
	if (r == 0)
		r = description_lock(&o->d, &l);
	if (r == 0 && !o->d.writes)
		ranges_note(o, lock);
	return r;
}

static bool whole_file(const struct sftp_lock *lock)
{
	return lock->kind == NATIVE_LOCK_FLOCK || (lock->start == 0 && lock->length == 0);
}

int file_locks_set(struct file_locks *all, const struct root *root, const struct handle *handle,
		   const struct sftp_lock *lock, bool writable)
{
	bool unlock = lock->type == NATIVE_LOCK_NONE, fresh = false;
	struct owner *o;
	int r = 0;

	pthread_mutex_lock(&all->mutex);
	o = owner_find(all, handle, lock);
	if (!o && !unlock) {
		r = owner_add(all, root, handle, lock, writable, &o);
		fresh = r == 0;
	}
	if (r == 0 && o) {
		r = lock->kind == NATIVE_LOCK_FLOCK ? owner_flock(o, lock)
						    : owner_lock(all, root, handle, o, lock, writable);
		if ((fresh && r < 0) || (unlock && whole_file(lock)))
			owner_free(all, o);
	}
	pthread_mutex_unlock(&all->mutex);
	return r;
}

/* A handle's own description holds no locks, unless it is lent: through it all others are seen. */
static int test_through(const struct file_locks *all, const struct root *root, const struct handle *h,
			const struct owner *o, struct flock *l)
{
	int fd = o ? o->d.fd : h->fd, r;

	if (!o && is_lent(all, h->fh, NATIVE_LOCK_FCNTL))
		fd = root_reopen(root, h->fd, O_RDONLY);
	if (fd < 0)
		return -ENOLCK;
	r = fcntl(fd, F_OFD_GETLK, l) < 0 ? -errno : 0;
	if (!o && fd != h->fd)
		close(fd);
	return r;
}

int file_locks_test(struct file_locks *all, const struct root *root, const struct handle *handle,
		    struct sftp_lock *lock)
{
	struct flock l = lock_of(lock_type_to_fcntl(lock->type), range_of(lock));
	int r;

	pthread_mutex_lock(&all->mutex);
	r = test_through(all, root, handle, owner_find(all, handle, lock), &l);
	pthread_mutex_unlock(&all->mutex);
	if (r < 0)
		return r;
	lock->type = lock_type_of_fcntl(l.l_type);
	lock->start = (uint64_t)l.l_start;
	lock->length = (uint64_t)l.l_len;
	return 0;
}
