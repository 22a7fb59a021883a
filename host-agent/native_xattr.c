/* SPDX-License-Identifier: MIT */
/*
 * The native requests about extended attributes. Which names there are for a guest says xattr_name.h; what is wrong
 * with the rest, and how long a value may be, says the file system below.
 *
 * A node's descriptor is O_PATH, which f*xattr(2) do not take: the calls go by its entry in /proc, which leads to the
 * very inode, a symlink's own too. Landlock leaves them alone; seccomp forbids those that change a read-only share.
 */
#include "sftp_native.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "xattr_name.h"

#define NAME_MAX_BYTES  255u        /* linux/limits.h, XATTR_NAME_MAX */
#define VALUE_MAX_BYTES (64u << 10) /* XATTR_SIZE_MAX and XATTR_LIST_MAX */

/* The node, and the attribute of it that is meant. */
struct xattr_place {
	struct node_info info;
	struct fd_ref ref;
	char path[32];
	char name[NAME_MAX_BYTES + 1];
};

static int read_name(struct wire_reader *in, char name[NAME_MAX_BYTES + 1])
{
	size_t len;
	const uint8_t *p = wire_get_string(in, &len, SFTP_PACKET_MAX);

	if (!p)
		return -EBADMSG;
	if (len == 0 || len > NAME_MAX_BYTES)
		return -ERANGE;
	if (memchr(p, '\0', len))
		return -EINVAL;
	memcpy(name, p, len);
	name[len] = '\0';
	return 0;
}

static int place_get(struct sftp_job *job, uint64_t node, struct xattr_place *p)
{
	int r = share_node_get(job->share, node, true, &p->info, &p->ref);

	if (r == 0)
		snprintf(p->path, sizeof(p->path), "/proc/self/fd/%d", p->ref.fd);
	return r;
}

/* Puts how long it is, and (where asked for) what lies reserved behind: n bytes. */
static int put_value(struct sftp_job *job, uint32_t size, size_t n)
{
	if (size && n > size)
		return -ERANGE;
	wire_poke_u32(job->out.data + NATIVE_REPLY_HEADER, (uint32_t)n);
	wire_poke_u32(job->out.data + NATIVE_REPLY_HEADER + 4, size ? (uint32_t)n : 0);
	job->out.len += size ? n : 0;
	return 0;
}

/* Room in the reply for a value behind its two lengths; NULL: out of memory. */
static uint8_t *reserve_value(struct sftp_job *job)
{
	wire_put_u64(&job->out, 0);
	return wire_buf_reserve(&job->out, VALUE_MAX_BYTES);
}

int native_getxattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	struct xattr_place p;
	int r = read_name(&in, p.name);
	uint32_t size = wire_get_u32(&in);
	uint8_t *value;
	ssize_t n;

	if (r < 0 || !wire_read_done(&in))
		return r < 0 ? r : -EBADMSG;
	r = xattr_name_check(p.name, false, job->share->acl);
	if (r == 0)
		r = place_get(job, node, &p);
	if (r < 0)
		return r;
	value = reserve_value(job);
	n = value ? getxattr(p.path, p.name, value, VALUE_MAX_BYTES) : 0;
	r = !value ? -ENOMEM : n < 0 ? -errno : put_value(job, size, (size_t)n);
	share_node_put(job->share, &p.ref);
	return r;
}

