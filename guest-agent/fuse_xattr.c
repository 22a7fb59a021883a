/* SPDX-License-Identifier: MIT */
/*
 * Requests about extended attributes: passed to the host, and never kept. What a guest does not have at all
 * (xattr_name.h) is answered here at once: the kernel asks for security.capability before each write. POSIX ACLs are
 * fuse_acl.c's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse_acl.h"
#include "fuse_call.h"
#include "fuse_ops.h"
#include "xattr_name.h"

/* A call about the attribute `name` (NULL: about all of them). NULL: it was answered already. */
static struct call *xattr_call_new(fuse_req_t req, fuse_ino_t ino, const char *name, bool write, call_fn *issue)
{
	const struct mount *m = fuse_req_userdata(req);
	int r = name ? xattr_name_check(name, write, m->acl) : 0;
	struct call *call = r == 0 ? call_new(req, ino, issue) : NULL;

	if (r < 0)
		fuse_reply_err(req, -r);
	if (!call || !name)
		return call;
	call->name = strdup(name);
	if (call->name)
		return call;
	call_reply_err(call, ENOMEM);
	return NULL;
}

/* ----------------------------------------------------------------------------------------------- getxattr, listxattr
 */

static void value_reply(struct call *call, uint32_t length, const uint8_t *value)
{
	if (call->req && !call->xattr.size)
		fuse_reply_xattr(call->req, length);
	else if (call->req)
		fuse_reply_buf(call->req, (const char *)value, length);
	call_free(call);
}

static void value_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	const uint8_t *value;
	uint32_t length;
	size_t len;

	if (call_reply_failed(call, reply))
		return;
	length = wire_get_u32(&r);
	value = wire_get_string(&r, &len, call->xattr.size);
	if (!wire_read_done(&r) || (call->xattr.size && len != length))
		call_reply_malformed(call);
	else
		value_reply(call, length, value);
}

static void getxattr_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_GETXATTR);

	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	wire_put_u32(b, (uint32_t)call->xattr.size);
	call_send(call, value_done);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct call *call = xattr_call_new(req, ino, name, false, getxattr_issue);

	if (!call)
		return;
	call->xattr.size = size;
	if (xattr_name_is_acl(name))
		call->issue = acl_get_issue;
	if (!call->share)
		call_reply_err(call, ENODATA);
	else
		call_start(call);
}

static void listxattr_issue(struct call *call)
{
	struct wire_buf *b = call_begin(call, NATIVE_LISTXATTR);

	wire_put_u64(b, call->node->server);
	wire_put_u32(b, (uint32_t)call->xattr.size);
	call_send(call, value_done);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct call *call = xattr_call_new(req, ino, NULL, false, listxattr_issue);

	if (!call)
		return;
	call->xattr.size = size;
	if (!call->share)
		value_reply(call, 0, NULL);
	else
		call_start(call);
}

/* ---------------------------------------------------------------------------------------------- setxattr, removexattr
 */

static void change_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_change change;

	if (call_take_change(call, reply, &change))
		call_reply_err(call, 0);
}

static void setxattr_issue(struct call *call)
{
	struct wire_buf *b = call_begin_modifying(call, NATIVE_SETXATTR);

	attr_memory_drop(&call->mount->attrs, call->node->id);
	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	wire_put_string(b, call->xattr.value, call->xattr.size);
	wire_put_u32(b, call->xattr.flags);
	call_send(call, change_done);
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct call *call = xattr_call_new(req, ino, name, true, setxattr_issue);

	if (!call)
		return;
	call->other_name = malloc(size + 1);
	if (!call->other_name) {
		call_reply_err(call, ENOMEM);
		return;
	}
	memcpy(call->other_name, value, size);
	call->xattr.value = call->other_name;
	call->xattr.size = size;
	call->xattr.flags = (uint32_t)flags & NATIVE_XATTR_FLAGS;
	if (call->mount->raw == RAW_ACL_KILL_SGID)
		call->xattr.flags |= NATIVE_XATTR_KILL_SGID;
	if (xattr_name_is_acl(name))
		call->issue = acl_change_issue;
	call_start(call);
}

static void removexattr_issue(struct call *call)
{
	struct wire_buf *b = call_begin_modifying(call, NATIVE_REMOVEXATTR);

	attr_memory_drop(&call->mount->attrs, call->node->id);
	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	call_send(call, change_done);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct call *call = xattr_call_new(req, ino, name, true, removexattr_issue);

	if (!call)
		return;
	if (xattr_name_is_acl(name))
		call->issue = acl_change_issue;
	call_start(call);
}
