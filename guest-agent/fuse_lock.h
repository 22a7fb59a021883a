/* SPDX-License-Identifier: MIT */
/*
 * fuse_lock: locks of files that are taken on the host (`locks: host`), so that the guest's programs and the host's
 * keep each other out. In other mounts the kernel never asks, and keeps its locks to itself.
 *
 * Theory of operation
 *
 * The kernel names the owner of a lock: a process, or an open file description. What may be held for one on a file is
 * remembered from before it was asked for until it has been given up, because the kernel says so only in passing: by
 * FLUSH when a process closes any descriptor of the file, and by RELEASE for a description's own. So a lock ends with
 * whoever held it, however that one ended. (A server that dies takes its locks and its files with it.)
 *
 * Where there is no memory to give something up, it is owed, and said with the next retry; the handle of a file that is
 * closed meanwhile stays open on the host for that.
 *
 * What a program has given up by closing a file is free for whoever asks next: who asks while the host has not answered
 * that yet, asks afterwards.
 *
 * Nothing waits on the host. Who waits here asks again, ever more slowly, and at once when another in the guest has
 * given up something; a signal ends the waiting.
 *
 * What a lock protects may have changed while another held it: its answer comes after the kernel has dropped what it
 * kept of the file, unless the host says that nothing changed. What was written before, with or without a lock, has
 * reached the host before any lock is taken or given up.
 */
#ifndef HOMEPORT_FUSE_LOCK_H
#define HOMEPORT_FUSE_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/queue.h>

struct call;
struct file;
struct lock_owner;
struct loop_timer;
struct mount;
struct sftp_reply;

LIST_HEAD(lock_owners, lock_owner);
TAILQ_HEAD(call_list, call);

struct mount_locks {
	struct lock_owner *by_key; /* uthash */
	struct lock_owners closed; /* files are closed, whose owners' locks are still to be given up */
	size_t giving_up;          /* how much the host has been told and has not answered */
	struct call_list waits;    /* who asks again, */
	struct loop_timer *retry;  /* by this one */
	uint64_t retry_us;         /* when it fires; UINT64_MAX: not set */
};

/* 0 or -ENOMEM. */
int locks_init(struct mount *m);

/* When every file and every call is gone. */
void locks_end(struct mount *m);

/* The host may hold something for this owner on the file, and through it, from here on. False: out of memory. */
bool locks_note(struct mount *m, struct file *f, uint64_t owner, uint8_t kind);

/* Whether the host may hold something for this owner on the file. */
bool locks_held(const struct mount *m, const struct file *f, uint64_t owner);

/* FLUSH: gives up what the call's owner (call->lock.owner) holds, then done: true. False: there is nothing to wait for.
 */
bool locks_flush(struct call *call, void (*done)(struct call *call, const struct sftp_reply *reply));

/*
 * Before the file's handle is closed: gives up what was taken through it. False: the handle is still needed for that,
 * and will be closed from here (file_release_handle()). And when it goes without.
 */
bool locks_close(struct mount *m, struct file *f);
void locks_forget(struct mount *m, struct file *f);

#endif
