/* SPDX-License-Identifier: MIT */
/*
 * Folders, and files that are ours as a whole: this program, its manual, its unit. A file that somebody else put there,
 * or changed since, is neither replaced nor removed: the hash of what was written says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "change.h"
#include "embedded.h"
#include "fnv.h"
#include "installed.h"
#include "notify.h"
#include "run_program.h"
#include "whole_file.h"

#define FILE_MAX    (64u << 20)
#define HASH_DIGITS 16

/* ------------------------------------------------------------------------------------------------------------ folders
 */

static enum change_verdict folder_look(const struct change *c, const struct installed *in, char *why)
{
	struct stat st;

	(void)in;
	if (stat(c->path, &st) < 0)
		return CHANGE_DO;
	if (S_ISDIR(st.st_mode))
		return CHANGE_NOTHING;
	change_fail(why, ENOTDIR, "%s: is no folder: remove it first", c->path);
	return CHANGE_REFUSE;
}

static enum change_verdict folder_look_undo(const struct change *c, const struct installed *in, char *why)
{
	struct stat st;

	(void)in;
	(void)why;
	return lstat(c->path, &st) == 0 ? CHANGE_DO : CHANGE_NOTHING;
}

static void folder_tell(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: made, a folder\n", c->path);
}

static void folder_tell_undo(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: removed, if it is empty\n", c->path);
}

static int folder_make(const struct change *c, char *why)
{
	if ((mkdir(c->path, 0755) < 0 && errno != EEXIST) || chmod(c->path, 0755) < 0)
		return change_fail(why, errno, "%s: %s", c->path, strerror(errno));
	return whole_file_sync_folder(c->path);
}

static int folder_undo(const struct change *c, char *why)
{
	if (rmdir(c->path) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
		return change_fail(why, errno, "%s: %s", c->path, strerror(errno));
	return 0;
}

const struct change_row change_folder = {
	.name = "folder",
	.look = folder_look,
	.look_undo = folder_look_undo,
	.tell = folder_tell,
	.tell_undo = folder_tell_undo,
	.make = folder_make,
	.undo = folder_undo,
};

/* -------------------------------------------------------------------------------------------------------------- files
 */

static int read_self(struct wire_buf *data)
{
	struct stat st;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = whole_file_read_fd(fd, FILE_MAX, &st, data);
	close(fd);
	return rc;
}

static const struct text_file {
	const char *path, *text, *what; /* the path, or how that of a drop-in begins */
} texts[] = {
	{CHANGE_MANUAL_PATH, embedded_manual, "its manual"},
	{CHANGE_UNIT_PATH, embedded_unit, "its systemd unit"},
	{CHANGE_HARDENED_PATH, embedded_hardened, "what keeps its service in"},
	{CHANGE_SOCKET_PATH, embedded_helper_socket, "the socket of its helper"},
	{CHANGE_HELPER_PATH, embedded_helper_unit, "the unit of its helper"},
};

static bool is_hardened(const char *path)
{
	size_t len = strlen(path), start = strlen(CHANGE_HARDENED_PATH), end = strlen(CHANGE_HARDENED_END);

	return len > start + end && strncmp(path, CHANGE_HARDENED_PATH, start) == 0 &&
	       strcmp(path + len - end, CHANGE_HARDENED_END) == 0;
}

/* NULL: the program, or what another version wrote. */
static const struct text_file *text_of(const struct change *c)
{
	const char *path = is_hardened(c->path) ? CHANGE_HARDENED_PATH : c->path;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(texts[i].path, path) == 0)
			return &texts[i];
	return NULL;
}

/* What the file holds when it is installed. The caller frees it. */
static int content(const struct change *c, struct wire_buf *data)
{
	const struct text_file *text = text_of(c);

	if (!text)
		return read_self(data);
	wire_put_bytes(data, text->text, strlen(text->text));
	return data->failed ? -ENOMEM : 0;
}

static mode_t file_mode(const struct change *c)
{
	return c->kind == CHANGE_PROGRAM ? 0755 : 0644;
}

static void put_hash(const struct wire_buf *data, char *text)
{
	snprintf(text, HASH_DIGITS + 1, "%016" PRIx64, fnv1a(FNV1A_START, data->data, data->len));
}

int change_file_prepare(struct change *c)
{
	struct wire_buf data = {0};
	int rc = c->kind == CHANGE_UNIT && !text_of(c) ? -ENOENT : content(c, &data);

	if (rc == 0)
		put_hash(&data, c->detail);
	wire_buf_free(&data);
	return rc;
}

