/* SPDX-License-Identifier: MIT */
/*
 * wire: big-endian integers and length-prefixed bytes, read and written by cursor. Pure: no descriptor, no clock.
 *
 * A reader carries a sticky error: after the first read past the end every read gives 0 or NULL, so that a message is
 * read field by field and checked once, by wire_read_done(), which also refuses leftovers. A writer grows its buffer
 * and carries a sticky failure (out of memory) that is checked once as well.
 */
#ifndef HOMEPORT_WIRE_H
#define HOMEPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* Reads from `len` bytes that stay the caller's and must outlive what is read by reference. */
static inline struct wire_reader wire_reader(const void *data, size_t len)
{
	return (struct wire_reader){.at = data, .left = len};
}

uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
static inline int64_t wire_get_i64(struct wire_reader *r)
{
	return (int64_t)wire_get_u64(r);
}

/* `len` bytes by reference, or NULL. */
const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len);

/* A u32 length and that many bytes, by reference. More than `max` is an error. NULL (and *len 0) on error. */
const uint8_t *wire_get_string(struct wire_reader *r, size_t *len, size_t max);

/* Everything was there, and nothing is left. */
static inline bool wire_read_done(const struct wire_reader *r)
{
	return !r->bad && r->left == 0;
}

struct wire_buf {
	uint8_t *data;
	size_t len, cap;
	bool failed; /* out of memory: nothing written since can be used */
};

/* A zeroed struct is an empty buffer. wire_buf_free() frees what it holds and leaves it empty. */
void wire_buf_free(struct wire_buf *b);
static inline void wire_buf_reset(struct wire_buf *b)
{
	b->len = 0;
	b->failed = false;
}

/* As wire_buf_reset(), and keeps no more room than `keep` bytes. */
void wire_buf_empty(struct wire_buf *b, size_t keep);

/* Drops the first n bytes (n <= len). */
void wire_buf_consume(struct wire_buf *b, size_t n);

/* Room for n more bytes at data + len, which the caller fills and adds to len; NULL (and failed) on no memory. */
uint8_t *wire_buf_reserve(struct wire_buf *b, size_t n);

void wire_put_u8(struct wire_buf *b, uint8_t v);
void wire_put_u16(struct wire_buf *b, uint16_t v);
void wire_put_u32(struct wire_buf *b, uint32_t v);
void wire_put_u64(struct wire_buf *b, uint64_t v);
static inline void wire_put_i64(struct wire_buf *b, int64_t v)
{
	wire_put_u64(b, (uint64_t)v);
}
void wire_put_bytes(struct wire_buf *b, const void *data, size_t len);
void wire_put_string(struct wire_buf *b, const void *data, size_t len);
void wire_put_cstring(struct wire_buf *b, const char *s);

/* A u32 length written later: begin() returns the mark, end() fills in the count of bytes put since. */
size_t wire_put_length_begin(struct wire_buf *b);
void wire_put_length_end(struct wire_buf *b, size_t mark);

/* The same integers in place, for headers of fixed size. */
void wire_poke_u16(uint8_t *p, uint16_t v);
void wire_poke_u32(uint8_t *p, uint32_t v);
void wire_poke_u64(uint8_t *p, uint64_t v);
uint16_t wire_peek_u16(const uint8_t *p);
uint32_t wire_peek_u32(const uint8_t *p);
uint64_t wire_peek_u64(const uint8_t *p);

#endif
