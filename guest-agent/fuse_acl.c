/* SPDX-License-Identifier: MIT */
/* Requests about POSIX ACLs. See fuse_acl.h. */
#include "fuse_acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "fuse_call.h"

/* An ACL of the host's, out of GETXATTR's answer. */
struct told {
	const uint8_t *acl; /* NULL: there is none */
	size_t len;
};

/* 0; -EPROTO: it is malformed; or why there is no answer. */
static int told_get(const struct sftp_reply *reply, struct told *told)
{
	struct wire_reader r = reply->body;
	uint32_t length;

	*told = (struct told){0};
	/* A file system without ACLs has none: the kernel would take any other error for a refusal. */
	if (reply->error == ENODATA || reply->error == EOPNOTSUPP)
		return 0;
	if (reply->error)
		return -reply->error;
	length = wire_get_u32(&r);
	told->acl = wire_get_string(&r, &told->len, ACL_BYTES_MAX);
	return wire_read_done(&r) && told->len == length ? 0 : -EPROTO;
}

static void ask(struct call *call, call_done_fn *done)
{
	struct wire_buf *b = call_begin(call, NATIVE_GETXATTR);

	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	wire_put_u32(b, ACL_BYTES_MAX);
	call_send(call, done);
}

/* ------------------------------------------------------------------------------------------------------------ get */

static void get_reply(struct call *call, const uint8_t *acl, size_t len)
{
	if (call->xattr.size && len > call->xattr.size) {
		call_reply_err(call, ERANGE);
		return;
	}
	if (call->req && !call->xattr.size)
		fuse_reply_xattr(call->req, len);
	else if (call->req)
		fuse_reply_buf(call->req, (const char *)acl, len);
	call_free(call);
}

static void get_done(struct call *call, const struct sftp_reply *reply)
{
	struct told told;
	int rc = told_get(reply, &told);
	uint8_t *acl;
	ssize_t len;

	if (rc == -EPROTO) {
		call_reply_malformed(call);
		return;
	}
	acl = rc == 0 && told.acl ? malloc(told.len + 1) : NULL;
	if (!acl) {
		call_reply_err(call, rc ? -rc : told.acl ? ENOMEM : ENODATA);
		return;
	}
	memcpy(acl, told.acl, told.len);
	len = acl_to_guest(&call->share->ids, acl, told.len);
	if (len < 0)
		call_reply_malformed(call);
	else
		get_reply(call, acl, (size_t)len);
	free(acl);
}

void acl_get_issue(struct call *call)
{
	ask(call, get_done);
}

/* --------------------------------------------------------------------------------------------------- set, remove */

static void change_done(struct call *call, const struct sftp_reply *reply)
{
	struct sftp_change change;

	if (call_take_change(call, reply, &change))
		call_reply_err(call, 0);
}

/* NULL: none is to be there. */
static void change(struct call *call, const uint8_t *acl, size_t len)
{
	struct wire_buf *b = call_begin_modifying(call, acl ? NATIVE_SETXATTR : NATIVE_REMOVEXATTR);

	attr_memory_drop(&call->mount->attrs, call->node->id);
	wire_put_u64(b, call->node->server);
	wire_put_cstring(b, call->name);
	if (acl) {
		wire_put_string(b, acl, len);
		wire_put_u32(b, call->xattr.flags);
	}
	call_send(call, change_done);
}

static void change_merged(struct call *call, const struct told *told)
{
	const uint8_t *wanted = (const uint8_t *)call->xattr.value;
	uint8_t *merged = malloc(call->xattr.size + told->len + 8);
	ssize_t len = -ENOMEM;

	if (merged)
		len = acl_to_host(&call->share->ids, wanted, wanted ? call->xattr.size : 0, told->acl, told->len,
				  merged);
	if (len == -EPROTO)
		call_reply_malformed(call);
	else if (len < 0)
		call_reply_err(call, (int)-len);
	else
		change(call, len ? merged : NULL, (size_t)len);
	free(merged);
}

static void present_done(struct call *call, const struct sftp_reply *reply)
{
	struct told told;
	int rc = told_get(reply, &told);

	if (rc == -EPROTO)
		call_reply_malformed(call);
	else if (rc)
		call_reply_err(call, -rc);
	else if (!call->req)
		call_free(call); /* its caller was killed before anything was done */
	else
		change_merged(call, &told);
}

void acl_change_issue(struct call *call)
{
	if (acl_is_whole(&call->share->ids))
		change(call, (const uint8_t *)call->xattr.value, call->xattr.size);
	else
		ask(call, present_done);
}
