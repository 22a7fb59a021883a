/* SPDX-License-Identifier: MIT */
/*
 * Datagrams in a stream, read in one piece and in pieces that the input names. What must hold: both ways give the same
 * datagrams in the same order, and find the same fault, or none.
 *
 * Input: a u8 n, then n sizes of pieces (a u8 each, 0 is 256), taken round and round; then the stream.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "datagram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* FNV-1a, over each datagram and its length. */
static int on_datagram(void *ctx, const uint8_t *data, size_t len)
{
	uint64_t *hash = ctx;

	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ data[i]) * 0x100000001b3u;
	*hash = (*hash ^ len) * 0x100000001b3u;
	return 0;
}

static int read_in_pieces(const uint8_t *pieces, size_t count, const uint8_t *data, size_t size, uint64_t *hash)
{
	struct datagram_reader r = {0};
	int rc = 0;

	for (size_t i = 0; size && rc == 0; i++) {
		size_t n = count ? pieces[i % count] : size;

		n = n ? n : 256;
		n = n < size ? n : size;
		rc = datagram_read(&r, data, n, on_datagram, hash);
		data += n;
		size -= n;
	}
	datagram_reader_clear(&r);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = 0, cut = 0;
	size_t count = size ? data[0] : 0;
	int a, b;

	if (size < 1 + count)
		return 0;
	a = read_in_pieces(NULL, 0, data + 1 + count, size - 1 - count, &whole);
	b = read_in_pieces(data + 1, count, data + 1 + count, size - 1 - count, &cut);
	if (a != b || whole != cut || (a && a != -EPROTO))
		abort();
	return 0;
}
