/* SPDX-License-Identifier: MIT */
/* What the files of the session share: session.c, session_out.c, hello.c. Nobody else includes this. */
#ifndef HOMEPORT_SESSION_PRIV_H
#define HOMEPORT_SESSION_PRIV_H

#include <sys/types.h>

#include "bounds.h"
#include "retain.h"
#include "session.h"
#include "wire.h"

/* NUL "homeport" CR LF version. */
#define SESSION_BANNER_SIZE 12u
/* The longest payload but DATA's. */
#define SESSION_RX_MAX (SESSION_HELLO_MAX - SESSION_BANNER_SIZE - RETAIN_HEADER)
/* How long a rate is measured. */
#define SESSION_RATE_SPAN_US 50000u

/* PROTOCOL.md, "Session: frames". */
enum session_frame {
	SESSION_HELLO = 1,
	SESSION_DATA,
	SESSION_ACK,
	SESSION_PING,
	SESSION_PONG,
	SESSION_GOODBYE,
	SESSION_FRAME_COUNT,
};

struct session {
	enum session_role role;
	enum session_state state;
	const struct session_events *events;
	void *ctx;
	struct session_hello self;
	enum session_reason reason; /* of GOODBYE, then of DEAD */
	char text[SESSION_TEXT_MAX + 1];
	char goodbye_text[SESSION_TEXT_MAX + 1];
	bool been_up;
	bool goodbye; /* is to be said; nothing else will be */

	/* Out. */
	struct retain retain;
	size_t path;             /* twice what the connection was seen to hold */
	size_t cap;              /* on what is not acknowledged: as much, but within bounds */
	struct wire_buf control; /* frames under way that go before data; control_at bytes of them were written */
	size_t control_at;
	struct wire_buf merged; /* control and a little data, in one piece */
	bool ack_due, ping_due, pong_due, goodbye_put;
	uint64_t ping_token, pong_token;

	/* In. */
	uint64_t received;
	size_t unacked_in; /* bytes since our last ACK */
	bool expect_hello; /* host: the banner has not come */
	size_t banner_got, banner_seen;
	uint8_t *skipped;
	size_t skipped_len;
	uint8_t rx_header[RETAIN_HEADER];
	size_t rx_have, rx_left, rx_got;
	uint8_t rx_payload[SESSION_RX_MAX];

	/* Time, in microseconds. */
	uint64_t heard_us, attached_us, detached_us;
	uint64_t ping_at_us, ack_at_us;
	uint64_t rate_start_us, rate_start;
	bool ping_out; /* not answered yet */
	uint32_t rtt_us, min_rtt_us;
};

/* session.c */
void session_die(struct session *s, enum session_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void session_ping(struct session *s, uint64_t now_us);

/* hello.c */
enum banner_match {
	BANNER_MORE,    /* the byte belongs to the banner */
	BANNER_NOT,     /* it does not */
	BANNER_MANGLED, /* it would, but for its line end */
};
/* One byte further; *got counts those of the banner. Its last, the version, is not looked at. */
enum banner_match banner_step(size_t *got, uint8_t byte);
/* Banner and HELLO. */
void session_put_hello(struct wire_buf *out, const struct session_hello *hello);
/* The payload of HELLO. */
bool hello_parse(const uint8_t *payload, size_t len, struct session_hello *hello);

/* session_out.c */
void session_put_goodbye(struct wire_buf *out, enum session_reason reason, const char *text);

#endif
