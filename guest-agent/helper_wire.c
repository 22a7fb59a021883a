/* SPDX-License-Identifier: MIT */
/* The messages between an agent and its helper, to and from bytes. Pure. See helper.h. */
#include <errno.h>
#include <string.h>

#include "helper.h"

static void get_text(struct wire_reader *r, char *dst, size_t size)
{
	size_t len;
	const uint8_t *text = wire_get_string(r, &len, size - 1);

	if (!text || memchr(text, '\0', len)) {
		r->bad = true;
		return;
	}
	memcpy(dst, text, len);
	dst[len] = '\0';
}

void helper_request_put(struct wire_buf *out, const struct helper_request *r)
{
	wire_put_u8(out, r->type);
	wire_put_cstring(out, r->target);
	wire_put_u32(out, r->value);
	wire_put_u8(out, r->flags);
}

int helper_request_get(const void *data, size_t len, struct helper_request *r)
{
	struct wire_reader in = wire_reader(data, len);

	r->type = wire_get_u8(&in);
	get_text(&in, r->target, sizeof(r->target));
	r->value = wire_get_u32(&in);
	r->flags = wire_get_u8(&in);
	return wire_read_done(&in) ? 0 : -EPROTO;
}

void helper_reply_put(struct wire_buf *out, const struct helper_reply *r)
{
	wire_put_u8(out, r->type);
	wire_put_u32(out, r->error);
	wire_put_u8(out, r->flags);
	wire_put_cstring(out, r->text);
}

int helper_reply_get(const void *data, size_t len, struct helper_reply *r)
{
	struct wire_reader in = wire_reader(data, len);

	r->type = wire_get_u8(&in);
	r->error = wire_get_u32(&in);
	r->flags = wire_get_u8(&in);
	get_text(&in, r->text, sizeof(r->text));
	return wire_read_done(&in) ? 0 : -EPROTO;
}
