/* SPDX-License-Identifier: MIT */
/*
 * From a node to a descriptor: the cache first; else its names are walked from the root, by one openat2(2) a name, and
 * what is found must have the node's identity, or the next name is tried. Starting at the root each time, never at a
 * cached folder, is what notices that something was moved out of the share; where that leads nowhere, a cached folder
 * is started at whose way up still comes to the root.
 */
#include "share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sftp_wire.h"

#define STEPS_DOWN_MAX 16u /* from a folder at hand to a node below it */
#define HOLD_MS        300 /* ESTALE and the path that is walked again lie closer together */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int share_init(struct share *share, size_t descriptors, bool locks)
{
	/* A quarter for folders and files looked at, an eighth for locks, a little for calls under way, the rest for
	 * open files. */
	size_t cached = descriptors / 4 > 4096 ? 4096 : descriptors / 4;
	size_t spare = 3u * SFTP_THREADS_MAX + 32u;
	size_t locked = !locks ? 0 : descriptors / 8 > SFTP_LOCKS_MAX ? SFTP_LOCKS_MAX : descriptors / 8;
	size_t kept = cached + locked + spare;
	size_t open = descriptors > kept + 16 ? descriptors - kept : 16;
	const struct handles_limits limits = {
		.max = SFTP_HANDLES_MAX,
		.folders = SFTP_FOLDERS_MAX,
		.descriptors = open > SFTP_HANDLES_MAX ? SFTP_HANDLES_MAX : open,
		.keepers = SFTP_KEEPERS_MAX,
		.each = descriptors > 16 ? descriptors - 16 : 1,
	};
	struct fsop_stat st;
	int r = fsop_stat(&share->root, share->root.fd, NULL, false, &st);

	if (r < 0)
		return r;
	share->nodes = nodes_new(&st.identity, SFTP_NODES_MAX);
	share->fds = fdcache_new(cached < 16 ? 16 : cached);
	share->handles = handles_new(&limits);
	share->locks = locks ? file_locks_new(locked) : NULL;
	if (!share->counters)
		share->counters = &share->own_counters;
	share->stamp = 1;
	share->lost_ms = INT64_MIN / 2;
	return share->nodes && share->fds && share->handles && (share->locks || !locks) ? 0 : -ENOMEM;
}

void share_clear(struct share *share)
{
	file_locks_free(share->locks);
	handles_free(share->handles);
	fdcache_free(share->fds);
	nodes_free(share->nodes);
	masks_free(share->masks);
	root_close(&share->root);
}

/* Paths longer than the kernel takes at once are walked in parts, each from where the last one ended. */
static int open_path(const struct root *root, char *path)
{
	int at = root->fd, fd;

	for (;;) {
		size_t len = strlen(path);
		char *cut = NULL;

		if (len >= PATH_MAX) {
			cut = memrchr(path, '/', PATH_MAX - 1);
			*cut = '\0';
		}
		fd = root_open_beneath(at, path, O_PATH);
		if (at != root->fd)
			close(at);
		if (fd < 0 || !cut)
			return fd;
		at = fd;
		path = cut + 1;
	}
}

/* A descriptor of the node by one of its names, or -ESTALE. */
static int node_walk(struct share *share, uint64_t node, const struct node_info *info)
{
	struct wire_buf path = {0};
	struct fsop_stat st;
	int r, fd;

	for (unsigned nth = 0;; nth++) {
		wire_buf_reset(&path);
		r = nodes_path(share->nodes, node, nth, &path);
		if (r < 0)
			break;
		fd = open_path(&share->root, (char *)path.data);
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -EACCES) {
			r = fd;
			break;
		}
		if (fd < 0)
			continue;
		r = fsop_stat(&share->root, fd, NULL, true, &st);
		if (r == 0 && node_identity_same(&st.identity, &info->identity)) {
			r = fd;
			break;
		}
		close(fd);
	}
	wire_buf_free(&path);
	return r;
}

