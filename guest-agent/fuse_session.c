/* SPDX-License-Identifier: MIT */
/*
 * The kernel's side of a mount.
 *
 * This is the one place that reads /dev/fuse: session_receive() sees each request as the kernel wrote it before libfuse
 * does, and session_writev() each answer before the kernel does. What libfuse 3.14 does not know is added there: it
 * never asks for FUSE_PARALLEL_DIROPS, without which one slow lookup blocks its whole directory, nor for
 * FUSE_DIRECT_IO_ALLOW_MMAP, without which a file opened to append cannot be mapped: the bits are set in INIT's answer,
 * and the read-ahead with them. Requests it does not know at all are in fuse_raw.c.
 *
 * A mount that another agent has left is adopted: the kernel sends INIT once and never again, so libfuse gets a copy of
 * that one, which offers what was agreed on then, and its answer goes nowhere; it only has to be the same. Then the
 * kernel sends once more what nobody has answered (from Linux 6.9 on); an older one does not, but what it asked was
 * written down (recall.h). What would change something, and may have been done already, ends with EIO. Handles of the
 * other agent's are in fuse_stale.c.
 */
#include "fuse_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "features.h"
#include "fuse_call.h"
#include "fuse_ops.h"
#include "fuse_raw.h"
#include "fuse_stale.h"
#include "fuse_times.h"
#include "invalidator.h"
#include "log.h"
#include "loop.h"

/* The upper half of INIT's flags: 7.39, Linux 6.6. */
#define FLAGS2_DIRECT_IO_ALLOW_MMAP (1u << (36 - 32))

/* FUSE_NOTIFY_RESEND: 7.40, Linux 6.9. */
#define NOTIFY_RESEND 7

/* No request of the kernel's has this number: its are even, and begin at 2. */
#define UNIQUE_ADOPTED 0x7ffffffffffffffeull

#define REQUESTS_A_TURN 64u
#define MAX_WRITE       (1u << 20)
#define MAX_BACKGROUND  64u /* read-ahead under way; the kernel's default of 12 does not fill a link */

struct session_state {
	struct fuse_buf buf;
	uint64_t init_unique; /* of the INIT whose answer is edited */
	uint32_t init_flags;  /* what the kernel offers */
	uint32_t init_flags2;
	bool setxattr_ext; /* the kernel was told that SETXATTR may say more */
	bool agreed;       /* what was agreed on before is agreed on again */
	struct fuse_times times;
};

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	conn->max_write = MAX_WRITE;
	conn->max_readahead = MAX_WRITE;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	/* The kernel takes set-id bits away by SETATTR, where the server is root, whose writes do not. */
	conn->want &= ~(unsigned)(FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_SPLICE_READ);
	/* Locks stay among the guest's programs. */
	if (!m->host_locks)
		conn->want &= ~(unsigned)(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
	/* The kernel goes by the host's ACLs, and leaves it to the host what a folder's default one makes of a umask.
	 */
	if (m->acl)
		conn->want |= conn->capable & (FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK);
	/* A symlink's target never changes: another target is another inode. */
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_AUTO_INVAL_DATA |
				       FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_READ);
	invalidator_set_minor(m->invalidator, conn->proto_minor);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.link = op_link,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.setxattr = op_setxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.flock = op_flock,
};

/* Each request, before libfuse sees it. INIT is longer since 7.36. */
static void raw_request(struct mount *m, const struct fuse_buf *buf)
{
	struct session_state *s = m->session_state;
	const struct fuse_in_header *h = buf->mem;
	const struct fuse_init_in *init = (const struct fuse_init_in *)(h + 1);

	fuse_times_begin(&s->times, h->unique & ~MOUNT_UNIQUE_RESENT, h->opcode);
	m->raw = raw_request_adapt(buf->mem, buf->size);
	if (s->setxattr_ext && h->opcode == FUSE_SETXATTR)
		m->raw = raw_setxattr_adapt(buf->mem, buf->size);
	m->unique = h->unique;
	if (buf->size < sizeof(*h) + offsetof(struct fuse_init_in, flags2) || h->opcode != FUSE_INIT)
		return;
	s->init_unique = h->unique;
	s->init_flags = init->flags;
	if (init->flags & FUSE_INIT_EXT && buf->size >= sizeof(*h) + sizeof(*init))
		s->init_flags2 = init->flags2;
}

static bool has_virtual_owners(const struct mount *m)
{
	for (unsigned i = 0; i < m->share_count; i++)
		if (m->shares[i]->ids.recorded)
			return true;
	return false;
}

