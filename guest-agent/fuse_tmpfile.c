/* SPDX-License-Identifier: MIT */
/*
 * O_TMPFILE: a file without a name, made and opened at once; a later LINK may give it one. Its node has no name either,
 * so it cannot be found again when the share is attached anew: then it is stale, as an open file is.
 */
#include <errno.h>

#include "fuse_call.h"
#include "fuse_file.h"
#include "fuse_ops.h"

static void tmpfile_done(struct call *call, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;
	uint64_t server, fh;
	struct node *n;

	if (call_reply_failed(call, reply))
		return;
	server = wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
	fh = wire_get_u64(&r);
	if (!wire_read_done(&r)) {
		call_reply_malformed(call);
		return;
	}
	n = node_found_nameless(call->mount->nodes, call->node->share, server, &attr);
	if (n) {
		call_reply_created(call, n, fh, &attr);
		return;
	}
	share_forget(call->share, server, 1);
	call_reply_err(call, ENOMEM);
}

static void tmpfile_issue(struct call *call)
{
	struct wire_buf *b = call_begin_making(call, NATIVE_TMPFILE);

	wire_put_u64(b, call->node->server);
	wire_put_u32(b, call->make.flags);
	call_put_mode(call, b);
	call_send(call, tmpfile_done);
}

void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, const struct fuse_file_info *fi)
{
	struct call *call = call_new(req, parent, tmpfile_issue);

	if (!call)
		return;
	/* The kernel lets nobody through who does not ask for writing. */
	call->make.flags = open_flags_to_native(fi->flags) | NATIVE_O_WRITE;
	call_set_mode(call, mode);
	call_start(call);
}
