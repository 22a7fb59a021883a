/* SPDX-License-Identifier: MIT */
/*
 * TMPFILE: a file in a folder's file system that has no name yet. The host's kernel makes it, or says that it cannot
 * (EOPNOTSUPP). Its node is reached by a descriptor that is kept (share.h) until LINK gives it a name, or the client
 * forgets it.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int tmpfile_open(struct sftp_job *job, int folder, const struct sftp_caller *caller, uint32_t flags,
			uint32_t mode)
{
	const struct native_made made = {.mode = S_IFREG | (mode & 07777)};
	struct fsop_stat st;
	int open_flags, fd;
	int r = fsop_open_flags(flags, &open_flags);

	if (r == 0)
		r = fsop_stat(&job->share->root, folder, NULL, false, &st);
	if (r < 0)
		return r;
	open_flags |= flags & NATIVE_O_EXCL ? O_EXCL : 0;
	fd = openat(folder, ".", open_flags | O_TMPFILE | O_CLOEXEC, native_mode_to_make(job, &made) & 07777);
	if (fd < 0)
		return -errno;
	r = native_give_to_caller(job, &st.attr, caller, fd, &made);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* With its node, which a descriptor of its own keeps: the handle may be closed while a map of the file goes on. */
static int put_tmpfile(struct sftp_job *job, int fd, uint32_t flags)
{
	struct share *share = job->share;
	struct fsop_stat st;
	uint64_t node;
	int r = fsop_stat(&share->root, fd, NULL, false, &st);
	int kept = r == 0 ? root_reopen(&share->root, fd, O_PATH) : r;

	r = kept < 0 ? kept : nodes_add_nameless(share->nodes, &st.identity, st.type, &node);
	if (r < 0) {
		if (kept >= 0)
			close(kept);
		close(fd);
		return r;
	}
	share_node_keep(share, &st.identity, kept);
	return native_put_opened(job, node, &st, fd, flags);
}

int native_tmpfile(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct sftp_caller caller;
	struct node_info folder;
	struct fd_ref ref;
	uint32_t flags, umask, mode;
	uint64_t parent;
	int r;

	sftp_caller_get(&in, &caller);
	parent = wire_get_u64(&in);
	flags = wire_get_u32(&in);
	umask = wire_get_u16(&in);
	mode = wire_get_u16(&in);
	if (!wire_read_done(&in))
		return -EBADMSG;
	r = share_node_get(job->share, parent, true, &folder, &ref);
	if (r < 0)
		return r;
	if (folder.type != DT_DIR)
		r = -ENOTDIR;
	else if (folder.flags & NODE_PROTECTED)
		r = -EACCES;
	else
		r = tmpfile_open(job, ref.fd, &caller, flags, native_mode(ref.fd, umask, mode));
	if (r >= 0)
		r = put_tmpfile(job, r, flags);
	share_node_put(job->share, &ref);
	return r;
}