/* INIT's answer, after libfuse has made it. */
static void init_amend(const struct mount *m, struct fuse_init_out *init)
{
	struct session_state *s = m->session_state;

	init->flags |= s->init_flags & FUSE_PARALLEL_DIROPS;
	/*
	 * A host agent that is an ordinary user loses set-id bits and capabilities with each write, truncate and chown
	 * by its own kernel; so ours need not ask about security.capability before each write(2). But not those that
	 * its server only recorded.
	 */
	if (m->ids.host_uid != 0 && !has_virtual_owners(m))
		init->flags |= s->init_flags & FUSE_HANDLE_KILLPRIV_V2;
	/* A host agent that is root does not lose the set-group-id bit with a new ACL as its caller would. */
	s->setxattr_ext = m->acl && s->init_flags & FUSE_SETXATTR_EXT;
	if (s->setxattr_ext)
		init->flags |= FUSE_SETXATTR_EXT;
	/* libfuse asks for no more than the kernel offered; the helper has raised the limit behind that. */
	init->max_readahead = MAX_WRITE;
	if (s->init_flags2 & FLAGS2_DIRECT_IO_ALLOW_MMAP && feature_on(FEATURE_DIRECT_MMAP)) {
		init->flags |= FUSE_INIT_EXT;
		init->flags2 |= FLAGS2_DIRECT_IO_ALLOW_MMAP;
	}
}

/* An answer without a body, to what libfuse is not to see. */
static void answer_raw(struct mount *m, uint64_t unique, int error)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};

	if (write(fuse_session_fd(m->session), &out, sizeof(out)) < 0)
		log_debug("mount %s: an answer that nobody waits for: %s", m->target, strerror(errno));
	recall_answered(m->recall, unique & ~MOUNT_UNIQUE_RESENT);
}

static bool init_is_the_same(const struct mount *m, const struct fuse_init_out *out)
{
	const struct recall_init *was = recall_init(m->recall);

	return out->minor == was->minor && out->max_write == was->max_write && out->flags == was->flags &&
	       out->flags2 == was->flags2;
}

/* Of the answer to INIT: what it is, or whether it is what it was. */
static void init_remember(struct mount *m, const struct fuse_init_out *out)
{
	if (m->session_state->init_unique == UNIQUE_ADOPTED)
		m->session_state->agreed = init_is_the_same(m, out);
	else
		recall_set_init_answer(m->recall, out->minor, out->max_write, out->flags, out->flags2);
}

static ssize_t iov_len(const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	return (ssize_t)len;
}

/* The beginning of a request, by which it is known, is the next agent's before it is ours. */
static ssize_t session_read(int fd, void *buf, size_t len, void *userdata)
{
	struct mount *m = userdata;
	void *arrival = recall_arrival(m->recall);
	struct iovec parts[] = {{arrival, RECALL_REQUEST_MAX},
				{(char *)buf + RECALL_REQUEST_MAX, len - RECALL_REQUEST_MAX}};
	ssize_t got;

	if (!arrival)
		return read(fd, buf, len);
	got = readv(fd, parts, 2);
	if (got > 0)
		memcpy(buf, arrival, (size_t)got < RECALL_REQUEST_MAX ? (size_t)got : RECALL_REQUEST_MAX);
	return got;
}

/* Each answer, before the kernel sees it. Only then is the request forgotten: of one that is answered twice the kernel
 * takes no notice, but who waits for one that nobody knows of waits for ever. */
static ssize_t session_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct mount *m = userdata;
	struct session_state *s = m->session_state;
	const struct fuse_out_header *h = iov[0].iov_base;
	ssize_t len;
	int error;

	if (s->init_unique && h->unique == s->init_unique && count > 1 &&
	    iov[1].iov_len >= sizeof(struct fuse_init_out)) {
		init_amend(m, iov[1].iov_base);
		init_remember(m, iov[1].iov_base);
		s->init_unique = 0;
	}
	if (h->unique == UNIQUE_ADOPTED)
		return iov_len(iov, count);
	fuse_times_answer(&s->times, h->unique & ~MOUNT_UNIQUE_RESENT);
	len = writev(fd, iov, count);
	error = errno;
	recall_answered(m->recall, h->unique & ~MOUNT_UNIQUE_RESENT);
	errno = error;
	return len;
}

/*
 * A request that was read by an agent before, whole or (by its length) not. True: it cannot be carried out, and was
 * answered. What is not known of may have been anything.
 */
static bool again_refused(struct mount *m, const struct fuse_in_header *h, bool whole)
{
	const struct recall_request *known = recall_request(m->recall, h->unique & ~MOUNT_UNIQUE_RESENT);

	if (whole && (!stale_modifies(h->opcode) || (known && !known->asked)))
		return false;
	answer_raw(m, h->unique, EIO);
	return true;
}

static void write_down(struct mount *m, const struct fuse_buf *buf)
{
	const struct fuse_in_header *h = buf->mem;

	if (h->opcode == FUSE_INIT)
		recall_set_init_request(m->recall, buf->mem, buf->size);
	else if (raw_has_answer(h->opcode))
		recall_began(m->recall, h->unique & ~MOUNT_UNIQUE_RESENT, buf->mem, buf->size);
	recall_arrived(m->recall);
}

static void session_process(struct mount *m, struct fuse_buf *buf, bool again)
{
	struct fuse_in_header *h = buf->mem;

	if (again && again_refused(m, h, buf->size >= h->len))
		return;
	if (h->unique != UNIQUE_ADOPTED)
		write_down(m, buf);
	if (m->incarnation) {
		int error = stale_adapt(m, buf->mem, buf->size);

		if (error >= 0) {
			answer_raw(m, h->unique, error);
			return;
		}
	}
	raw_request(m, buf);
	fuse_session_process_buf(m->session, buf);
}