/* The folder is still below the root: one that the host moved out of the share has another way up. */
static bool folder_is_beneath(const struct share *share, int folder)
{
	int at = folder, up = -1;
	struct stat root, st, last;
	bool found = false;

	if (fstat(share->root.fd, &root) < 0 || fstat(folder, &last) < 0)
		return false;
	for (unsigned steps = 0; steps < SFTP_NODE_PATH_MAX && !found; steps++) {
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (at != folder)
			close(at);
		at = up;
		if (up < 0 || fstat(up, &st) < 0 || (st.st_ino == last.st_ino && st.st_dev == last.st_dev))
			break; /* the system's own root, at the latest */
		found = st.st_ino == root.st_ino && st.st_dev == root.st_dev;
		last = st;
	}
	if (up >= 0)
		close(up);
	return found;
}

static int node_below(struct share *share, uint64_t parent, const char *name, const struct node_info *info,
		      unsigned steps);

/* A descriptor of a folder that is at hand, or lies below one that is. */
static int folder_at_hand(struct share *share, uint64_t node, unsigned steps, struct fd_ref *ref)
{
	char name[SFTP_NAME_MAX + 1];
	struct node_info info;
	uint64_t parent;
	int fd;

	if (fdcache_get(share->fds, node, ref) == 0) {
		if (folder_is_beneath(share, ref->fd))
			return 0;
		fdcache_release(share->fds, ref);
		return -ESTALE;
	}
	if (!steps || nodes_info(share->nodes, node, &info) < 0 || nodes_name(share->nodes, node, 0, &parent, name) < 0)
		return -ESTALE;
	fd = node_below(share, parent, name, &info, steps - 1);
	if (fd < 0)
		return fd;
	fdcache_put(share->fds, node, fd, ref);
	return 0;
}

static int node_below(struct share *share, uint64_t parent, const char *name, const struct node_info *info,
		      unsigned steps)
{
	struct fsop_stat st;
	struct fd_ref ref;
	int fd, r = folder_at_hand(share, parent, steps, &ref);

	if (r < 0)
		return r;
	fd = root_open_beneath(ref.fd, name, O_PATH);
	fdcache_release(share->fds, &ref);
	if (fd < 0)
		return -ESTALE;
	if (fsop_stat(&share->root, fd, NULL, true, &st) == 0 && node_identity_same(&st.identity, &info->identity))
		return fd;
	close(fd);
	return -ESTALE;
}

/*
 * Names lead nowhere once the host has moved a folder above, until that is seen under its new one; and no further than
 * paths may be long. What lies below a folder at hand, a program's working folder as a rule, is found from there.
 */
static int node_from_above(struct share *share, uint64_t node, const struct node_info *info)
{
	char name[SFTP_NAME_MAX + 1];
	uint64_t parent;
	int r = -ESTALE;

	for (unsigned nth = 0; r == -ESTALE && nodes_name(share->nodes, node, nth, &parent, name) == 0; nth++)
		r = node_below(share, parent, name, info, STEPS_DOWN_MAX);
	return r;
}

/* An open file whose names are gone is reached by its handle's own descriptor. */
static int node_from_handle(struct share *share, const struct node_info *info, struct fd_ref *ref)
{
	struct handle *handle = info->opens ? handles_get_by_identity(share->handles, &info->identity) : NULL;
	int r, fd;

	if (!handle)
		return -ESTALE;
	r = handles_bring(share->handles, handle);
	fd = r < 0 ? r : fcntl(handle->fd, F_DUPFD_CLOEXEC, 3);
	if (r == 0 && fd < 0)
		r = -errno;
	share_handle_put(share, handle);
	if (r < 0)
		return r;
	*ref = (struct fd_ref){fd, FD_REF_OWNED};
	return 0;
}

int share_node_get(struct share *share, uint64_t node, bool enter, struct node_info *info, struct fd_ref *ref)
{
	int r = nodes_info(share->nodes, node, info);

	if (r < 0)
		return r;
	if (enter && share->root.devices[info->identity.device].refused)
		return -EACCES;
	if (node == NATIVE_ROOT) {
		*ref = (struct fd_ref){share->root.fd, FD_REF_BORROWED};
		return 0;
	}
	if (fdcache_get(share->fds, node, ref) == 0)
		return 0;
	r = node_walk(share, node, info);
	if (r >= 0) {
		fdcache_put(share->fds, node, r, ref);
		return 0;
	}
	if (r == -ESTALE)
		r = node_from_handle(share, info, ref);
	if (r != -ESTALE)
		return r;
	r = node_from_above(share, node, info);
	if (r < 0)
		return r;
	fdcache_put(share->fds, node, r, ref);
	return 0;
}

