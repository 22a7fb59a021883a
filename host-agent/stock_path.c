/* SPDX-License-Identifier: MIT */
/*
 * One name at a time, each opened by O_PATH in the folder before it and never through a link: so each can be held
 * against the masks, which one openat2(2) of the whole path (RESOLVE_IN_ROOT) would pass by wherever a link leads to
 * one. Links are read and put in front of what is left of the path; an absolute one starts at the share, as it would in
 * a chroot.
 *
 * What has been walked is kept as a path without links; for ".." its last name goes and the rest is opened again from
 * the root, beneath it, in one call. It cannot lead above the root: an empty path has no last name.
 */
#include "stock_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel's */

struct walk {
	struct share *share;
	char left[2 * SFTP_PATH_MAX]; /* what is still to be walked */
	char *at;
	int dir;          /* where we are */
	bool dir_refused; /* a file system that is not entered (roots.h) */
	bool protected;   /* in a folder that is protected, or below */
	unsigned links;
	struct stock_found *found;
};

static int move_to(struct walk *w, int fd)
{
	if (fd < 0)
		return fd;
	if (w->dir >= 0)
		close(w->dir);
	w->dir = fd;
	return 0;
}

/* Back to the shared folder. */
static int move_to_root(struct walk *w)
{
	w->found->path[0] = '\0';
	w->dir_refused = w->protected = false;
	return move_to(w, root_open_beneath(w->share->root.fd, ".", O_PATH | O_DIRECTORY));
}

/* What is protected is not known of a folder reached this way, so the path is walked again from the start. */
static int move_up(struct walk *w)
{
	char *path = w->found->path;
	char *slash = strrchr(path, '/');
	size_t kept, len = strlen(w->at);

	if (!slash)
		return 0;
	*slash = '\0';
	kept = strlen(path);
	if (kept + 1 + len >= sizeof(w->left))
		return -ENAMETOOLONG;
	memmove(w->left + kept + 1, w->at, len + 1);
	memcpy(w->left, path, kept);
	w->left[kept] = '/';
	w->at = w->left;
	return move_to_root(w);
}

/* The next name of the path into `name`; its length, 0 at the end. */
static int next_name(struct walk *w, char name[SFTP_NAME_MAX + 1])
{
	size_t len;

	w->at += strspn(w->at, "/");
	len = strcspn(w->at, "/");
	if (len > SFTP_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, w->at, len);
	name[len] = '\0';
	w->at += len;
	return (int)len;
}

static bool at_last(const struct walk *w)
{
	return w->at[strspn(w->at, "/")] == '\0';
}

/* A link's target in front of what is left. */
static int put_link(struct walk *w, int fd)
{
	char target[SFTP_PATH_MAX];
	size_t len = strlen(w->at);
	ssize_t n = fsop_read_link(fd, target, sizeof(target));

	if (n < 0)
		return (int)n;
	if (n == 0 || ++w->links > LINKS_MAX)
		return n ? -ELOOP : -ENOENT;
	if ((size_t)n + len + 2 > sizeof(w->left))
		return -ENAMETOOLONG;
	memmove(w->left + n + 1, w->at, len + 1);
	memcpy(w->left, target, (size_t)n);
	w->left[n] = '/';
	w->at = w->left;
	return target[0] == '/' ? move_to_root(w) : 0;
}

static int append(char *path, const char *name)
{
	size_t len = strlen(path);

	if (len + 1 + strlen(name) >= SFTP_PATH_MAX)
		return -ENAMETOOLONG;
	path[len] = '/';
	strcpy(path + len + 1, name);
	return 0;
}

/* The last name, there or not. */
static int finish(struct walk *w, const char *name, int fd, enum mask mask)
{
	struct stock_found *f = w->found;
	int r = append(f->path, name);

	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	strcpy(f->name, name);
	f->mask = mask;
	f->protected = w->protected || mask >= MASK_PROTECTED;
	f->fd = fd;
	return 1;
}

/* One name that is neither "." nor "..". 1: this was the last. */
static int step(struct walk *w, const char *name, bool follow)
{
	enum mask mask = share_mask(w->share, w->dir, name);
	bool last = at_last(w);
	struct fsop_stat *st = &w->found->st;
	int fd, r;

	if (w->dir_refused)
		return -EACCES;
	fd = mask == MASK_HIDDEN ? -ENOENT : root_open_beneath(w->dir, name, O_PATH);
	if (fd == -ENOENT && last)
		return finish(w, name, -1, mask);
	if (fd < 0)
		return fd;
	r = fsop_stat(&w->share->root, fd, NULL, true, st);
	if (r == 0 && st->type == DT_LNK && (!last || follow)) {
		r = put_link(w, fd);
		close(fd);
		return r;
	}
	if (r == 0 && last)
		return finish(w, name, fd, mask);
	if (r == 0 && st->type != DT_DIR)
		r = -ENOTDIR;
	if (r == 0)
		r = append(w->found->path, name);
	if (r < 0) {
		close(fd);
		return r;
	}
	w->dir_refused = w->share->root.devices[st->identity.device].refused;
	w->protected |= mask == MASK_PROTECTED;
	return move_to(w, fd);
}

/* The path ended without a last name: it means the folder we are in. */
static int finish_here(struct walk *w)
{
	struct stock_found *f = w->found;
	char *slash = strrchr(f->path, '/');
	char name[SFTP_NAME_MAX + 1];

	f->name[0] = '\0';
	f->protected = w->protected;
	f->mask = MASK_FOLDER;
	f->fd = root_open_beneath(w->dir, ".", O_PATH);
	if (f->fd < 0)
		return f->fd;
	if (!slash)
		return fsop_stat(&w->share->root, f->fd, NULL, true, &f->st);
	/* "a/b/." is b in a, for who asks to remove it. */
	close(f->fd);
	f->fd = -1;
	strcpy(name, slash + 1);
	*slash = '\0';
	if (strlen(f->path) + strlen(name) + 2 > sizeof(w->left))
		return -ENAMETOOLONG;
	strcpy(stpcpy(stpcpy(w->left, f->path), "/"), name);
	w->at = w->left;
	return 1;
}

static int walk(struct walk *w, bool follow)
{
	char name[SFTP_NAME_MAX + 1];
	int r = move_to_root(w);

	while (r == 0) {
		r = next_name(w, name);
		if (r < 0)
			break;
		if (r == 0) {
			r = finish_here(w);
			if (r == 0)
				return 0;
			if (r > 0)
				r = move_to_root(w);
			continue;
		}
		r = 0;
		if (strcmp(name, "..") == 0)
			r = move_up(w);
		else if (strcmp(name, ".") != 0)
			r = step(w, name, follow);
	}
	return r < 0 ? r : 0;
}

int stock_path_find(struct share *share, const uint8_t *path, size_t len, bool follow, struct stock_found *found)
{
	struct walk w = {.share = share, .dir = -1, .found = found};
	int r;

	if (len >= SFTP_PATH_MAX)
		return -ENAMETOOLONG;
	if (memchr(path, '\0', len))
		return -EINVAL;
	memcpy(w.left, path, len);
	w.left[len] = '\0';
	w.at = w.left;
	found->fd = -1;
	found->name[0] = '\0';
	r = walk(&w, follow);
	if (r < 0) {
		if (found->fd >= 0)
			close(found->fd);
		if (w.dir >= 0)
			close(w.dir);
		return r;
	}
	found->dir = w.dir;
	if (!found->path[0])
		strcpy(found->path, "/");
	return 0;
}

void stock_found_close(struct stock_found *found)
{
	close(found->dir);
	if (found->fd >= 0)
		close(found->fd);
}
