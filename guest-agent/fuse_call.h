/* SPDX-License-Identifier: MIT */
/*
 * fuse_call: one request of the kernel, from its arrival to its one answer.
 *
 * Theory of operation
 *
 * A handler makes a call, fills in what it needs to do the request again, and starts it. Starting means: wait until the
 * share is attached; find the nodes it names again if they have lost their numbers; then `issue`, which builds the
 * request to the server (or waits for writes first) and names the `done` that answers the kernel. When the pipe is lost
 * on the way, the call starts again from the top, unless it may have changed something: then it ends with EIO.
 *
 * An interrupted caller is looked at: one that was killed gets its answer (EINTR) at once, wherever its call is, and
 * the call goes on without a request to answer (`req` is NULL), only to give back what the server's reply brings. A
 * caller that merely got a signal waits on, as on a local file system, but for one that waits for a lock.
 *
 * States: NEW -> PARKED (share not attached) | SENT (request under way) | BARRIER (waits for writes) | QUEUED (waits
 * for a directory's batch, or to ask for a lock again) -> ... -> answered and freed. Every call_reply_…() frees the
 * call.
 */
#ifndef HOMEPORT_FUSE_CALL_H
#define HOMEPORT_FUSE_CALL_H

#include <fuse_lowlevel.h>

#include "mount_priv.h"

enum call_state { CALL_NEW, CALL_PARKED, CALL_SENT, CALL_BARRIER, CALL_QUEUED };

struct call;
typedef void call_fn(struct call *call);
typedef void call_done_fn(struct call *call, const struct sftp_reply *reply);

/* An open file description of the guest. */
struct file {
	LIST_ENTRY(file) link;
	struct node *node;
	struct share *share;
	uint64_t fh;
	uint32_t generation;
	uint64_t handle; /* what the kernel knows it by */
	bool again;      /* an earlier agent had it open: it is to be opened again first, */
	bool lost;       /* and not all that was written to it may be there */
	uint32_t flags;  /* how it was opened */
	bool append, sync, readable;
	bool unread;                     /* open_order.h */
	uint32_t writer_uid, writer_gid; /* who wrote last, where the host has to know */
	uint64_t errors_seen;
	uint64_t fetched_us; /* when the first bytes came with OPEN */
	uint64_t fetched_stamp;
	struct version fetched_version;
	uint8_t *fetched; /* the whole of a small file; NULL when there is none */
	size_t fetched_len;
	TAILQ_ENTRY(file) fetched_link; /* of the mount's, the oldest first */
	struct lock_owners locks;       /* taken through it */
};

struct call {
	TAILQ_ENTRY(call) link; /* of the mount's calls */
	struct call *parked_next, **parked_prev;
	TAILQ_ENTRY(call) waiting; /* of a directory's batch, or for a lock: */
	struct call_list *waits_in;
	struct mount *mount;
	struct share *share;
	fuse_req_t req;
	enum call_state state;
	bool interrupted;
	bool local;          /* asks nothing of the host after it has waited for writes */
	bool fresh;          /* what it makes is a directory that nobody had before */
	bool statx;          /* a GETATTR that asks for the time of birth too */
	bool yields;         /* a signal ends it, whatever it is */
	uint64_t unique;     /* the request's number */
	bool sticks;         /* its request is carried out, also when nobody waits for that any more */
	bool waited_listing; /* for one under way: it does so once */
	bool outdated;       /* names were invalidated after it was looked up: the kernel is not to keep this one */
	call_fn *issue;
	call_done_fn *done;
	uint32_t request; /* under way */
	struct write_waiter waiter;

