/* SPDX-License-Identifier: MIT */
/*
 * What a request finds out besides what its reply tells, told by invalidations before that reply: another node that it
 * changed, a name that does not mean what it was known for any more, the shared folder itself gone. PROTOCOL.md,
 * "Invalidations", lists them; there is no watch, and nothing here looks for what no request came across.
 *
 * What is told of a name is looked at first, in its folder: a node may be missing because a folder above it moved.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>

/* How far up a missing folder is looked for: names that are out of date may go round in a circle. */
#define TELL_UP_MAX 256u

void native_tell_attr(struct sftp_job *job, const struct node_identity *identity)
{
	uint64_t node = nodes_find(job->share->nodes, identity);

	if (node)
		sftp_job_invalidate(job, NATIVE_INVALIDATE_ATTR, node, NULL);
}

/* Once: there is nothing below it any more that could be kept again. */
static void tell_root_gone(struct sftp_job *job)
{
	struct root *root = &job->share->root;
	struct fsop_stat st;
	int r = fsop_stat(root, root->fd, NULL, true, &st);

	if ((r == 0 && st.attr.nlink) || (r < 0 && r != -ESTALE) || atomic_exchange(&job->share->root_gone, true))
		return;
	sftp_job_invalidate(job, NATIVE_INVALIDATE_ALL, 0, NULL);
}

/* Whether `name` in the folder is something else than the identity, or nothing. -ESTALE: the folder itself is gone. */
static int name_lost(struct sftp_job *job, uint64_t folder, const char *name, const struct node_identity *identity)
{
	struct node_info info;
	struct fsop_stat st;
	struct fd_ref ref;
	int r = share_node_get(job->share, folder, true, &info, &ref);

	if (r < 0)
		return r;
	r = fsop_stat(&job->share->root, ref.fd, name, true, &st);
	if (r == -ENOENT)
		r = fsop_stat(&job->share->root, ref.fd, NULL, true, &st) == 0 && st.attr.nlink ? 1 : -ESTALE;
	else if (r == 0)
		r = !node_identity_same(&st.identity, identity);
	share_node_put(job->share, &ref);
	return r;
}

/* Its names that are lost are told and forgotten. A folder above it that is gone; 0: none. */
static uint64_t tell_lost_names(struct sftp_job *job, uint64_t node)
{
	struct nodes *nodes = job->share->nodes;
	char name[SFTP_NAME_MAX + 1];
	struct node_info info;
	uint64_t folder, gone = 0;
	unsigned nth = 0;

	if (nodes_info(nodes, node, &info) < 0)
		return 0;
	while (nodes_name(nodes, node, nth, &folder, name) == 0) {
		int lost = name_lost(job, folder, name, &info.identity);

		if (lost > 0) {
			sftp_job_invalidate(job, NATIVE_INVALIDATE_ENTRY, folder, name);
			nodes_name_remove(nodes, &info.identity, folder, name);
			continue;
		}
		if (lost == -ESTALE)
			gone = folder;
		nth++;
	}
	return gone;
}

void native_tell_gone(struct sftp_job *job, uint64_t node)
{
	for (unsigned up = 0; node && node != NATIVE_ROOT && up < TELL_UP_MAX; up++)
		node = tell_lost_names(job, node);
	if (node == NATIVE_ROOT)
		tell_root_gone(job);
}

void native_tell_moved(struct sftp_job *job, uint64_t node, const struct fsop_stat *st)
{
	char name[SFTP_NAME_MAX + 1];
	uint64_t folder;

	if ((st->type == DT_DIR || st->attr.nlink == 1) && nodes_name(job->share->nodes, node, 1, &folder, name) == 0)
		tell_lost_names(job, node);
}