/* The hash of what is there; 0 or a negative errno. */
static int found(const struct change *c, struct stat *st, char hash[HASH_DIGITS + 1])
{
	struct wire_buf data = {0};
	int rc = whole_file_read(c->path, FILE_MAX, st, &data);

	if (rc == 0)
		put_hash(&data, hash);
	wire_buf_free(&data);
	return rc;
}

/* Whether one of our installs wrote what has this hash. */
static bool is_ours(const struct change *c, const struct installed *in, const char *hash)
{
	const struct change *one = NULL;

	while ((one = installed_find(in, c->kind, c->path, one)))
		if (strcmp(one->detail, hash) == 0)
			return true;
	return false;
}

static enum change_verdict file_look(const struct change *c, const struct installed *in, char *why)
{
	char hash[HASH_DIGITS + 1];
	struct stat st;
	int rc = found(c, &st, hash);

	if (rc == -ENOENT)
		return CHANGE_DO;
	if (rc == 0 && strcmp(hash, c->detail) == 0 && st.st_uid == 0 && (st.st_mode & 07777) == file_mode(c))
		return CHANGE_NOTHING;
	if (rc == 0 && is_ours(c, in, hash))
		return CHANGE_DO;
	if (rc == 0 || rc == -ELOOP || rc == -EINVAL)
		change_fail(why, EEXIST,
			    "%s: another one is there, which is not of `homeport guest install`, or was "
			    "changed since: remove it first",
			    c->path);
	else
		change_fail(why, -rc, "%s: %s", c->path, strerror(-rc));
	return CHANGE_REFUSE;
}

static enum change_verdict file_look_undo(const struct change *c, const struct installed *in, char *why)
{
	char hash[HASH_DIGITS + 1];
	struct stat st;
	int rc = found(c, &st, hash);

	if (rc == -ENOENT)
		return CHANGE_NOTHING;
	if (rc == 0 && is_ours(c, in, hash))
		return CHANGE_DO;
	change_fail(why, EEXIST, "%s: stays: it was changed since it was installed", c->path);
	return CHANGE_KEEP;
}

static void file_tell(const struct change *c, FILE *out)
{
	const struct text_file *text = text_of(c);

	fprintf(out, "  %s: written, %s (root's, mode 0%o)\n", c->path, text ? text->what : "this program",
		(unsigned)file_mode(c));
}

static void file_tell_undo(const struct change *c, FILE *out)
{
	fprintf(out, "  %s: removed\n", c->path);
}

static int file_make(const struct change *c, char *why)
{
	const struct stat as = {.st_mode = file_mode(c)};
	struct wire_buf data = {0};
	int rc = content(c, &data);

	if (rc == 0)
		rc = whole_file_replace(c->path, ".homeport-new", &data, &as);
	wire_buf_free(&data);
	return rc < 0 ? change_fail(why, -rc, "%s: %s", c->path, strerror(-rc)) : 0;
}

static int file_undo(const struct change *c, char *why)
{
	if (unlink(c->path) < 0 && errno != ENOENT)
		return change_fail(why, errno, "%s: %s", c->path, strerror(errno));
	return whole_file_sync_folder(c->path);
}

#define FILE_ROW(in_record, made, undone)                                                             \
	{                                                                                             \
		.name = in_record, .look = file_look, .look_undo = file_look_undo, .tell = file_tell, \
		.tell_undo = file_tell_undo, .make = made, .undo = undone,                            \
	}

const struct change_row change_program = FILE_ROW("program", file_make, file_undo);
const struct change_row change_manual = FILE_ROW("manual", file_make, file_undo);

/* ---------------------------------------------------------------------------------------------------------- the unit
 */

/* systemd has read the units long ago. */
static int reload_units(int rc, char *why)
{
	const char *const argv[] = {"systemctl", "daemon-reload", NULL};
	char said[RUN_PROGRAM_SAID];

	if (rc < 0 || !notify_booted() || run_program(argv, said) == 0)
		return rc;
	said[strcspn(said, "\n")] = '\0';
	return change_fail(why, EIO, "systemctl daemon-reload: %s", said);
}

static int unit_make(const struct change *c, char *why)
{
	return reload_units(file_make(c, why), why);
}

static int unit_undo(const struct change *c, char *why)
{
	return reload_units(file_undo(c, why), why);
}

const struct change_row change_unit = FILE_ROW("unit", unit_make, unit_undo);