	struct node *node, *other; /* referenced */
	struct node *finding;      /* being found again; referenced */
	struct file *file;         /* not owned */
	struct dir *dir;           /* not owned */
	struct file *opened;       /* owned: what OPEN is about to answer with */
	struct file *reopening;    /* not owned: what an earlier agent had open */
	char *name, *other_name;
	union {
		struct {
			uint32_t flags, mode, umask;
			dev_t rdev;
		} make; /* mkdir, mknod, create, rename: flags */
		struct {
			struct stat st;
			int to_set;
		} setattr;
		struct {
			int flags;
			struct sftp_attr attr;
			uint64_t stamp;    /* of attr */
			uint64_t since_us; /* it waits: open_order.h */
			bool retry;        /* the kernel has just looked the name up again, after ESTALE */
			unsigned tries;    /* since then */
			uint64_t server;   /* what the name means by now, where that is not the node; 0 */
		} open;
		struct {
			uint64_t offset;
			size_t size;
			bool plus;
		} io;
		struct {
			bool data_only;
			int error;
		} sync;
		struct {
			uint64_t offset, length;
			uint32_t mode;     /* of FALLOCATE; of SEEK: what is looked for */
			struct file *from; /* of COPY, and where in it; not owned */
			uint64_t from_offset;
		} range;
		struct {
			struct sftp_lock lock;
			uint64_t unique; /* of the request */
			uint64_t due_us, wait_us;
		} lock;
		struct {
			const char *value; /* in other_name */
			size_t size;
			uint32_t flags; /* of SETXATTR */
		} xattr;
	};
};

/*
 * A call on the node the kernel names so. NULL: it was answered already (out of memory; ESTALE for a number that means
 * nothing). The share is the node's.
 */
struct call *call_new(fuse_req_t req, fuse_ino_t ino, call_fn *issue);

/* A second node; false: answered and freed, with EXDEV when it is of another share. */
bool call_set_other(struct call *call, fuse_ino_t ino);

/* Copies a name; false: answered and freed (ENAMETOOLONG, EINVAL, ENOMEM). */
bool call_set_name(struct call *call, const char *name);
bool call_set_other_name(struct call *call, const char *name);

/* Answers with the reply's error, where it is one: true, answered and freed. */
bool call_reply_failed(struct call *call, const struct sftp_reply *reply);

/*
 * The mode of what the call makes, with the caller's umask: the kernel has applied that one already, unless the mount
 * has ACLs. And both into its request.
 */
void call_set_mode(struct call *call, mode_t mode);
void call_put_mode(const struct call *call, struct wire_buf *b);

/* call_send() for who has something else to do without memory: false, nothing was sent and the call is as it was. */
bool call_try_send(struct call *call, call_done_fn *done);

/* From the top: park, find, issue. */
void call_start(struct call *call);

/* Builds a request: the header, then (for those that modify) the caller, or (that make something) whose it will be.
 * call_send() sends it; done comes later. */
struct wire_buf *call_begin(struct call *call, uint8_t type);
struct wire_buf *call_begin_modifying(struct call *call, uint8_t type);
struct wire_buf *call_begin_making(struct call *call, uint8_t type);
void call_send(struct call *call, call_done_fn *done);

/* Waits until the node's writes have been answered, then runs `issue` (again): true. False: nothing to wait for. */
bool call_wait_writes(struct call *call, struct node *n, call_fn *issue);

/*
 * The handle through which a request about the node comes after its writes, without waiting for them: true, and fh (0
 * when nothing is written and the call has no file). False: the call waits, and `issue` runs again.
 */
bool call_after_writes(struct call *call, call_fn *issue, uint64_t *fh);

/* The same until the node's writes leave room for more. */
bool call_wait_room(struct call *call, struct node *n, size_t room, call_fn *issue);

/* The kernel has its answer while the call is still under way: it goes on without a request, or is freed. */
void call_answered(struct call *call);

/*
 * A change of ours to the node, as its reply tells it. From here on the kernel's next question about it is answered
 * from memory, unless another change may have come between (not settled: writes are still under way).
 */
void call_changed(struct call *call, struct node *n, const struct sftp_change *change, uint64_t stamp);
void node_note_change(struct mount *m, struct node *n, const struct sftp_change *change, uint64_t stamp, bool settled);

/* The same for a reply that is a change of the call's node and nothing else. False: answered (an error, or malformed).
 */
