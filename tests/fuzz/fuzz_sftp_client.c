/* SPDX-License-Identifier: MIT */
/*
 * The client against a server that says anything: bytes come in pieces, requests are made, cancelled, the pipe is lost
 * and there again. What must hold: each request with a `done` ends exactly once.
 *
 * Input: steps of one byte (what), and for pieces a length byte and the bytes. The first byte says whether the
 * handshake is done for the fuzzer, so that it need not find it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sftp_client.h"

static unsigned made, ended;

static void on_ready(void *ctx)
{
	(void)ctx;
}

static void on_invalidate(void *ctx, const struct sftp_invalidation *what)
{
	(void)ctx;
	for (size_t i = 0; i < what->name_len; i++)
		if (what->name[i] == '/')
			abort();
}

static size_t pipe_write(void *ctx, const void *data, size_t len)
{
	(void)data;
	return len > *(size_t *)ctx ? *(size_t *)ctx : len;
}

static void on_done(void *ctx, const struct sftp_reply *reply)
{
	struct wire_reader r = reply->body;
	struct sftp_attr attr;

	(void)ctx;
	ended++;
	if (reply->error && r.left)
		abort();
	wire_get_u64(&r);
	sftp_attr_get(&r, &attr);
}

static void attach(struct sftp_client *c, size_t *room)
{
	static const struct sftp_pipe_ops ops = {.write = pipe_write};

	if (sftp_client_attach(c, &ops, room) < 0)
		abort();
	sftp_client_flush(c, true);
}

static void greet(struct sftp_client *c)
{
	struct wire_buf b = {0};
	size_t mark = wire_put_length_begin(&b);
	const char *why;

	wire_put_u8(&b, SSH_FXP_VERSION);
	wire_put_u32(&b, 3);
	wire_put_cstring(&b, NATIVE_EXTENSION);
	wire_put_cstring(&b, NATIVE_VERSION);
	wire_put_length_end(&b, mark);
	if (sftp_client_input(c, b.data, b.len, &why) < 0)
		abort();
	wire_buf_free(&b);
}

static uint32_t ask(struct sftp_client *c, uint8_t type)
{
	struct wire_buf *b = sftp_client_begin(c, type);
	uint32_t id;

	wire_put_u64(b, type);
	id = sftp_client_end(c, on_done, NULL);
	made += id != 0;
	return id;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sftp_client_events events = {.ready = on_ready, .invalidate = on_invalidate};
	struct sftp_client *c = sftp_client_new(&events, NULL);
	struct wire_reader r = wire_reader(data, size);
	size_t room = 100000;
	uint32_t last = 0;
	const char *why;

	made = ended = 0;
	attach(c, &room);
	if (wire_get_u8(&r) & 1)
		greet(c);
	while (r.left) {
		uint8_t what = wire_get_u8(&r), n;
		const uint8_t *bytes;

		switch (what % 8) {
		case 0:
			if (sftp_client_ready(c))
				last = ask(c, NATIVE_LOOKUP + what / 8 % (NATIVE_END - NATIVE_LOOKUP));
			break;
		case 1:
			if (sftp_client_ready(c) && last && sftp_client_cancel(c, last))
				ended++; /* went away unsent */
			last = 0;
			break;
		case 2:
			room = what;
			sftp_client_flush(c, what & 16);
			break;
		case 3:
			sftp_client_detach(c);
			attach(c, &room);
			if (what & 16)
				greet(c);
			break;
		default:
			n = wire_get_u8(&r);
			if (n > r.left)
				n = (uint8_t)r.left;
			bytes = wire_get_bytes(&r, n);
			if (n && sftp_client_input(c, bytes, n, &why) < 0) {
				sftp_client_detach(c);
				attach(c, &room);
			}
		}
	}
	sftp_client_detach(c);
	if (made != ended)
		abort();
	sftp_client_free(c);
	return 0;
}
