/* SPDX-License-Identifier: MIT */
/*
 * The table of stock requests, OpenSSH's extensions, and the requests by path. What each path means: stock_path.h.
 *
 * An error becomes one of version 3's few statuses in one place, with the errno's own words beside it.
 */
#include "sftp_stock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bounds.h"
#include "stock_attrs.h"

enum {
	SSH_FX_OK,
	SSH_FX_EOF,
	SSH_FX_NO_SUCH_FILE,
	SSH_FX_PERMISSION_DENIED,
	SSH_FX_FAILURE,
	SSH_FX_BAD_MESSAGE,
	SSH_FX_OP_UNSUPPORTED = 8,
};

/* ---- replies ---- */

static uint32_t status_of(int error)
{
	switch (error) {
	case 0:
		return SSH_FX_OK;
	case STOCK_EOF:
		return SSH_FX_EOF;
	case -ENOENT:
	case -ENOTDIR:
	case -EBADF:
	case -ELOOP:
		return SSH_FX_NO_SUCH_FILE;
	case -EPERM:
	case -EACCES:
	case -EROFS:
		return SSH_FX_PERMISSION_DENIED;
	case -EBADMSG:
	case -ENAMETOOLONG:
		return SSH_FX_BAD_MESSAGE;
	case -ENOSYS:
		return SSH_FX_OP_UNSUPPORTED;
	default:
		return SSH_FX_FAILURE;
	}
}

void stock_begin(struct sftp_job *job, uint8_t type)
{
	job->out.data[4] = type;
}

void sftp_stock_put_status(struct sftp_job *job, int error)
{
	job->out.failed = false;
	job->out.len = STOCK_REPLY_HEADER;
	stock_begin(job, SSH_FXP_STATUS);
	wire_put_u32(&job->out, status_of(error));
	wire_put_cstring(&job->out, error == 0 ? "Success" : error == STOCK_EOF ? "End of file" : strerror(-error));
	wire_put_cstring(&job->out, "");
}

/* A NAME of one path, as REALPATH and its like answer. */
static int put_path(struct sftp_job *job, const char *path, size_t len)
{
	stock_begin(job, SSH_FXP_NAME);
	wire_put_u32(&job->out, 1);
	wire_put_string(&job->out, path, len);
	wire_put_string(&job->out, path, len);
	wire_put_u32(&job->out, 0);
	return 0;
}

/* ---- paths ---- */

int stock_find_next(struct sftp_job *job, struct wire_reader *in, bool follow, struct stock_found *found)
{
	size_t len;
	const uint8_t *path = wire_get_string(in, &len, SFTP_PACKET_MAX);

	return path ? stock_path_find(job->share, path, len, follow, found) : -EBADMSG;
}

int stock_find_there(struct sftp_job *job, struct wire_reader *in, bool follow, struct stock_found *found)
{
	int r = stock_find_next(job, in, follow, found);

	if (r < 0 || found->fd >= 0)
		return r;
	stock_found_close(found);
	return -ENOENT;
}

int stock_may_alter(const struct stock_found *f, bool folder_ok)
{
	if (!f->name[0])
		return -EBUSY; /* the shared folder itself */
	if (f->protected || f->mask > MASK_FOLDER || (f->mask == MASK_FOLDER && !folder_ok))
		return -EACCES;
	return 0;
}

static int stat_path(struct sftp_job *job, bool follow)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	int r = stock_find_there(job, &in, follow, &f);

	if (r < 0)
		return r;
	stock_begin(job, SSH_FXP_ATTRS);
	stock_attrs_put(&job->out, &f.st.attr);
	stock_found_close(&f);
	return 0;
}

static int stock_stat(struct sftp_job *job)
{
	return stat_path(job, true);
}

static int stock_lstat(struct sftp_job *job)
{
	return stat_path(job, false);
}

static int stock_realpath(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	int r = stock_find_next(job, &in, true, &f);

	if (r < 0)
		return r;
	put_path(job, f.path, strlen(f.path));
	stock_found_close(&f);
	return 0;
}

static int stock_readlink(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	char target[SFTP_PATH_MAX];
	struct stock_found f;
	ssize_t n;
	int r = stock_find_there(job, &in, false, &f);

	if (r < 0)
		return r;
	n = fsop_read_link(f.fd, target, sizeof(target));
	stock_found_close(&f);
	return n < 0 ? (int)n : put_path(job, target, (size_t)n);
}

/* ---- opening ---- */

static uint32_t open_flags(uint32_t pflags)
{
	return (pflags & STOCK_READ ? NATIVE_O_READ : 0) | (pflags & STOCK_WRITE ? NATIVE_O_WRITE : 0) |
	       (pflags & STOCK_APPEND ? NATIVE_O_APPEND : 0) | (pflags & STOCK_TRUNC ? NATIVE_O_TRUNC : 0);
}