bool call_take_change(struct call *call, const struct sftp_reply *reply, struct sftp_change *change);

/* Answers. err is a positive errno (0: success without a body). */
void call_reply_err(struct call *call, int err);
void call_reply_attr(struct call *call, struct node *n, const struct sftp_attr *attr);

/* The same, of attributes that were true age_us ago; or of those of the moment, without freeing the call. */
void call_reply_attr_aged(struct call *call, struct node *n, const struct sftp_attr *attr, uint64_t age_us);
void call_answer_attr(struct call *call, const struct node *n, const struct sftp_attr *attr, double keep_s);
void call_reply_buf(struct call *call, const void *data, size_t len);

/* The kernel forgets the attributes it has of the node. May be called from the loop: it takes no lock. */
void node_forget_attr(struct mount *m, struct node *n);

/* The entry (n, attr); takes the caller's reference to n. The same, of what was true age_us ago. */
void call_reply_entry(struct call *call, struct node *n, const struct sftp_attr *attr);
void call_reply_entry_aged(struct call *call, struct node *n, const struct sftp_attr *attr, uint64_t age_us);

/*
 * The reply of LOOKUP and of what makes a name, from `server` on: finds the node and answers with it. What is read here
 * may be older than a write of ours: then the attributes are asked for anew.
 */
void call_reply_found(struct call *call, struct node *parent, const char *name, uint64_t server,
		      const struct sftp_attr *attr, uint64_t stamp);

/* What LOOKUP's reply brings: the number, which the server counts as given once more, and attributes. False: malformed.
 */
bool reply_found(const struct sftp_reply *reply, uint64_t *server, struct sftp_attr *attr);

/* A malformed body: EIO, and a line in the log. */
void call_reply_malformed(struct call *call);

/*
 * Looks after the caller of a request that the kernel does not interrupt: a killed process that closes its files on the
 * way out has had its signal already.
 */
void call_watch_caller(struct call *call);

/* Frees a call without an answer (it was answered by other means). */
void call_free(struct call *call);

/* The timer that looks at interrupted callers. */
struct loop_timer *calls_interrupts_new(struct mount *m);

/* Ends every call with EIO: the session is over. */
void calls_end(struct mount *m);

/* Whether attributes with this stamp may be older than what we did to the node ourselves. */
bool attr_is_old(const struct node *n, uint64_t stamp);

/* The same of those in a listing, which may also be older than what the kernel was told since. */
bool attr_is_outdated(const struct node *n, const struct listing *l, const struct sftp_attr *attr);

/* The attributes as the kernel gets them. */
void attr_to_stat(const struct mount *m, const struct node *n, const struct sftp_attr *attr, struct stat *st);

/* Files (fuse_file.c): closes the handle too, where its server is still there; or frees alone. */
void file_close(struct file *f);
void file_free(struct mount *m, struct file *f);
void node_forget_fetched(struct mount *m, const struct node *n);
void node_writes_lost(struct mount *m, struct share *s);

/*
 * A file that an earlier agent had open under that handle of its: ours, 0 where there is none; and made where there is
 * none and it can be opened again (0: it is stale).
 */
uint64_t file_known(const struct mount *m, uint64_t theirs);
uint64_t file_again(struct mount *m, struct node *n, uint64_t theirs);

/* Opens a file of the call's again on the host, and starts the call once more; or answers ESTALE. */
void file_reopen(struct call *call, struct file *f);

/* Directories (fuse_dir.c). */
void dir_free(struct mount *m, struct dir *d);

/* Whether somebody has the directory open who asked nothing of the host for it. */
bool dir_is_from_memory(const struct mount *m, const struct node *n);

/* Our handle for a directory that an earlier agent has opened under that of its: as there is one (else 0); and made
 * where there is none (0: out of memory). */
uint64_t dir_known(const struct mount *m, uint64_t theirs);
uint64_t dir_again(struct mount *m, struct node *n, uint64_t theirs);

#endif
