/* SPDX-License-Identifier: MIT */
/* Cursors over big-endian bytes. See wire.h. */
#include "wire.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define WIRE_BUF_FIRST 256u

void wire_poke_u16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof(v));
}

void wire_poke_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

void wire_poke_u64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

uint16_t wire_peek_u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

uint32_t wire_peek_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

uint64_t wire_peek_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->bad || len > r->left) {
		r->bad = true;
		return NULL;
	}
	/* An empty reader may stand on a null pointer, which must not be added to. */
	if (len)
		r->at += len;
	r->left -= len;
	return at ? at : (const uint8_t *)"";
}

uint8_t wire_get_u8(struct wire_reader *r)
{
	const uint8_t *p = wire_get_bytes(r, 1);

	return p ? *p : 0;
}

uint16_t wire_get_u16(struct wire_reader *r)
{
	const uint8_t *p = wire_get_bytes(r, 2);

	return p ? wire_peek_u16(p) : 0;
}

uint32_t wire_get_u32(struct wire_reader *r)
{
	const uint8_t *p = wire_get_bytes(r, 4);

	return p ? wire_peek_u32(p) : 0;
}

uint64_t wire_get_u64(struct wire_reader *r)
{
	const uint8_t *p = wire_get_bytes(r, 8);

	return p ? wire_peek_u64(p) : 0;
}

const uint8_t *wire_get_string(struct wire_reader *r, size_t *len, size_t max)
{
	uint32_t n = wire_get_u32(r);
	const uint8_t *p;

	if (n > max)
		r->bad = true;
	p = wire_get_bytes(r, n);
	*len = p ? n : 0;
	return p;
}

void wire_buf_free(struct wire_buf *b)
{
	free(b->data);
	*b = (struct wire_buf){0};
}

void wire_buf_empty(struct wire_buf *b, size_t keep)
{
	if (b->cap > keep)
		wire_buf_free(b);
	else
		wire_buf_reset(b);
}

void wire_buf_consume(struct wire_buf *b, size_t n)
{
	assert(n <= b->len);
	b->len -= n;
	if (b->len && n)
		memmove(b->data, b->data + n, b->len);
}

static bool wire_buf_grow(struct wire_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : WIRE_BUF_FIRST;
	uint8_t *data;

	while (cap < need) {
		if (cap > SIZE_MAX / 2)
			return false;
		cap *= 2;
	}
	data = realloc(b->data, cap);
	if (!data)
		return false;
	b->data = data;
	b->cap = cap;
	return true;
}

uint8_t *wire_buf_reserve(struct wire_buf *b, size_t n)
{
	if (b->failed)
		return NULL;
	if (n > SIZE_MAX - b->len || ((!b->data || b->len + n > b->cap) && !wire_buf_grow(b, b->len + n))) {
		b->failed = true;
		return NULL;
	}
	return b->data + b->len;
}

void wire_put_u8(struct wire_buf *b, uint8_t v)
{
	wire_put_bytes(b, &v, sizeof(v));
}

void wire_put_u16(struct wire_buf *b, uint16_t v)
{
	uint8_t *p = wire_buf_reserve(b, sizeof(v));

	if (!p)
		return;
	wire_poke_u16(p, v);
	b->len += sizeof(v);
}

void wire_put_u32(struct wire_buf *b, uint32_t v)
{
	uint8_t *p = wire_buf_reserve(b, sizeof(v));

	if (!p)
		return;
	wire_poke_u32(p, v);
	b->len += sizeof(v);
}

void wire_put_u64(struct wire_buf *b, uint64_t v)
{
	uint8_t *p = wire_buf_reserve(b, sizeof(v));

	if (!p)
		return;
	wire_poke_u64(p, v);
	b->len += sizeof(v);
}

void wire_put_bytes(struct wire_buf *b, const void *data, size_t len)
{
	uint8_t *p = wire_buf_reserve(b, len);

	if (!p || !len)
		return;
	memcpy(p, data, len);
	b->len += len;
}

void wire_put_string(struct wire_buf *b, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		b->failed = true;
		return;
	}
	wire_put_u32(b, (uint32_t)len);
	wire_put_bytes(b, data, len);
}

void wire_put_cstring(struct wire_buf *b, const char *s)
{
	wire_put_string(b, s, strlen(s));
}

size_t wire_put_length_begin(struct wire_buf *b)
{
	wire_put_u32(b, 0);
	return b->len;
}

void wire_put_length_end(struct wire_buf *b, size_t mark)
{
	if (b->failed)
		return;
	assert(mark >= 4 && mark <= b->len);
	if (b->len - mark > UINT32_MAX)
		b->failed = true;
	else
		wire_poke_u32(b->data + mark - 4, (uint32_t)(b->len - mark));
}
