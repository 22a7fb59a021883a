/* SPDX-License-Identifier: MIT */
/*
 * sftp_job: one request on its way from packet to reply, and the row of the request table that says what it is. Rows
 * and handlers are in sftp_native.c and sftp_stock.c, what these share in sftp_job.c; sftp_server.c takes them through.
 */
#ifndef HOMEPORT_SFTP_JOB_H
#define HOMEPORT_SFTP_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "handles.h"
#include "sftp_wire.h"
#include "share.h"
#include "wire.h"

struct sftp_job;
struct sftp_server;

enum {
	ROW_MODIFIES = 1 << 0, /* refused on a read-only share, before anything of it is looked at */
	ROW_NATIVE = 1 << 1,   /* answered by REPLY; only after both sides agreed */
	ROW_STOCK = 1 << 2,    /* refused from then on */
	ROW_SHARED = 1 << 3,   /* may be carried out beside others like it on one handle */
	ROW_NO_REPLY = 1 << 4, /* nobody waits for it */
	ROW_AT_ONCE = 1 << 5,  /* carried out by who reads it, in memory alone; no reply either */
	ROW_CLOSES = 1 << 6,   /* needs no descriptor of its handle */
};

#define ROW_NONE 0xff /* an offset of nothing */

struct sftp_row {
	uint8_t type;
	uint8_t flags;
	/* Where in the body the node, the handle, and the length of the data asked for stand. */
	uint8_t node_at, fh_at, length_at;
	/* The reply's body into job->out. 0 or a negative errno, which makes the reply a status. */
	int (*run)(struct sftp_job *job);
};

struct sftp_job {
	TAILQ_ENTRY(sftp_job) link;
	struct job_list *waits_in; /* NULL: does not wait */
	TAILQ_ENTRY(sftp_job) waiting_link;
	struct sftp_server *server;
	struct share *share;
	const struct sftp_row *row;
	uint8_t type;
	uint32_t id;
	struct wire_buf in;  /* from the type on */
	struct wire_buf out; /* from the length on */
	uint64_t stamp;      /* when it was dispatched */
	struct handle *handle;
	uint32_t device;           /* whose file system carries it out */
	bool in_handle, in_device; /* has a place there, to be left at its end */
	bool cancelled;
	unsigned told;   /* invalidations */
	size_t reserved; /* of SFTP_REPLIES_MAX */
};

#define NATIVE_REPLY_HEADER 21u /* up to the body */
#define STOCK_REPLY_HEADER  9u  /* length, type, id */

/* What follows the id. */
static inline struct wire_reader job_body(const struct sftp_job *job)
{
	return job->in.len < 5 ? (struct wire_reader){.bad = true} : wire_reader(job->in.data + 5, job->in.len - 5);
}

/* What follows may take long: the next request need not wait for it. */
void sftp_job_may_block(struct sftp_job *job);

/*
 * The file's bytes from `offset` on into the reply, as a string: at most `length`, fewer only at its end. Their count,
 * or a negative errno; the string is then empty.
 */
ssize_t sftp_job_read(struct sftp_job *job, int fd, uint64_t offset, uint32_t length);

/* A change that was just made: everything dispatched from now on is newer. */
static inline void sftp_job_changed(struct sftp_job *job)
{
	atomic_fetch_add(&job->share->stamp, 1);
}

/*
 * Tells the client that something it may have kept is not so any more, with a stamp of its own: whatever is dispatched
 * from now on is answered behind it. `name` for NATIVE_INVALIDATE_ENTRY alone, else NULL. A request that has told
 * SFTP_TOLD_MAX of them tells everything instead, once.
 */
void sftp_job_invalidate(struct sftp_job *job, enum native_invalidate kind, uint64_t node, const char *name);

/* The rows; NULL: no such request. An extension of a stock client is told by its name in the packet. */
const struct sftp_row *sftp_native_row(uint8_t type);
const struct sftp_row *sftp_stock_row(const struct wire_buf *packet);

/* A STATUS for a negative errno (0: OK) as the whole reply. */
void sftp_stock_put_status(struct sftp_job *job, int error);

/* VERSION, with OpenSSH's pairs and, in any case, ours. */
void sftp_stock_put_version(struct wire_buf *out);

#endif
