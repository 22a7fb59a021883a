/* SPDX-License-Identifier: MIT */
/* See whole_file.h. */
#include "whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LABEL     "security.selinux"
#define LABEL_MAX 1024

int whole_file_read_fd(int fd, size_t max, struct stat *st, struct wire_buf *text)
{
	uint8_t *room;
	ssize_t n;

	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_size > (off_t)max)
		return -EINVAL;
	room = wire_buf_reserve(text, (size_t)st->st_size + 1);
	if (!room)
		return -ENOMEM;
	n = read(fd, room, (size_t)st->st_size + 1);
	if (n != st->st_size)
		return n < 0 ? -errno : -EAGAIN; /* somebody writes it */
	text->len = (size_t)n;
	return 0;
}

int whole_file_read(const char *path, size_t max, struct stat *st, struct wire_buf *text)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), rc;

	if (fd < 0)
		return -errno;
	rc = whole_file_read_fd(fd, max, st, text);
	close(fd);
	return rc;
}

static int write_whole(int fd, const struct wire_buf *out, const struct stat *as)
{
	if (fchown(fd, as->st_uid, as->st_gid) < 0 || fchmod(fd, as->st_mode & 07777) < 0)
		return -errno;
	for (size_t at = 0; at < out->len;) {
		ssize_t n = write(fd, out->data + at, out->len - at);

		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Where SELinux is in force, a file made in /etc would have the label of any file made there. */
static int copy_label(int fd, const char *path)
{
	char label[LABEL_MAX];
	ssize_t len = lgetxattr(path, LABEL, label, sizeof(label));

	if (len < 0)
		return errno == ENODATA || errno == ENOTSUP || errno == ENOENT ? 0 : -errno;
	return fsetxattr(fd, LABEL, label, (size_t)len, 0) < 0 ? -errno : 0;
}

static int fresh_open(char *fresh)
{
	size_t len = strlen(fresh);

	if (len >= 6 && strcmp(fresh + len - 6, "XXXXXX") == 0)
		return mkostemp(fresh, O_CLOEXEC);
	if (unlink(fresh) < 0 && errno != ENOENT)
		return -1;
	return open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

int whole_file_edit(const char *path, size_t max, bool make, whole_file_edit_cb *edit, const void *ctx)
{
	struct wire_buf text = {0}, out = {0};
	struct stat st = {.st_mode = 0644};
	int rc = whole_file_read(path, max, &st, &text);

	if (rc == -ENOENT && make)
		rc = 0;
	if (rc == 0) {
		edit(ctx, (const char *)text.data, text.len, &out);
		if (out.failed)
			rc = -ENOMEM;
		else if (out.len != text.len || (out.len && memcmp(out.data, text.data, out.len) != 0))
			rc = whole_file_replace(path, ".homeport-XXXXXX", &out, &st);
	}
	wire_buf_free(&text);
	wire_buf_free(&out);
	return rc;
}

int whole_file_sync_folder(const char *path)
{
	char folder[PATH_MAX], *slash;
	int fd, rc = 0;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash)
		return -EINVAL;
	slash[slash == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int whole_file_replace(const char *path, const char *suffix, const struct wire_buf *data, const struct stat *as)
{
	char fresh[PATH_MAX];
	int fd, rc;

	if (snprintf(fresh, sizeof(fresh), "%s%s", path, suffix) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	fd = fresh_open(fresh);
	if (fd < 0)
		return -errno;
	rc = copy_label(fd, path);
	if (rc == 0)
		rc = write_whole(fd, data, as);
	close(fd);
	if (rc == 0 && rename(fresh, path) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(fresh);
	return rc < 0 ? rc : whole_file_sync_folder(path);
}
