/* SPDX-License-Identifier: MIT */
/*
 * Stock requests by path that modify. The table refuses them on a read-only share before they get here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bounds.h"
#include "sftp_stock.h"
#include "stock_attrs.h"
#include "virtual_owner.h"

/* A path, and what is to be set of it. */
static int setstat_path(struct sftp_job *job, struct wire_reader *in, bool follow)
{
	struct stock_found f;
	struct fsop_set set;
	int r = stock_find_there(job, in, follow, &f);

	if (r < 0)
		return r;
	stock_attrs_get(in, &set);
	r = !wire_read_done(in) ? -EBADMSG : f.protected ? -EACCES : 0;
	if (r == 0) {
		sftp_job_changed(job);
		r = virtual_owner_set(&job->share->root, f.fd, f.st.type, false, &set);
	}
	stock_found_close(&f);
	return r;
}

int stock_setstat(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);

	return setstat_path(job, &in, true);
}

static int remove_path(struct sftp_job *job, int flag)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	int r = stock_find_there(job, &in, false, &f);

	if (r < 0)
		return r;
	r = stock_may_alter(&f, flag == AT_REMOVEDIR);
	if (r == 0) {
		sftp_job_changed(job);
		r = unlinkat(f.dir, f.name, flag) < 0 ? -errno : 0;
	}
	stock_found_close(&f);
	return r;
}

int stock_remove(struct sftp_job *job)
{
	return remove_path(job, 0);
}

int stock_rmdir(struct sftp_job *job)
{
	return remove_path(job, AT_REMOVEDIR);
}

int stock_mkdir(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct stock_found f;
	struct fsop_set set;
	int r = stock_find_next(job, &in, false, &f);

	if (r < 0)
		return r;
	stock_attrs_get(&in, &set);
	r = wire_read_done(&in) ? 0 : -EBADMSG;
	if (r == 0 && f.fd >= 0)
		r = -EEXIST;
	if (r == 0)
		r = stock_may_alter(&f, true);
	if (r == 0) {
		sftp_job_changed(job);
		r = mkdirat(f.dir, f.name, stock_mode_to_make(job, &set, 0777)) < 0 ? -errno : 0;
	}
	stock_found_close(&f);
	return r;
}

/* Two paths, both of whose names may be altered, and what is done with them. */
static int with_two(struct sftp_job *job, struct wire_reader *in, bool from_follows,
		    int (*act)(struct sftp_job *, const struct stock_found *, const struct stock_found *))
{
	struct stock_found from, to;
	int r = stock_find_there(job, in, from_follows, &from);

	if (r < 0)
		return r;
	r = stock_find_next(job, in, false, &to);
	if (r == 0) {
		r = wire_read_done(in) ? stock_may_alter(&from, false) : -EBADMSG;
		if (r == 0)
			r = stock_may_alter(&to, false);
		if (r == 0) {
			sftp_job_changed(job);
			r = act(job, &from, &to);
		}
		stock_found_close(&to);
	}
	stock_found_close(&from);
	return r;
}

static int act_rename(struct sftp_job *job, const struct stock_found *from, const struct stock_found *to)
{
	return renameat2(from->dir, from->name, to->dir, to->name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int act_replace(struct sftp_job *job, const struct stock_found *from, const struct stock_found *to)
{
	return renameat(from->dir, from->name, to->dir, to->name) < 0 ? -errno : 0;
}

static int act_link(struct sftp_job *job, const struct stock_found *from, const struct stock_found *to)
{
	if (from->st.type == DT_DIR)
		return -EPERM;
	return fsop_link(&job->share->root, from->fd, to->dir, to->name);
}

int stock_rename(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);

	return with_two(job, &in, false, act_rename);
}

/* OpenSSH sends the target first, against the draft (its PROTOCOL, section 4.1), and so does everybody since. */
int stock_symlink(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	size_t len;
	const uint8_t *p = wire_get_string(&in, &len, SFTP_PACKET_MAX);
	char target[SFTP_PATH_MAX];
	struct stock_found f;
	int r;

	if (!p)
		return -EBADMSG;
	if (len >= sizeof(target))
		return -ENAMETOOLONG;
	if (len == 0 || memchr(p, '\0', len))
		return -EINVAL;
	memcpy(target, p, len);
	target[len] = '\0';
	r = stock_find_next(job, &in, false, &f);
	if (r < 0)
		return r;
	r = !wire_read_done(&in) ? -EBADMSG : f.fd >= 0 ? -EEXIST : stock_may_alter(&f, false);
	if (r == 0) {
		sftp_job_changed(job);
		r = symlinkat(target, f.dir, f.name) < 0 ? -errno : 0;
	}
	stock_found_close(&f);
	return r;
}

int stock_posix_rename(struct sftp_job *job)
{
	struct wire_reader in = stock_body_after_name(job);

	return with_two(job, &in, false, act_replace);
}

int stock_hardlink(struct sftp_job *job)
{
	struct wire_reader in = stock_body_after_name(job);

	return with_two(job, &in, false, act_link);
}

int stock_lsetstat(struct sftp_job *job)
{
	struct wire_reader in = stock_body_after_name(job);

	return setstat_path(job, &in, false);
}
