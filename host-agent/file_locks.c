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

struct owner {
	struct owner_key key;
	int fd;
	bool writable;
	UT_hash_handle hh;
};

struct file_locks {
	pthread_mutex_t mutex; /* also around fcntl() and flock(), which do not wait */
	struct owner *by_key;
	size_t count, max;
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

static void owner_free(struct file_locks *all, struct owner *o)
{
	HASH_DEL(all->by_key, o);
	all->count--;
	close(o->fd);
	free(o);
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
		close(o->fd);
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

/* For writing wherever it may be: whether a lock for writing will be wanted is not known yet. */
static int description_open(const struct root *root, const struct handle *h, bool writable, bool *got)
{
	int fd = -EROFS;

	if (writable && !(h->node_flags & NODE_PROTECTED))
		fd = root_reopen(root, h->fd, O_RDWR);
	*got = fd >= 0;
	if (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY)
		fd = root_reopen(root, h->fd, O_RDONLY);
	/* Of a file that may be written and not read. */
	if (fd == -EACCES && writable && (fd = root_reopen(root, h->fd, O_WRONLY)) >= 0)
		*got = true;
	return fd == -EMFILE || fd == -ENFILE ? -ENOLCK : fd;
}

static int owner_add(struct file_locks *all, const struct root *root, const struct handle *h,
		     const struct sftp_lock *lock, bool writable, struct owner **out)
{
	struct owner *o = all->count < all->max ? calloc(1, sizeof(*o)) : NULL;

	if (!o)
		return -ENOLCK;
	o->key.owner = lock->owner;
	o->key.file = h->identity;
	o->key.kind = lock->kind;
	o->fd = description_open(root, h, writable, &o->writable);
	if (o->fd < 0) {
		int r = o->fd;

		free(o);
		return r;
	}
	HASH_ADD(hh, all->by_key, key, sizeof(o->key), o);
	if (!o->hh.tbl) {
		close(o->fd);
		free(o);
		return -ENOLCK;
	}
	all->count++;
	*out = o;
	return 0;
}

static struct flock fcntl_lock(const struct sftp_lock *lock)
{
	return (struct flock){.l_type = lock_type_to_fcntl(lock->type),
			      .l_whence = SEEK_SET,
			      .l_start = (off_t)lock->start,
			      .l_len = (off_t)lock->length};
}

static int apply(const struct owner *o, const struct sftp_lock *lock)
{
	static const int operations[] = {
		[NATIVE_LOCK_NONE] = LOCK_UN, [NATIVE_LOCK_READ] = LOCK_SH, [NATIVE_LOCK_WRITE] = LOCK_EX};
	struct flock l = fcntl_lock(lock);

	if (lock->kind == NATIVE_LOCK_FLOCK)
		return flock(o->fd, operations[lock->type] | LOCK_NB) < 0 ? -errno : 0;
	if (lock->type == NATIVE_LOCK_WRITE && !o->writable)
		return -ENOLCK;
	if (fcntl(o->fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
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
		r = apply(o, lock);
		if ((fresh && r < 0) || (unlock && whole_file(lock)))
			owner_free(all, o);
	}
	pthread_mutex_unlock(&all->mutex);
	return r;
}

int file_locks_test(struct file_locks *all, const struct handle *handle, struct sftp_lock *lock)
{
	struct flock l = fcntl_lock(lock);
	const struct owner *o;
	int r;

	pthread_mutex_lock(&all->mutex);
	o = owner_find(all, handle, lock);
	/* A handle's own description holds no locks: through it all others are seen. */
	r = fcntl(o ? o->fd : handle->fd, F_OFD_GETLK, &l) < 0 ? -errno : 0;
	pthread_mutex_unlock(&all->mutex);
	if (r < 0)
		return r;
	lock->type = lock_type_of_fcntl(l.l_type);
	lock->start = (uint64_t)l.l_start;
	lock->length = (uint64_t)l.l_len;
	return 0;
}
