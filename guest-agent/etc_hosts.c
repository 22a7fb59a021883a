/* SPDX-License-Identifier: MIT */
/*
 * See etc_hosts.h. The new file is written beside the old one, with its owner and mode, and renamed over it: who reads
 * sees one or the other. Where that cannot be (the file is mounted by itself, as in containers; it is a link to another
 * file) it is left alone.
 */
#include "etc_hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

#define ETC_HOSTS_MAX (1u << 20) /* what is larger is not edited */

#define LINE_HEAD "127.0.0.1 host.homeport.internal # homeport "
#define LINE_MAX  (sizeof(LINE_HEAD) + 2 * SESSION_ID_SIZE + 1)

static size_t own_line(char line[LINE_MAX], const uint8_t id[SESSION_ID_SIZE])
{
	size_t n = (size_t)snprintf(line, LINE_MAX, "%s", LINE_HEAD);

	for (size_t i = 0; i < SESSION_ID_SIZE; i++, n += 2)
		snprintf(line + n, 3, "%02x", id[i]);
	line[n++] = '\n';
	return n;
}

void etc_hosts_edit(const char *text, size_t len, const uint8_t id[SESSION_ID_SIZE], bool present, struct wire_buf *out)
{
	char own[LINE_MAX];
	size_t own_len = own_line(own, id);

	if (present)
		wire_put_bytes(out, own, own_len);
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) + 1 : len;

		if (n != own_len || memcmp(text, own, n) != 0)
			wire_put_bytes(out, text, n);
		text += n;
		len -= n;
	}
}

static int read_whole(int fd, struct stat *st, struct wire_buf *text)
{
	uint8_t *room;
	ssize_t n;

	if (fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_size > ETC_HOSTS_MAX)
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

static int read_file(const char *path, struct stat *st, struct wire_buf *text)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), rc;

	if (fd < 0)
		return -errno;
	rc = read_whole(fd, st, text);
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

static int replace_file(const char *path, const struct wire_buf *out, const struct stat *as)
{
	char fresh[256];
	int fd, rc;

	if (snprintf(fresh, sizeof(fresh), "%s.homeport-XXXXXX", path) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = write_whole(fd, out, as);
	close(fd);
	if (rc == 0 && rename(fresh, path) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(fresh);
	return rc;
}

int etc_hosts_set(const char *path, const uint8_t id[SESSION_ID_SIZE], bool present)
{
	struct wire_buf text = {0}, out = {0};
	struct stat st;
	int rc = read_file(path, &st, &text);

	if (rc == 0) {
		etc_hosts_edit((const char *)text.data, text.len, id, present, &out);
		if (out.failed)
			rc = -ENOMEM;
		else if (out.len != text.len || (out.len && memcmp(out.data, text.data, out.len) != 0))
			rc = replace_file(path, &out, &st);
	}
	wire_buf_free(&text);
	wire_buf_free(&out);
	return rc;
}