/* Leaves of a list of names those that are the guest's; how long it is then. */
static size_t keep_names(char *list, size_t len, bool acl)
{
	size_t kept = 0;

	for (size_t at = 0; at < len;) {
		size_t n = strnlen(list + at, len - at) + 1;

		if (at + n > len)
			break;
		if (xattr_name_check(list + at, false, acl) == 0) {
			memmove(list + kept, list + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

int native_listxattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	uint64_t node = wire_get_u64(&in);
	uint32_t size = wire_get_u32(&in);
	struct xattr_place p;
	uint8_t *list;
	ssize_t n;
	int r;

	if (!wire_read_done(&in))
		return -EBADMSG;
	r = place_get(job, node, &p);
	if (r < 0)
		return r;
	list = reserve_value(job);
	n = list ? listxattr(p.path, (char *)list, VALUE_MAX_BYTES) : 0;
	r = !list   ? -ENOMEM
	    : n < 0 ? -errno
		    : put_value(job, size, keep_names((char *)list, (size_t)n, job->share->acl));
	share_node_put(job->share, &p.ref);
	return r;
}

/* As the kernel does for an ACL that is set by who has neither the file's group nor a privilege, which we have. */
static int drop_sgid(const struct root *root, const struct xattr_place *p)
{
	struct fsop_set set = {.mask = NATIVE_SET_MODE};
	struct stat st;

	if (!root->privileged || strcmp(p->name, XATTR_ACL_ACCESS) != 0)
		return 0;
	if (fstatat(p->ref.fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	set.mode = st.st_mode & 07777 & ~(mode_t)S_ISGID;
	return st.st_mode & S_ISGID ? fsop_set(root, p->ref.fd, p->info.type, false, &set) : 0;
}

static int set_value(const struct root *root, const struct xattr_place *p, const uint8_t *value, size_t len,
		     uint32_t flags)
{
	if (setxattr(p->path, p->name, value, len, (int)(flags & NATIVE_XATTR_FLAGS)) < 0)
		return -errno;
	return flags & NATIVE_XATTR_KILL_SGID ? drop_sgid(root, p) : 0;
}

/* Sets the attribute, or removes it where there is no value. */
static int change_xattr(struct sftp_job *job, uint64_t node, struct xattr_place *p, const uint8_t *value, size_t len,
			uint32_t flags)
{
	struct root *root = &job->share->root;
	struct sftp_change change;
	int r = xattr_name_check(p->name, true, job->share->acl);

	if (r == 0)
		r = place_get(job, node, p);
	if (r < 0)
		return r;
	r = p->info.flags & NODE_PROTECTED ? -EACCES : fsop_change_before(root, p->ref.fd, &change);
	if (r == 0) {
		if (value)
			r = set_value(root, p, value, len, flags);
		else
			r = removexattr(p->path, p->name) < 0 ? -errno : 0;
		sftp_job_changed(job);
	}
	if (r == 0)
		r = fsop_change_after(root, p->ref.fd, &change);
	if (r == 0)
		sftp_change_put(&job->out, &change);
	share_node_put(job->share, &p->ref);
	return r;
}

int native_setxattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct sftp_caller caller;
	struct xattr_place p;
	const uint8_t *value;
	uint32_t flags;
	uint64_t node;
	size_t len;
	int r;

	sftp_caller_get(&in, &caller);
	node = wire_get_u64(&in);
	r = read_name(&in, p.name);
	value = wire_get_string(&in, &len, SFTP_PACKET_MAX);
	flags = wire_get_u32(&in);
	if (r < 0 || !wire_read_done(&in))
		return r < 0 ? r : -EBADMSG;
	if (flags & ~(uint32_t)(NATIVE_XATTR_FLAGS | NATIVE_XATTR_KILL_SGID))
		return -EINVAL;
	if (len > VALUE_MAX_BYTES)
		return -E2BIG;
	return change_xattr(job, node, &p, value, len, flags);
}

int native_removexattr(struct sftp_job *job)
{
	struct wire_reader in = job_body(job);
	struct sftp_caller caller;
	struct xattr_place p;
	uint64_t node;
	int r;

	sftp_caller_get(&in, &caller);
	node = wire_get_u64(&in);
	r = read_name(&in, p.name);
	if (r < 0 || !wire_read_done(&in))
		return r < 0 ? r : -EBADMSG;
	return change_xattr(job, node, &p, NULL, 0, 0);
}
