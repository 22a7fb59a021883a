/* SPDX-License-Identifier: MIT */
/* See open_args.h. As strict as the control messages. */
#include "open_args.h"

#include <errno.h>

#include "wire.h"
#include "wire_fields.h"

void sftp_target_put(struct wire_buf *out, const struct sftp_target *t)
{
	wire_put_u32(out, t->mount_id);
	wire_put_u32(out, t->share);
}

int sftp_target_get(const uint8_t *data, size_t len, struct sftp_target *t)
{
	struct wire_reader r = wire_reader(data, len);
	struct sftp_target got = {.mount_id = wire_get_u32(&r)};

	got.share = wire_get_u32(&r);
	if (!wire_read_done(&r))
		return -EPROTO;
	*t = got;
	return 0;
}

void tcp_target_put(struct wire_buf *out, const struct tcp_target *t)
{
	wire_put_u8(out, t->family);
	wire_put_bytes(out, t->addr, sizeof(t->addr));
	wire_put_u32(out, t->scope);
	wire_put_u16(out, t->port);
}

int tcp_target_get(const uint8_t *data, size_t len, struct tcp_target *t)
{
	struct wire_reader r = wire_reader(data, len);
	struct tcp_target got = {.family = wire_get_u8(&r)};

	wire_get_address(&r, got.family, got.addr);
	got.scope = wire_get_u32(&r);
	got.port = wire_get_u16(&r);
	if (!wire_read_done(&r) || got.port == 0)
		return -EPROTO;
	*t = got;
	return 0;
}

void unix_target_put(struct wire_buf *out, const struct unix_target *t)
{
	wire_put_cstring(out, t->path);
}

int unix_target_get(const uint8_t *data, size_t len, struct unix_target *t)
{
	struct wire_reader r = wire_reader(data, len);
	struct unix_target got = {.path = ""};

	wire_get_text(&r, got.path, sizeof(got.path));
	if (!wire_read_done(&r) || got.path[0] != '/')
		return -EPROTO;
	*t = got;
	return 0;
}

void reverse_target_put(struct wire_buf *out, uint32_t id)
{
	wire_put_u32(out, id);
}

int reverse_target_get(const uint8_t *data, size_t len, uint32_t *id)
{
	struct wire_reader r = wire_reader(data, len);
	uint32_t got = wire_get_u32(&r);

	if (!wire_read_done(&r))
		return -EPROTO;
	*id = got;
	return 0;
}
