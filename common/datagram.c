/* SPDX-License-Identifier: MIT */
/*
 * See datagram.h. Datagrams that lie whole in the bytes at hand are given out of them; only what the end of the bytes
 * cuts off is kept, so that thousands of idle clients cost no buffers.
 */
#include "datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mux.h"
#include "wire.h"

bool datagram_write(struct mux_stream *s, struct datagram *d, size_t len)
{
	size_t all = DATAGRAM_HEAD + len;

	wire_poke_u16(d->head, (uint16_t)len);
	return mux_stream_space(s) >= all && mux_stream_write(s, d, all) == all;
}

/* How many bytes the datagram at hand has, head included, as far as `have` bytes of it tell; 0: too long. */
static size_t datagram_size(const uint8_t *bytes, size_t have)
{
	size_t len = have < DATAGRAM_HEAD ? 0 : wire_peek_u16(bytes);

	return len > UDP_DATAGRAM_MAX ? 0 : DATAGRAM_HEAD + len;
}

/* Keeps so many of the bytes that the datagram begun is whole, or all of them. */
static int reader_keep(struct datagram_reader *r, const uint8_t **bytes, size_t *count)
{
	if (!r->part)
		r->part = malloc(DATAGRAM_HEAD + UDP_DATAGRAM_MAX);
	if (!r->part)
		return -ENOMEM;
	/* The head first: it says how many bytes follow. */
	for (size_t size; *count && (size = datagram_size(r->part, r->len)) > r->len;) {
		size_t n = size - r->len < *count ? size - r->len : *count;

		memcpy(r->part + r->len, *bytes, n);
		r->len += n;
		*bytes += n;
		*count -= n;
	}
	return datagram_size(r->part, r->len) ? 0 : -EPROTO;
}

static bool reader_is_whole(const struct datagram_reader *r)
{
	return r->len >= DATAGRAM_HEAD && r->len == datagram_size(r->part, r->len);
}

void datagram_reader_clear(struct datagram_reader *r)
{
	free(r->part);
	*r = (struct datagram_reader){0};
}

/* Goes on with what was begun before; the bytes are used up, or nothing is kept any more. */
static int reader_finish(struct datagram_reader *r, const uint8_t **bytes, size_t *count, datagram_cb *cb, void *ctx)
{
	struct datagram_reader whole;
	int rc = reader_keep(r, bytes, count);

	if (rc < 0 || !reader_is_whole(r))
		return rc;
	whole = *r;
	*r = (struct datagram_reader){0};
	rc = cb(ctx, whole.part + DATAGRAM_HEAD, whole.len - DATAGRAM_HEAD);
	datagram_reader_clear(&whole);
	return rc;
}

int datagram_read(struct datagram_reader *r, const uint8_t *bytes, size_t count, datagram_cb *cb, void *ctx)
{
	int rc = 0;

	if (r->part)
		rc = reader_finish(r, &bytes, &count, cb, ctx);
	while (rc == 0 && count) {
		size_t size = datagram_size(bytes, count);

		if (!size)
			return -EPROTO;
		if (count < DATAGRAM_HEAD || count < size)
			return reader_keep(r, &bytes, &count);
		rc = cb(ctx, bytes + DATAGRAM_HEAD, size - DATAGRAM_HEAD);
		bytes += size;
		count -= size;
	}
	return rc;
}
