/* SPDX-License-Identifier: MIT */
/* See installed.h. The folder itself is the lock: it is there when there is something to be kept apart. */
#include "installed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "whole_file.h"

#define HEAD        "homeport-guest installed 1"
#define RECORD_MAX  (1u << 20)
#define LINE_LENGTH (CHANGE_PATH_MAX + CHANGE_DETAIL_MAX + 64)

bool installed_line_parse(char *line, struct change *change)
{
	char *path = strchr(line, '\t'), *detail = path ? strchr(path + 1, '\t') : NULL;

	if (!detail || strlen(detail + 1) >= sizeof(change->detail) || detail - path > (ptrdiff_t)sizeof(change->path))
		return false;
	*path++ = '\0';
	*detail++ = '\0';
	for (int i = 0; i < CHANGE_KINDS; i++) {
		if (strcmp(line, change_rows[i]->name) != 0)
			continue;
		change->kind = (enum change_kind)i;
		snprintf(change->path, sizeof(change->path), "%s", path);
		snprintf(change->detail, sizeof(change->detail), "%s", detail);
		return *path != '\0';
	}
	return false;
}

void installed_line_print(const struct change *change, char *line, size_t size)
{
	snprintf(line, size, "%s\t%s\t%s", change_rows[change->kind]->name, change->path, change->detail);
}

static int read_lines(struct installed *in, char *text)
{
	char *rest = NULL, *line = strtok_r(text, "\n", &rest);

	if (!line || strcmp(line, HEAD) != 0)
		return -EPROTO;
	while ((line = strtok_r(NULL, "\n", &rest))) {
		if (in->count == CHANGES_MAX || !installed_line_parse(line, &in->changes[in->count]))
			return -EPROTO;
		in->count++;
	}
	return 0;
}

static int read_record(struct installed *in)
{
	struct wire_buf text = {0};
	struct stat st;
	int rc = whole_file_read(INSTALLED_FILE, RECORD_MAX, &st, &text);

	if (rc == 0 && (st.st_uid != 0 || st.st_mode & 022))
		rc = -EPERM;
	if (rc == 0) {
		wire_put_u8(&text, 0);
		rc = text.failed ? -ENOMEM : read_lines(in, (char *)text.data);
	}
	wire_buf_free(&text);
	return rc == -ENOENT ? 0 : rc;
}

int installed_open(struct installed *in, bool make)
{
	int rc;

	*in = (struct installed){.folder = -1};
	if (make && mkdir(INSTALLED_FOLDER, 0755) < 0 && errno != EEXIST)
		return -errno;
	in->folder = open(INSTALLED_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (in->folder < 0)
		return errno == ENOENT && !make ? 0 : -errno;
	if (flock(in->folder, LOCK_EX | LOCK_NB) < 0)
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else
		rc = read_record(in);
	if (rc < 0)
		installed_close(in);
	return rc;
}

void installed_close(struct installed *in)
{
	if (in->folder >= 0)
		close(in->folder);
	in->folder = -1;
}

static int remove_all(void)
{
	if ((unlink(INSTALLED_FILE ".homeport-new") < 0 && errno != ENOENT) ||
	    (unlink(INSTALLED_FILE) < 0 && errno != ENOENT))
		return -errno;
	/* Somebody else may keep something there. */
	return rmdir(INSTALLED_FOLDER) < 0 && errno != ENOTEMPTY && errno != ENOENT ? -errno : 0;
}

int installed_save(const struct installed *in)
{
	const struct stat as = {.st_mode = 0644};
	struct wire_buf text = {0};
	char line[LINE_LENGTH];
	int rc;

	if (in->count == 0)
		return remove_all();
	wire_put_bytes(&text, HEAD "\n", strlen(HEAD) + 1);
	for (size_t i = 0; i < in->count; i++) {
		installed_line_print(&in->changes[i], line, sizeof(line));
		wire_put_bytes(&text, line, strlen(line));
		wire_put_u8(&text, '\n');
	}
	rc = text.failed ? -ENOMEM : whole_file_replace(INSTALLED_FILE, ".homeport-new", &text, &as);
	wire_buf_free(&text);
	return rc;
}

const struct change *installed_find(const struct installed *in, enum change_kind kind, const char *path,
				    const struct change *after)
{
	for (const struct change *c = after ? after + 1 : in->changes; c < in->changes + in->count; c++)
		if (c->kind == kind && strcmp(c->path, path) == 0)
			return c;
	return NULL;
}

static bool same(const struct change *a, const struct change *b)
{
	return a->kind == b->kind && strcmp(a->path, b->path) == 0 && strcmp(a->detail, b->detail) == 0;
}

int installed_add(struct installed *in, const struct change *change)
{
	for (size_t i = 0; i < in->count; i++)
		if (same(&in->changes[i], change))
			return 0;
	if (in->count == CHANGES_MAX)
		return -ENOSPC;
	in->changes[in->count++] = *change;
	return 0;
}

void installed_forget(struct installed *in, const struct change *change, const struct change *but)
{
	const struct change gone = *change; /* it may be one of ours */
	size_t kept = 0;

	for (size_t i = 0; i < in->count; i++) {
		const struct change *c = &in->changes[i];

		if (c->kind == gone.kind && strcmp(c->path, gone.path) == 0 && !(but && same(c, but)))
			continue;
		if (kept != i)
			in->changes[kept] = *c;
		kept++;
	}
	in->count = kept;
}