/* The file found, or made; its descriptor. */
static int open_found(struct sftp_job *job, const struct stock_found *f, uint32_t pflags, mode_t mode)
{
	bool alters = pflags & (STOCK_WRITE | STOCK_CREAT | STOCK_TRUNC);
	int flags;
	int r = fsop_open_flags(open_flags(pflags), &flags);

	if (r == 0 && alters)
		r = job->share->writable ? stock_may_alter(f, false) : -EROFS;
	if (r < 0)
		return r;
	if (alters)
		sftp_job_changed(job);
	if (f->fd < 0) {
		if (!(pflags & STOCK_CREAT))
			return -ENOENT;
		r = openat(f->dir, f->name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
		return r < 0 ? -errno : r;
	}
	if (pflags & STOCK_CREAT && pflags & STOCK_EXCL)
		return -EEXIST;
	if (f->st.type != DT_REG)
		return f->st.type == DT_DIR ? -EISDIR : -ENXIO;
	return root_reopen(&job->share->root, f->fd, flags);
}

mode_t stock_mode_to_make(const struct sftp_job *job, const struct fsop_set *set, mode_t otherwise)
{
	return (set->mask & NATIVE_SET_MODE ? set->mode : otherwise) & ~(mode_t)job->share->umask;
}

static int stock_open(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	struct fsop_set set;
	struct fsop_stat st;
	uint32_t pflags;
	int fd, r;

	r = stock_find_next(job, &in, true, &f);
	if (r < 0)
		return r;
	pflags = wire_get_u32(&in);
	stock_attrs_get(&in, &set);
	fd = wire_read_done(&in) ? open_found(job, &f, pflags, stock_mode_to_make(job, &set, 0666)) : -EBADMSG;
	if (fd >= 0) {
		r = fsop_stat(&job->share->root, fd, NULL, false, &st);
		if (r == 0)
			r = stock_put_handle(job, fd, &st, open_flags(pflags), f.protected);
		else
			close(fd);
	}
	stock_found_close(&f);
	return fd < 0 ? fd : r;
}

static int stock_opendir(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	int fd, r;

	r = stock_find_there(job, &in, true, &f);
	if (r < 0)
		return r;
	if (f.st.type != DT_DIR)
		r = -ENOTDIR;
	else if (job->share->root.devices[f.st.identity.device].refused)
		r = -EACCES;
	fd = r < 0 ? r : root_reopen(&job->share->root, f.fd, O_RDONLY | O_DIRECTORY);
	r = fd < 0 ? fd : stock_put_handle(job, fd, &f.st, NATIVE_O_READ, f.protected);
	stock_found_close(&f);
	return r;
}

/* ---- OpenSSH's extensions (its PROTOCOL, section 4): the body begins with the extension's name ---- */

struct wire_reader stock_body_after_name(const struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	size_t len;

	wire_get_string(&in, &len, SFTP_PACKET_MAX);
	return in;
}

static int stock_statvfs(struct sftp_job *job)
{
	struct wire_reader in = stock_body_after_name(job);
	struct stock_found f;
	int r = stock_find_there(job, &in, true, &f);

	if (r < 0)
		return r;
	if (job->share->root.devices[f.st.identity.device].refused)
		r = -EACCES;
	else
		r = stock_put_statvfs(job, f.fd);
	stock_found_close(&f);
	return r;
}

static int stock_limits(struct sftp_job *job)
{
	stock_begin(job, SSH_FXP_EXTENDED_REPLY);
	wire_put_u64(&job->out, SFTP_PACKET_MAX);
	wire_put_u64(&job->out, SFTP_DATA_MAX);
	wire_put_u64(&job->out, SFTP_DATA_MAX);
	wire_put_u64(&job->out, SFTP_HANDLES_MAX);
	return 0;
}

/* Whose home it is does not matter: here it is the shared folder. */
static int stock_home(struct sftp_job *job)
{
	return put_path(job, "/", 1);
}

/* "~" and "~name" are the shared folder; the rest is resolved as REALPATH does. */
static int stock_expand_path(struct sftp_job *job)
{
	struct wire_reader in = stock_body_after_name(job);
	size_t len;
	const uint8_t *path = wire_get_string(&in, &len, SFTP_PACKET_MAX);
	struct stock_found f;
	int r;

	if (!path)
		return -EBADMSG;
	if (len && path[0] == '~') {
		const uint8_t *slash = memchr(path, '/', len);

		len = slash ? len - (size_t)(slash - path) : 0;
		path = slash ? slash : path;
	}
	r = stock_path_find(job->share, path, len, true, &f);
	if (r < 0)
		return r;
	put_path(job, f.path, strlen(f.path));
	stock_found_close(&f);
	return 0;
}

/* ---- the tables ---- */

#define HANDLE(name) (4 + sizeof(name) - 1 + 4) /* where a handle stands behind an extension's name */
#define ALTERS       (ROW_STOCK | ROW_MODIFIES)

static const struct sftp_row rows[] = {
	{SSH_FXP_OPEN, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_open},
	{SSH_FXP_CLOSE, ROW_STOCK | ROW_CLOSES, ROW_NONE, 4, ROW_NONE, stock_close},
	{SSH_FXP_READ, ROW_STOCK | ROW_SHARED, ROW_NONE, 4, 20, stock_read},
	{SSH_FXP_WRITE, ALTERS, ROW_NONE, 4, ROW_NONE, stock_write},
	{SSH_FXP_LSTAT, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_lstat},
	{SSH_FXP_FSTAT, ROW_STOCK, ROW_NONE, 4, ROW_NONE, stock_fstat},
	{SSH_FXP_SETSTAT, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_setstat},
	{SSH_FXP_FSETSTAT, ALTERS, ROW_NONE, 4, ROW_NONE, stock_fsetstat},
	{SSH_FXP_OPENDIR, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_opendir},
	{SSH_FXP_READDIR, ROW_STOCK, ROW_NONE, 4, ROW_NONE, stock_readdir},
	{SSH_FXP_REMOVE, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_remove},
	{SSH_FXP_MKDIR, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_mkdir},
	{SSH_FXP_RMDIR, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_rmdir},
	{SSH_FXP_REALPATH, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_realpath},
	{SSH_FXP_STAT, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_stat},
	{SSH_FXP_RENAME, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_rename},
	{SSH_FXP_READLINK, ROW_STOCK, ROW_NONE, ROW_NONE, ROW_NONE, stock_readlink},
	{SSH_FXP_SYMLINK, ALTERS, ROW_NONE, ROW_NONE, ROW_NONE, stock_symlink},
};

#define EXTENSION(name, version, flags, handle_at, run)                             \
	{                                                                           \
		name, version,                                                      \
		{                                                                   \
			SSH_FXP_EXTENDED, flags, ROW_NONE, handle_at, ROW_NONE, run \
		}                                                                   \
	}

static const struct {
	const char *name, *version;
	struct sftp_row row;
} extensions[] = {
	EXTENSION("posix-rename@openssh.com", "1", ALTERS, ROW_NONE, stock_posix_rename),
	EXTENSION("statvfs@openssh.com", "2", ROW_STOCK, ROW_NONE, stock_statvfs),
	EXTENSION("fstatvfs@openssh.com", "2", ROW_STOCK, HANDLE("fstatvfs@openssh.com"), stock_fstatvfs),
	EXTENSION("hardlink@openssh.com", "1", ALTERS, ROW_NONE, stock_hardlink),
	EXTENSION("fsync@openssh.com", "1", ROW_STOCK, HANDLE("fsync@openssh.com"), stock_fsync),
	EXTENSION("lsetstat@openssh.com", "1", ALTERS, ROW_NONE, stock_lsetstat),
	EXTENSION("limits@openssh.com", "1", ROW_STOCK, ROW_NONE, stock_limits),
	EXTENSION("expand-path@openssh.com", "1", ROW_STOCK, ROW_NONE, stock_expand_path),
	EXTENSION("home-directory", "1", ROW_STOCK, ROW_NONE, stock_home),
};
#define EXTENSIONS (sizeof(extensions) / sizeof(extensions[0]))

static const struct sftp_row *extension_row(const struct wire_buf *packet)
{
	struct wire_reader in = wire_reader(packet->data, packet->len);
	const uint8_t *name;
	size_t len;

	wire_get_bytes(&in, 5);
	name = wire_get_string(&in, &len, SFTP_PACKET_MAX);
	for (size_t i = 0; name && i < EXTENSIONS; i++)
		if (strlen(extensions[i].name) == len && memcmp(extensions[i].name, name, len) == 0)
			return &extensions[i].row;
	return NULL;
}

const struct sftp_row *sftp_stock_row(const struct wire_buf *packet)
{
	uint8_t type = packet->data[0];

	if (type == SSH_FXP_EXTENDED)
		return extension_row(packet);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].type == type)
			return &rows[i];
	return NULL;
}

void sftp_stock_put_version(struct wire_buf *out)
{
	size_t mark = wire_put_length_begin(out);

	wire_put_u8(out, SSH_FXP_VERSION);
	wire_put_u32(out, 3);
	for (size_t i = 0; i < EXTENSIONS; i++) {
		wire_put_cstring(out, extensions[i].name);
		wire_put_cstring(out, extensions[i].version);
	}
	wire_put_cstring(out, NATIVE_EXTENSION);
	wire_put_cstring(out, NATIVE_VERSION);
	wire_put_length_end(out, mark);
}
