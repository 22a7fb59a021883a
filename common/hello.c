/* SPDX-License-Identifier: MIT */
/* The start of a connection: banner and HELLO. PROTOCOL.md, "Connection and banner", "HELLO". */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "session_priv.h"

static const uint8_t banner[SESSION_BANNER_SIZE] = {0,   'h', 'o', 'm',  'e',  'p',
						    'o', 'r', 't', '\r', '\n', SESSION_VERSION};
#define BANNER_FIXED (SESSION_BANNER_SIZE - 1u) /* the version may be another */
#define BANNER_EOL   9u

enum banner_match banner_step(size_t *got, uint8_t byte)
{
	if (*got == BANNER_FIXED || byte == banner[*got]) {
		++*got;
		return BANNER_MORE;
	}
	if (*got >= BANNER_EOL)
		return BANNER_MANGLED;
	/* NUL stands only at its start, so nothing but a NUL can begin it anew. */
	*got = byte == banner[0];
	return *got ? BANNER_MORE : BANNER_NOT;
}

void session_put_hello(struct wire_buf *out, const struct session_hello *hello)
{
	size_t frame;

	wire_put_bytes(out, banner, sizeof(banner));
	frame = out->len;
	wire_put_u32(out, 0);
	wire_put_u32(out, hello->version);
	wire_put_u64(out, hello->features);
	wire_put_bytes(out, hello->id, sizeof(hello->id));
	wire_put_bytes(out, hello->secret, sizeof(hello->secret));
	wire_put_bytes(out, hello->instance, sizeof(hello->instance));
	wire_put_u64(out, hello->epoch);
	wire_put_u64(out, hello->received);
	wire_put_u8(out, hello->resume);
	wire_put_u32(out, hello->timeout_s);
	wire_put_cstring(out, hello->agent_version);
	if (!out->failed)
		wire_poke_u32(out->data + frame,
			      (uint32_t)SESSION_HELLO << 24 | (uint32_t)(out->len - frame - RETAIN_HEADER));
}

static void get_block(struct wire_reader *r, uint8_t *dst, size_t len)
{
	const uint8_t *p = wire_get_bytes(r, len);

	if (p)
		memcpy(dst, p, len);
}

bool hello_parse(const uint8_t *payload, size_t len, struct session_hello *hello)
{
	struct wire_reader r = wire_reader(payload, len);
	struct session_hello h = {0};
	const uint8_t *version;
	size_t version_len;
	uint8_t resume;

	h.version = wire_get_u32(&r);
	h.features = wire_get_u64(&r);
	get_block(&r, h.id, sizeof(h.id));
	get_block(&r, h.secret, sizeof(h.secret));
	get_block(&r, h.instance, sizeof(h.instance));
	h.epoch = wire_get_u64(&r);
	h.received = wire_get_u64(&r);
	resume = wire_get_u8(&r);
	h.timeout_s = wire_get_u32(&r);
	version = wire_get_string(&r, &version_len, sizeof(h.agent_version) - 1);
	if (!wire_read_done(&r) || h.version != SESSION_VERSION || resume > 1)
		return false;
	for (size_t i = 0; i < version_len; i++)
		if (version[i] <= ' ' || version[i] > '~')
			return false;
	memcpy(h.agent_version, version, version_len);
	h.resume = resume;
	*hello = h;
	return true;
}

int session_parse_hello(const uint8_t *data, size_t len, struct session_hello *hello)
{
	size_t fixed = len < BANNER_FIXED ? len : BANNER_FIXED;
	uint32_t word;
	size_t size;

	if (fixed && memcmp(data, banner, fixed))
		return -EPROTO;
	if (len < SESSION_BANNER_SIZE)
		return 0;
	if (data[BANNER_FIXED] != SESSION_VERSION) {
		hello->version = data[BANNER_FIXED];
		return -EPROTONOSUPPORT;
	}
	if (len < SESSION_BANNER_SIZE + RETAIN_HEADER)
		return 0;
	word = wire_peek_u32(data + SESSION_BANNER_SIZE);
	size = word & 0xffffffu;
	if (word >> 24 != SESSION_HELLO || size > SESSION_RX_MAX)
		return -EPROTO;
	if (len < SESSION_BANNER_SIZE + RETAIN_HEADER + size)
		return 0;
	if (!hello_parse(data + SESSION_BANNER_SIZE + RETAIN_HEADER, size, hello))
		return -EPROTO;
	return (int)(SESSION_BANNER_SIZE + RETAIN_HEADER + size);
}

bool session_matches(const struct session_hello *own, const struct session_hello *hello)
{
	volatile uint8_t differ = 0;

	for (size_t i = 0; i < SESSION_ID_SIZE; i++)
		differ |= own->id[i] ^ hello->id[i];
	for (size_t i = 0; i < SESSION_SECRET_SIZE; i++)
		differ |= own->secret[i] ^ hello->secret[i];
	return !differ;
}

void session_put_refusal(struct wire_buf *out, enum session_reason reason, const char *text)
{
	wire_put_bytes(out, banner, sizeof(banner));
	session_put_goodbye(out, reason, text);
}

void session_version_text(char *text, size_t size, enum session_role our_role, uint32_t their_version)
{
	unsigned ours = SESSION_VERSION, theirs = their_version;

	snprintf(text, size, "homeport on the host speaks version %u of the protocol, homeport-guest version %u",
		 our_role == SESSION_HOST ? ours : theirs, our_role == SESSION_HOST ? theirs : ours);
}
