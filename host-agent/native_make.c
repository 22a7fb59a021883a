/* SPDX-License-Identifier: MIT */
/*
 * The native requests that make something: its name is looked at, it is made, given to its caller, and answered with
 * its node, its attributes and the folder's change.
 */
#include "sftp_native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bounds.h"
#include "owner_record.h"
#include "virtual_owner.h"
#include "xattr_name.h"

uint32_t native_mode(int folder, uint32_t umask, uint32_t mode)
{
	char path[32];

	if (!(mode & umask))
		return mode;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", folder);
	return getxattr(path, XATTR_ACL_DEFAULT, NULL, 0) > 0 ? mode : mode & ~(umask & 0777u);
}

uint32_t native_mode_to_make(const struct sftp_job *job, const struct native_made *made)
{
	return job->share->root.virtual_owners ? owner_record_host_mode(made->mode) : made->mode;
}

/* By a descriptor, not the name, which may be another's by now. */
int native_give_to_caller(struct sftp_job *job, const struct sftp_attr *folder, const struct sftp_caller *caller,
			  int fd, const struct native_made *made)
{
	struct fsop_set set = {.mask = NATIVE_SET_MODE};
	gid_t gid = folder->mode & S_ISGID ? (gid_t)-1 : caller->gid;
	struct stat st;

	if (job->share->root.virtual_owners)
		return virtual_owner_give(fd, folder, caller, made->mode, made->rdev_major, made->rdev_minor);
	if (!job->share->root.privileged)
		return 0;
	/* What is ours already stays as it was born, with one time for all its times. */
	if ((caller->uid != geteuid() || (gid != (gid_t)-1 && gid != getegid())) &&
	    fchownat(fd, "", caller->uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return -errno;
	if (!(made->mode & (S_ISUID | S_ISGID)))
		return 0;
	/* The permissions may be those of the folder's default ACL. */
	if (fstatat(fd, "", &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return -errno;
	set.mode = (made->mode & 07000u) | (st.st_mode & 0777u);
	return fsop_set(&job->share->root, fd, IFTODT(made->mode), true, &set);
}

/* Finds out about the folder's mode once, before something is made in it. */
static int place_for_making(struct sftp_job *job, struct native_place *p, bool folder_ok)
{
	int r = native_place_get(job, p, folder_ok);

	if (r < 0)
		return r;
	r = fsop_change_after(&job->share->root, p->ref.fd, &p->change);
	if (r < 0)
		share_node_put(job->share, &p->ref);
	return r;
}

/* What cannot be its caller's must not be there: its name goes again, if it is still its own. */
static int give_or_unmake(struct sftp_job *job, const struct native_place *p, int fd, const struct native_made *made)
{
	struct stat mine, named;
	int r = native_give_to_caller(job, &p->change.after, &p->caller, fd, made);

	if (r < 0 && fstatat(fd, "", &mine, AT_EMPTY_PATH) == 0 &&
	    fstatat(p->ref.fd, p->name, &named, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_ino == named.st_ino &&
	    mine.st_dev == named.st_dev)
		unlinkat(p->ref.fd, p->name, S_ISDIR(mine.st_mode) ? AT_REMOVEDIR : 0);
	return r;
}

static int give_name_to_caller(struct sftp_job *job, const struct native_place *p, const struct native_made *made)
{
	int r, fd;

	if (!job->share->root.privileged && !job->share->root.virtual_owners)
		return 0;
	fd = root_open_beneath(p->ref.fd, p->name, O_PATH);
	if (fd < 0)
		return fd;
	r = give_or_unmake(job, p, fd, made);
	close(fd);
	return r;
}

/* The reply of what was just made by name: its node, attributes, and the folder's change. */
static int put_made(struct sftp_job *job, struct native_place *p, const struct native_made *made, int r)
{
	if (r == 0) {
		sftp_job_changed(job);
		r = give_name_to_caller(job, p, made);
	}
	if (r == 0)
		r = native_put_found(job, p->node, &p->info, p->ref.fd, p->name, MASK_NONE, p->attr_flags);
	return native_place_put(job, p, r);
}

int native_symlink(struct sftp_job *job)
{
	static const struct native_made made = {.mode = S_IFLNK};
	char target[SFTP_PATH_MAX + 1];
	struct native_place place;
	struct wire_reader in;
	size_t len;
	int r = native_place_begin(job, &in, &place);
	const uint8_t *p = wire_get_string(&in, &len, SFTP_PACKET_MAX);

	r = native_body_end(&in, r);
	if (r < 0)
		return r;
	if (len == 0 || memchr(p, '\0', len))
		return -EINVAL;
	if (len >= SFTP_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(target, p, len);
	target[len] = '\0';
	r = place_for_making(job, &place, false);
	if (r < 0)
		return r;
	r = symlinkat(target, place.ref.fd, place.name) < 0 ? -errno : 0;
	return put_made(job, &place, &made, r);
}

int native_mkdir(struct sftp_job *job)
{
	struct native_place place;
	struct wire_reader in;
	int r = native_place_begin(job, &in, &place);
	uint32_t umask = wire_get_u16(&in), mode = wire_get_u16(&in);
	struct native_made made;

	r = native_body_end(&in, r);
	if (r == 0)
		r = place_for_making(job, &place, true);
	if (r < 0)
		return r;
	made = (struct native_made){.mode = S_IFDIR | (native_mode(place.ref.fd, umask, mode) & 07777)};
	r = mkdirat(place.ref.fd, place.name, native_mode_to_make(job, &made) & 07777) < 0 ? -errno : 0;
	/* A folder takes after the one it is in. */
	if (root_folds(&job->share->root, place.info.identity.device, place.ref.fd))
		place.attr_flags = SFTP_ATTR_FOLDS;
	return put_made(job, &place, &made, r);
}

/* Which kinds there are to be made; what the host's kernel lets us make of them is its own affair. */
static bool can_be_made(uint32_t mode)
{
	return S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

/* FIFOs, sockets and devices are names alone here: whoever opens one is the guest's kernel. */
int native_mknod(struct sftp_job *job)
{
	struct native_place place;
	struct native_made made;
	struct wire_reader in;
	int r = native_place_begin(job, &in, &place);
	uint32_t umask = wire_get_u16(&in);

	made.mode = wire_get_u16(&in);
	made.rdev_major = wire_get_u32(&in);
	made.rdev_minor = wire_get_u32(&in);
	r = native_body_end(&in, r);
	if (r == 0 && !can_be_made(made.mode))
		r = -EINVAL;
	if (r == 0)
		r = place_for_making(job, &place, false);
	if (r < 0)
		return r;
	made.mode = native_mode(place.ref.fd, umask, made.mode);
	r = mknodat(place.ref.fd, place.name, native_mode_to_make(job, &made),
		    makedev(made.rdev_major, made.rdev_minor));
	return put_made(job, &place, &made, r < 0 ? -errno : 0);
}

int native_link(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct node_info info;
	struct native_place place;
	struct fd_ref ref;
	uint64_t node;
	int r;

	sftp_caller_get(&in, &place.caller);
	node = wire_get_u64(&in);
	r = native_body_end(&in, native_place_read(&in, &place));
	if (r == 0)
		r = share_node_get(job->share, node, true, &info, &ref);
	if (r < 0)
		return r;
	/* A second name would be a way around what protects the first. */
	r = info.flags & NODE_PROTECTED ? -EACCES : info.type == DT_DIR ? -EPERM : native_place_get(job, &place, false);
	if (r == 0) {
		r = fsop_link(&job->share->root, ref.fd, place.ref.fd, place.name);
		if (r == 0) {
			sftp_job_changed(job);
			r = native_put_found(job, place.node, &place.info, place.ref.fd, place.name, MASK_NONE, 0);
			if (info.flags & NODE_KEPT)
				share_node_unkeep(job->share, &info.identity);
		}
		r = native_place_put(job, &place, r);
	}
	share_node_put(job->share, &ref);
	return r;
}

/* An existing file, opened as OPEN would: found by O_PATH first, so that nothing but a regular file is. */
static int create_existing(struct sftp_job *job, const struct native_place *p, int flags)
{
	struct fsop_stat st;
	int fd = root_open_beneath(p->ref.fd, p->name, O_PATH);
	int r;

	if (fd < 0)
		return fd;
	r = fsop_stat(&job->share->root, fd, NULL, false, &st);
	/* Whatever else it is, the client has to look it up: it follows links, and opens FIFOs, itself. */
	if (r == 0 && st.type != DT_REG)
		r = st.type == DT_DIR ? -EISDIR : -ESTALE;
	if (r == 0)
		r = root_reopen(&job->share->root, fd, flags);
	close(fd);
	if (r >= 0 && flags & O_TRUNC)
		native_drop_set_id(job, &p->caller, r);
	return r;
}

static int create_file(struct sftp_job *job, const struct native_place *p, uint32_t flags, uint32_t mode)
{
	const struct native_made made = {.mode = S_IFREG | (mode & 07777)};
	int open_flags, fd, r;

	r = fsop_open_flags(flags, &open_flags);
	if (r < 0)
		return r;
	/* ENOENT: an existing one went just now; once more, then it is the caller's turn. */
	for (int tries = 0; tries < 2; tries++) {
		fd = openat(p->ref.fd, p->name, open_flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
			    native_mode_to_make(job, &made) & 07777);
		if (fd >= 0) {
			r = give_or_unmake(job, p, fd, &made);
			if (r == 0)
				return fd;
			close(fd);
			return r;
		}
		if (errno != EEXIST || flags & NATIVE_O_EXCL)
			return -errno;
		fd = create_existing(job, p, open_flags);
		if (fd != -ENOENT)
			return fd;
	}
	return fd;
}

int native_put_opened(struct sftp_job *job, uint64_t node, const struct fsop_stat *st, int fd, uint32_t flags)
{
	struct node_info info = {.identity = st->identity, .type = st->type};
	struct handle *handle;
	int r = share_handle_open(job->share, fd, node, &info, flags, &handle);

	if (r < 0) {
		share_node_forget(job->share, node, 1);
		return r;
	}
	wire_put_u64(&job->out, node);
	sftp_attr_put(&job->out, &st->attr);
	wire_put_u64(&job->out, handle->fh);
	share_handle_put(job->share, handle);
	return 0;
}

/* Of the descriptor, not the name, which may be another's by now. */
static int put_created(struct sftp_job *job, const struct native_place *p, int fd, uint32_t flags)
{
	struct share *share = job->share;
	struct fsop_stat st;
	uint64_t node;
	int r = fsop_stat(&share->root, fd, NULL, false, &st);

	if (r == 0)
		r = nodes_look_up(share->nodes, p->node, p->name, &st.identity, st.type, 0, &node);
	if (r < 0) {
		close(fd);
		return r;
	}
	return native_put_opened(job, node, &st, fd, flags);
}

int native_create(struct sftp_job *job)
{
	struct native_place place;
	struct wire_reader in;
	int r = native_place_begin(job, &in, &place);
	uint32_t flags = wire_get_u32(&in);
	uint32_t umask = wire_get_u16(&in), mode = wire_get_u16(&in);

	r = native_body_end(&in, r);
	if (r == 0)
		r = place_for_making(job, &place, false);
	if (r < 0)
		return r;
	mode = native_mode(place.ref.fd, umask, mode);
	r = create_file(job, &place, flags, mode);
	if (r >= 0) {
		sftp_job_changed(job);
		r = put_created(job, &place, r, flags);
	}
	return native_place_put(job, &place, r);
}
