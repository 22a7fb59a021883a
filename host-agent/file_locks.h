/* SPDX-License-Identifier: MIT */
/*
 * file_locks: the locks that a client's owners hold on files of a share, where the host's own programs see them.
 *
 * Theory of operation
 *
 * A lock belongs to an owner (a number of the client's: a process or an open file description in the guest), and lies
 * on a file, through whichever handle it was asked for. So each pair of owner and file has an open file description of
 * its own here, which carries nothing else: fcntl's locks as OFD locks, which the kernel merges, splits and compares
 * with everybody's, and flock's. It is closed with the owner's last unlock of the whole file, and with it goes whatever
 * was left. A lock is tried and never waited for: who waits asks again. Any thread may call.
 *
 * A file's mode may not let us open it as its owner has it open (it was made with mode 0400, or lost its mode since).
 * Then the first owner to ask has the description of the handle itself; of a second one through the same handle some
 * locks are refused. And the mode may let us read at first, and write when a lock for writing is asked for: then
 * what is locked by then is remembered, and locked again through a description that writes.
 */
#ifndef HOMEPORT_FILE_LOCKS_H
#define HOMEPORT_FILE_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "handles.h"
#include "roots.h"
#include "sftp_wire.h"

struct file_locks;

/* max: descriptors it may hold. NULL: out of memory. */
struct file_locks *file_locks_new(size_t max);

/* Every lock goes. NULL is fine. */
void file_locks_free(struct file_locks *all);

/*
 * Sets or, with NATIVE_LOCK_NONE, removes a lock on the file of an open handle. 0; -EAGAIN: another's is in the way;
 * -ENOLCK: too many, or one that needs a description which its owner cannot have; and what fcntl(2) and flock(2) say.
 */
int file_locks_set(struct file_locks *all, const struct root *root, const struct handle *handle,
		   const struct sftp_lock *lock, bool writable);

/* Which lock of another owner is in the way of this one of fcntl's, into *lock; its type is NATIVE_LOCK_NONE where none
 * is. Negative errno. */
int file_locks_test(struct file_locks *all, const struct root *root, const struct handle *handle,
		    struct sftp_lock *lock);

#endif