/* One request: 1; none: 0; the session is over: negative. */
static int session_receive(struct mount *m)
{
	struct session_state *s = m->session_state;
	int rc = fuse_session_receive_buf(m->session, &s->buf);

	if (rc == -EAGAIN || rc == -EINTR || rc == -ENOENT)
		return 0;
	if (rc <= 0)
		return rc ? rc : -ENODEV;
	session_process(m, &s->buf, ((const struct fuse_in_header *)s->buf.mem)->unique & MOUNT_UNIQUE_RESENT);
	fuse_times_handled(&s->times);
	return fuse_session_exited(m->session) ? -ENODEV : 1;
}

static void on_session_readable(void *ctx, int fd, unsigned what)
{
	struct mount *m = ctx;
	int rc = 1;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < REQUESTS_A_TURN && rc > 0; i++)
		rc = session_receive(m);
	if (rc < 0)
		mount_session_ended(m);
	else
		mount_flush(m);
}

int session_start(struct mount *m, int fd)
{
	static const struct fuse_custom_io io = {.read = session_read, .writev = session_writev};
	char *argv[] = {(char *)"homeport", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	m->session_state = calloc(1, sizeof(*m->session_state));
	if (m->session_state)
		m->session_state->times.meter = m->meter;
	m->session = m->session_state ? fuse_session_new(&args, &ops, sizeof(ops), m) : NULL;
	fuse_opt_free_args(&args);
	if (!m->session || fuse_session_custom_io(m->session, &io, fd) != 0) {
		close(fd);
		session_end(m);
		return -ENOMEM;
	}
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	m->session_watch = loop_fd_new(m->loop, fd, LOOP_READ, on_session_readable, m);
	m->invalidator = invalidator_new(fd);
	return m->session_watch && m->invalidator ? 0 : -ENOMEM;
}

int session_adopt(struct mount *m, int fd)
{
	const struct recall_init *was = recall_init(m->recall);
	struct {
		struct fuse_in_header head;
		struct fuse_init_in init;
	} request = {0};
	struct fuse_buf buf = {.mem = &request, .size = was->request_len};
	int rc;

	if (was->request_len < sizeof(request.head) + offsetof(struct fuse_init_in, flags2) ||
	    was->request_len > sizeof(request)) {
		close(fd);
		return -ENOTSUP;
	}
	rc = session_start(m, fd);
	if (rc < 0)
		return rc;
	memcpy(&request, was->request, was->request_len);
	request.head.unique = UNIQUE_ADOPTED;
	request.init.flags &= was->flags;
	request.init.flags2 &= was->flags2;
	session_process(m, &buf, false);
	return m->session_state->agreed ? 0 : -ENOTSUP;
}

/* As it was written down, or the beginning of it. */
static void replay(struct mount *m, const void *request, size_t len)
{
	struct fuse_buf buf = {.size = len < RECALL_REQUEST_MAX ? len : RECALL_REQUEST_MAX};

	buf.mem = malloc(buf.size);
	if (buf.mem) {
		memcpy(buf.mem, request, buf.size);
		session_process(m, &buf, true);
	} else {
		answer_raw(m, ((const struct fuse_in_header *)request)->unique, EIO);
	}
	free(buf.mem);
}

/* What the other one was just reading when it ended. The kernel may have taken it back: then nobody waits for it. */
static void replay_arrival(struct mount *m, const struct fuse_in_header *h)
{
	if (h->unique && h->len >= sizeof(*h) && h->opcode != FUSE_INIT && raw_has_answer(h->opcode) &&
	    !recall_request(m->recall, h->unique & ~MOUNT_UNIQUE_RESENT))
		replay(m, h, h->len);
}

int session_ask_again(struct mount *m)
{
	const struct fuse_out_header resend = {.len = sizeof(resend), .error = NOTIFY_RESEND};
	uint64_t arrival[RECALL_REQUEST_MAX / sizeof(uint64_t)];
	const struct recall_request *r;
	unsigned at = 0;

	if (feature_on(FEATURE_RESEND) && write(fuse_session_fd(m->session), &resend, sizeof(resend)) >= 0) {
		recall_misses_none(m->recall);
		return 0;
	}
	if (recall_misses_requests(m->recall))
		return -ENOBUFS;
	memcpy(arrival, recall_arrival_left(m->recall), sizeof(arrival));
	while ((r = recall_request_next(m->recall, &at)))
		replay(m, r->bytes, r->len);
	replay_arrival(m, (const struct fuse_in_header *)arrival);
	mount_flush(m);
	return 0;
}

void session_end(struct mount *m)
{
	invalidator_end(m->invalidator);
	m->invalidator = NULL;
	loop_fd_free(m->session_watch);
	m->session_watch = NULL;
	if (m->session)
		fuse_session_destroy(m->session);
	m->session = NULL;
	if (m->session_state) {
		fuse_times_end(&m->session_state->times);
		free(m->session_state->buf.mem);
	}
	free(m->session_state);
	m->session_state = NULL;
}