bool share_name_elsewhere(struct share *share, uint64_t parent, const char *name)
{
	struct wire_buf path = {0};
	struct node_info info;
	struct stat st;
	bool there;
	int fd;

	/* What is mounted there is not asked; the client may. */
	if (nodes_info(share->nodes, parent, &info) < 0 || share->root.devices[info.identity.device].remote)
		return true;
	fd = nodes_path(share->nodes, parent, 0, &path) == 0 ? open_path(&share->root, (char *)path.data) : -1;
	there = fd >= 0 && share_mask(share, fd, name) != MASK_HIDDEN &&
		fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (fd >= 0)
		close(fd);
	wire_buf_free(&path);
	return there;
}

void share_node_lost(struct share *share)
{
	share->lost_ms = now_ms();
}

void share_node_hold(struct share *share, uint64_t node, int dirfd, const char *name,
		     const struct node_identity *identity)
{
	struct fsop_stat st;
	struct fd_ref ref;
	int fd;

	/* A mount is not opened: that would ask its server. */
	if (now_ms() - share->lost_ms > HOLD_MS || share->root.devices[identity->device].remote)
		return;
	fd = root_open_beneath(dirfd, name, O_PATH);
	if (fd < 0)
		return;
	if (fsop_stat(&share->root, fd, NULL, true, &st) == 0 && node_identity_same(&st.identity, identity)) {
		fdcache_put(share->fds, node, fd, &ref);
		fdcache_release(share->fds, &ref);
	} else {
		close(fd);
	}
}

void share_node_forget(struct share *share, uint64_t node, uint64_t lookups)
{
	if (nodes_forget(share->nodes, node, lookups))
		fdcache_drop(share->fds, node);
}

void share_node_keep(struct share *share, const struct node_identity *identity, int fd)
{
	struct node_info info;
	uint64_t node;

	if (nodes_keep(share->nodes, identity, true, &node) < 0)
		close(fd);
	else if (fdcache_keep(share->fds, node, fd) < 0)
		nodes_keep(share->nodes, identity, false, &node);
	else if (nodes_info(share->nodes, node, &info) < 0)
		fdcache_drop(share->fds, node); /* forgotten meanwhile */
}

void share_node_unkeep(struct share *share, const struct node_identity *identity)
{
	uint64_t node;

	if (nodes_keep(share->nodes, identity, false, &node) == 0)
		fdcache_unkeep(share->fds, node);
}

int share_handle_open(struct share *share, int fd, uint64_t node, const struct node_info *info, uint32_t flags,
		      struct handle **handle)
{
	int r = node ? nodes_open(share->nodes, node) : 0;

	if (r < 0) {
		close(fd);
		return r;
	}
	/* What a server answers for may make close(2) wait for it, and a keeper with it. */
	r = handles_add(share->handles, fd, info->type, !share->root.devices[info->identity.device].remote, handle);
	if (r < 0) {
		if (node)
			nodes_close(share->nodes, node);
		return r;
	}
	(*handle)->flags = flags;
	(*handle)->node = node;
	(*handle)->identity = info->identity;
	(*handle)->node_flags = info->flags;
	return 0;
}

void share_handle_put(struct share *share, struct handle *handle)
{
	uint64_t node;

	if (handles_put(share->handles, handle, &node) && node && nodes_close(share->nodes, node))
		fdcache_drop(share->fds, node);
}

void share_handle_close(struct share *share, struct handle *handle)
{
	handles_close(share->handles, handle);
}

enum mask share_mask(struct share *share, int fd, const char *name)
{
	struct stat st;

	if (!share->masks || !masks_may_hold(share->masks, name))
		return MASK_NONE;
	/* A folder that cannot be looked at might be the one: its secret stays hidden. */
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return MASK_HIDDEN;
	return masks_check(share->masks, st.st_dev, st.st_ino, name);
}
