/* SPDX-License-Identifier: MIT */
/* datagram: datagrams in a stream of bytes, each behind its length. Pure. PROTOCOL.md, "Datagrams". */
#ifndef HOMEPORT_DATAGRAM_H
#define HOMEPORT_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

struct mux_stream;

/* What stands before each datagram. */
#define DATAGRAM_HEAD 2u

/* A datagram with room for its length, as a socket is read into. */
struct datagram {
	uint8_t head[DATAGRAM_HEAD];
	uint8_t data[UDP_DATAGRAM_MAX];
};

/* Puts the first len bytes of it into the stream; false when that has no room for all of them, and takes none. */
bool datagram_write(struct mux_stream *s, struct datagram *d, size_t len);

/* What has come of a datagram that is not whole yet; zeroed: nothing. */
struct datagram_reader {
	uint8_t *part; /* head and data; NULL: nothing is kept */
	size_t len;
};

/* One datagram, valid for the call. Anything but 0 ends the reading. */
typedef int datagram_cb(void *ctx, const uint8_t *data, size_t len);

/*
 * Takes the next bytes of a stream and gives the datagrams that are whole now. Returns 0, what cb returned to end it
 * (the rest of the bytes is lost), -EPROTO (a length above UDP_DATAGRAM_MAX) or -ENOMEM.
 */
int datagram_read(struct datagram_reader *r, const uint8_t *bytes, size_t count, datagram_cb *cb, void *ctx);
void datagram_reader_clear(struct datagram_reader *r);

#endif
