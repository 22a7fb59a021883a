/* SPDX-License-Identifier: MIT */
/*
 * The session's states, its bytes in, its time. See session.h; PROTOCOL.md, "Connection and banner" and "Session".
 * (session_out.c: its bytes out; hello.c: banner and HELLO; retain.c: what is not acknowledged.)
 *
 * Theory of operation. `received` counts the bytes of the peer's stream that were passed on, also those of a frame that
 * was cut off in its middle; HELLO tells it to the peer, which goes on from exactly there with a new frame. So nothing
 * but that count survives a connection on the receiving side.
 */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session_priv.h"

static const char *const session_reason_names[] = {
	[SESSION_REASON_NONE] = "none",
	[SESSION_REASON_STOPPED] = "stopped",
	[SESSION_REASON_VERSION] = "another version",
	[SESSION_REASON_PROTOCOL] = "protocol error",
	[SESSION_REASON_UNKNOWN] = "unknown session",
	[SESSION_REASON_FENCED] = "a newer connection took over",
	[SESSION_REASON_REPLACED] = "replaced by another session",
	[SESSION_REASON_RESOURCES] = "out of resources",
	[SESSION_REASON_EXPIRED] = "expired",
};
static_assert(sizeof(session_reason_names) / sizeof(session_reason_names[0]) == SESSION_REASON_COUNT,
	      "each reason has a name");

const char *session_reason_name(enum session_reason reason)
{
	return (unsigned)reason < SESSION_REASON_COUNT ? session_reason_names[reason] : "unknown";
}

struct session *session_new(enum session_role role, const struct session_hello *hello,
			    const struct session_events *events, void *ctx)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->role = role;
	s->events = events;
	s->ctx = ctx;
	s->self = *hello;
	s->self.version = SESSION_VERSION;
	s->self.epoch = s->self.received = 0;
	s->self.resume = false;
	s->retain.type = SESSION_DATA;
	s->cap = SESSION_UNACKED_MIN;
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	retain_clear(&s->retain);
	wire_buf_free(&s->control);
	wire_buf_free(&s->merged);
	free(s->skipped);
	explicit_bzero(&s->self, sizeof(s->self));
	free(s);
}

enum session_state session_state(const struct session *s)
{
	return s->state;
}

const struct session_hello *session_identity(const struct session *s)
{
	return &s->self;
}

enum session_reason session_reason(const struct session *s, const char **text)
{
	if (text)
		*text = s->text;
	return s->state == SESSION_DEAD ? s->reason : SESSION_REASON_NONE;
}

const char *session_trouble(const struct session *s)
{
	return s->text;
}

uint64_t session_heard_us(const struct session *s)
{
	return s->heard_us;
}

uint32_t session_rtt_us(const struct session *s)
{
	return s->rtt_us;
}

void session_die(struct session *s, enum session_reason reason, const char *fmt, ...)
{
	va_list ap;

	if (s->state == SESSION_DEAD)
		return;
	s->state = SESSION_DEAD;
	s->reason = reason;
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
	retain_clear(&s->retain);
	wire_buf_free(&s->control);
	wire_buf_free(&s->merged);
}

static int session_violation(struct session *s, const char *what)
{
	session_die(s, SESSION_REASON_PROTOCOL, "the other side broke the protocol: %s", what);
	return -EPROTO;
}

/* The connection is no good, but the session may have a better one. */
static int session_bad_connection(struct session *s, const char *what)
{
	snprintf(s->text, sizeof(s->text), "%s", what);
	return -EBADMSG;
}

/* ------------------------------------------------------------------------------------------------------ connections */

static void session_begin(struct session *s, uint64_t now_us)
{
	wire_buf_reset(&s->control);
	s->control_at = 0;
	/* A frame that the last connection cut off is not gone on with. */
	retain_rewind(&s->retain, s->retain.acked);
	s->pong_due = s->ping_due = s->ack_due = s->ping_out = false;
	s->rx_have = s->rx_got = 0;
	s->rx_left = 0;
	s->banner_got = s->banner_seen = 0;
	s->skipped_len = 0;
	s->unacked_in = 0;
	s->ack_at_us = UINT64_MAX;
	s->heard_us = s->attached_us = now_us;
	s->min_rtt_us = 0;
	s->rate_start_us = 0;
	s->path = 0;
	s->cap = SESSION_UNACKED_MIN;
	s->text[0] = '\0';
	s->self.received = s->received;
	s->self.resume = s->been_up;
}

static void session_go_up(struct session *s, const struct session_hello *peer, uint64_t now_us)
{
	bool resumed = s->been_up;

	s->state = SESSION_UP;
	s->been_up = true;
	s->ping_at_us = now_us + SESSION_PING_US;
	session_ping(s, now_us);
	s->events->up(s->ctx, resumed, peer);
}

int session_check_attach(const struct session *s, const struct session_hello *peer)
{
	if (s->state == SESSION_DEAD || s->goodbye)
		return -EPROTO;
	if (s->role == SESSION_HOST)
		return 0;
	if (peer->epoch <= s->self.epoch)
		return -ESTALE;
	if (peer->resume && !s->been_up)
		return -EPROTO;
	return peer->received < s->retain.acked || peer->received > s->retain.end ? -EPROTO : 0;
}

int session_attach(struct session *s, const struct session_hello *peer, uint64_t now_us)
{
	int r = session_check_attach(s, peer);

	if (r < 0)
		return r;
	session_detach(s, now_us);
	session_begin(s, now_us);
	if (s->role == SESSION_GUEST) {
		retain_rewind(&s->retain, peer->received);
		s->self.epoch = peer->epoch;
		s->self.timeout_s = peer->timeout_s;
	} else {
		s->self.epoch++;
	}
	session_put_hello(&s->control, &s->self);
	if (s->control.failed)
		return -ENOMEM;
	s->expect_hello = s->role == SESSION_HOST;
	s->state = SESSION_GREETING;
	if (s->role == SESSION_GUEST)
		session_go_up(s, peer, now_us);
	return 0;
}

void session_detach(struct session *s, uint64_t now_us)
{
	if (s->state != SESSION_UP && s->state != SESSION_GREETING)
		return;
	s->state = SESSION_DETACHED;
	s->detached_us = now_us;
	wire_buf_free(&s->control);
	wire_buf_free(&s->merged);
	if (s->goodbye)
		session_die(s, s->reason, "%s", s->goodbye_text);
}

void session_goodbye(struct session *s, enum session_reason reason, const char *text)
{
	if (s->state == SESSION_DEAD || s->goodbye)
		return;
	if (s->state == SESSION_DETACHED) {
		session_die(s, reason, "%s", text);
		return;
	}
	s->goodbye = true;
	s->reason = reason;
	snprintf(s->goodbye_text, sizeof(s->goodbye_text), "%s", text);
}

/* --------------------------------------------------------------------------------------------------------- bytes in */

static int on_hello(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us)
{
	struct session_hello peer;

	if (s->state != SESSION_GREETING || !hello_parse(payload, len, &peer))
		return session_violation(s, "a HELLO that cannot be");
	if (!session_matches(&s->self, &peer) || peer.epoch != s->self.epoch)
		return session_violation(s, "the HELLO of another session");
	if (s->self.resume && !peer.resume) {
		session_die(s, SESSION_REASON_UNKNOWN, "the other side does not know the session any more");
		return -EPROTO;
	}
	if (!retain_rewind(&s->retain, peer.received))
		return session_violation(s, "a HELLO with a count that cannot be");
	session_go_up(s, &peer, now_us);
	return 0;
}

/* What the connection carries sets the cap on what may be under way: PROTOCOL.md, "Session: how much is under way". */
static void session_measure_rate(struct session *s, uint64_t now_us)
{
	uint64_t span = now_us - s->rate_start_us;
	uint64_t need;

	if (!s->rate_start_us) {
		s->rate_start_us = now_us;
		s->rate_start = s->retain.acked;
		return;
	}
	if (!s->min_rtt_us || span < SESSION_RATE_SPAN_US || span < s->min_rtt_us)
		return;
	need = 2 * ((s->retain.acked - s->rate_start) * s->min_rtt_us / span);
	if (need > SESSION_UNACKED_MAX)
		need = SESSION_UNACKED_MAX;
	if (need > s->path)
		s->path = (size_t)need;
	if (need > s->cap)
		s->cap = (size_t)need;
	s->rate_start_us = now_us;
	s->rate_start = s->retain.acked;
}

static int on_ack(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us)
{
	if (!retain_ack(&s->retain, wire_peek_u64(payload)))
		return session_violation(s, "an ACK of bytes never sent");
	session_measure_rate(s, now_us);
	return 0;
}

static int on_ping(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us)
{
	/* Only the last one is answered, so that no number of them costs memory. */
	s->pong_due = true;
	s->pong_token = wire_peek_u64(payload);
	return 0;
}

static int on_pong(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us)
{
	uint64_t rtt = now_us - s->ping_token;

	if (!s->ping_out || wire_peek_u64(payload) != s->ping_token)
		return 0;
	s->ping_out = false;
	s->rtt_us = rtt > UINT32_MAX ? UINT32_MAX : rtt ? (uint32_t)rtt : 1;
	if (!s->min_rtt_us || s->rtt_us < s->min_rtt_us)
		s->min_rtt_us = s->rtt_us;
	return 0;
}

static int on_goodbye(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us)
{
	struct wire_reader r = wire_reader(payload, len);
	uint32_t reason = wire_get_u32(&r);
	size_t text_len;
	const uint8_t *text = wire_get_string(&r, &text_len, SESSION_TEXT_MAX);
	char shown[SESSION_TEXT_MAX + 1];

	if (!wire_read_done(&r) || reason == SESSION_REASON_NONE || reason >= SESSION_REASON_COUNT)
		return session_violation(s, "a GOODBYE that cannot be");
	text_printable(shown, sizeof(shown), text, text_len);
	if (reason == SESSION_REASON_FENCED) {
		session_bad_connection(s, "a newer connection of the session took over");
		return -ECONNABORTED;
	}
	session_die(s, (enum session_reason)reason, "%s", shown);
	return -ECONNRESET;
}

typedef int session_handler(struct session *s, const uint8_t *payload, size_t len, uint64_t now_us);

static const struct {
	uint32_t min, max;
	bool greeting; /* legal before UP */
	session_handler *handle;
} session_frames[SESSION_FRAME_COUNT] = {
	[SESSION_HELLO] = {1, SESSION_RX_MAX, true, on_hello},
	[SESSION_DATA] = {1, SESSION_FRAME_MAX, false, NULL},
	[SESSION_ACK] = {8, 8, false, on_ack},
	[SESSION_PING] = {8, 8, false, on_ping},
	[SESSION_PONG] = {8, 8, false, on_pong},
	[SESSION_GOODBYE] = {8, 8 + SESSION_TEXT_MAX, true, on_goodbye},
};

static int session_header(struct session *s)
{
	uint32_t word = wire_peek_u32(s->rx_header);
	unsigned type = word >> 24;

	s->rx_left = word & 0xffffffu;
	s->rx_got = 0;
	if (type < SESSION_HELLO || type >= SESSION_FRAME_COUNT)
		return session_violation(s, "a frame of an unknown type");
	if (s->rx_left < session_frames[type].min || s->rx_left > session_frames[type].max)
		return session_violation(s, "a frame of an impossible length");
	if (s->state == SESSION_GREETING && !session_frames[type].greeting)
		return session_violation(s, "something before its HELLO");
	return 0;
}

static void session_count(struct session *s, size_t len, uint64_t now_us)
{
	s->received += len;
	s->unacked_in += len;
	if (s->unacked_in >= SESSION_ACK_EVERY)
		s->ack_due = true;
	else if (s->ack_at_us == UINT64_MAX)
		s->ack_at_us = now_us + SESSION_ACK_DELAY_US;
}

static void session_data(struct session *s, const uint8_t *data, size_t len, uint64_t now_us)
{
	/* We have said, or will say, GOODBYE: nobody above listens any more. */
	if (s->goodbye)
		return;
	session_count(s, len, now_us);
	s->events->data(s->ctx, data, len);
}

/* Some bytes of a frame. Returns how many were used, or a negative errno. */
static ssize_t session_some(struct session *s, const uint8_t *data, size_t len, uint64_t now_us)
{
	unsigned type = s->rx_header[0];
	size_t n = RETAIN_HEADER - s->rx_have;
	int r = 0;

	if (n) {
		n = n < len ? n : len;
		memcpy(s->rx_header + s->rx_have, data, n);
		s->rx_have += n;
		r = s->rx_have == RETAIN_HEADER ? session_header(s) : 0;
		return r < 0 ? r : (ssize_t)n;
	}
	n = s->rx_left < len ? s->rx_left : len;
	s->rx_left -= n;
	if (!s->rx_left)
		s->rx_have = 0;
	if (type == SESSION_DATA) {
		session_data(s, data, n, now_us);
	} else {
		memcpy(s->rx_payload + s->rx_got, data, n);
		s->rx_got += n;
		if (!s->rx_left)
			r = session_frames[type].handle(s, s->rx_payload, s->rx_got, now_us);
	}
	return r < 0 ? r : (ssize_t)n;
}

/* The host's search for the banner. Returns how many bytes were used, or a negative errno. */
static ssize_t session_banner(struct session *s, const uint8_t *data, size_t len)
{
	size_t i = 0;

	if (!s->skipped && !(s->skipped = malloc(SESSION_SKIP_MAX)))
		return session_bad_connection(s, "out of memory");
	while (i < len && s->banner_got < SESSION_BANNER_SIZE) {
		enum banner_match match = banner_step(&s->banner_got, data[i]);

		if (++s->banner_seen > SESSION_SKIP_MAX)
			return session_bad_connection(s, "what answers is not homeport-guest: it prints without end");
		if (match == BANNER_MANGLED)
			return session_bad_connection(s, "the connection changes line ends: a terminal is in between");
		if (match == BANNER_NOT) {
			if (s->skipped_len == SESSION_SKIP_MAX)
				return session_bad_connection(
					s, "what answers is not homeport-guest: it prints without end");
			s->skipped[s->skipped_len++] = data[i];
		}
		i++;
	}
	if (s->banner_got < SESSION_BANNER_SIZE)
		return (ssize_t)i;
	if (s->skipped_len && s->events->skipped)
		s->events->skipped(s->ctx, s->skipped, s->skipped_len);
	free(s->skipped);
	s->skipped = NULL;
	s->expect_hello = false;
	if (data[i - 1] != SESSION_VERSION) {
		char text[SESSION_TEXT_MAX];

		session_version_text(text, sizeof(text), s->role, data[i - 1]);
		session_die(s, SESSION_REASON_VERSION, "%s", text);
		return -EPROTO;
	}
	return (ssize_t)i;
}

int session_receive(struct session *s, const uint8_t *data, size_t len, uint64_t now_us)
{
	if (s->state == SESSION_DEAD)
		return -EPROTO;
	s->heard_us = now_us;
	while (len && (s->state == SESSION_UP || s->state == SESSION_GREETING)) {
		ssize_t n = s->expect_hello ? session_banner(s, data, len) : session_some(s, data, len, now_us);

		if (n < 0)
			return (int)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int session_outlet(struct session *s, size_t *max)
{
	bool inside = s->rx_have == RETAIN_HEADER;
	int fd;

	*max = 0;
	if (s->state != SESSION_UP || s->goodbye || s->expect_hello || !s->events->outlet ||
	    (inside && s->rx_header[0] != SESSION_DATA))
		return -1;
	fd = s->events->outlet(s->ctx, max);
	if (!inside) {
		/* Of the next frame's payload it is worth reading what those above want to see of it. */
		*max = RETAIN_HEADER - s->rx_have + (fd < 0 ? *max : 0);
		return -1;
	}
	if (*max > s->rx_left)
		*max = s->rx_left;
	return fd;
}

void session_passed(struct session *s, size_t n, uint64_t now_us)
{
	assert(n && n <= s->rx_left);
	s->heard_us = now_us;
	s->rx_left -= n;
	if (!s->rx_left)
		s->rx_have = 0;
	session_count(s, n, now_us);
	s->events->passed(s->ctx, n);
}

/* ------------------------------------------------------------------------------------------------------------- time */

void session_ping(struct session *s, uint64_t now_us)
{
	/* One at a time: on a link slower than a second each would forget the one before. */
	if (s->ping_out)
		return;
	s->ping_out = s->ping_due = true;
	s->ping_token = now_us;
}

static int session_tick_attached(struct session *s, uint64_t now_us, uint64_t *next_us)
{
	uint64_t lost_us =
		s->state == SESSION_UP ? s->heard_us + SESSION_LOST_US : s->attached_us + SESSION_GREETING_US;

	if (now_us >= lost_us) {
		session_bad_connection(s, s->state == SESSION_UP ? "nothing was heard for 4 seconds"
								 : "no greeting came within 10 seconds");
		return -ETIMEDOUT;
	}
	*next_us = lost_us;
	if (s->state != SESSION_UP)
		return 0;
	if (now_us >= s->ping_at_us) {
		session_ping(s, now_us);
		s->ping_at_us = now_us + SESSION_PING_US;
	}
	if (now_us >= s->ack_at_us) {
		s->ack_due = true;
		s->ack_at_us = UINT64_MAX;
	}
	if (s->ping_at_us < *next_us)
		*next_us = s->ping_at_us;
	if (s->ack_at_us < *next_us)
		*next_us = s->ack_at_us;
	return 0;
}

static int session_tick_detached(struct session *s, uint64_t now_us, uint64_t *next_us)
{
	uint64_t end_us;

	/* Never attached so far: the time begins now. */
	if (!s->detached_us)
		s->detached_us = now_us;
	end_us = s->detached_us + (uint64_t)s->self.timeout_s * 1000000u;
	if (now_us < end_us) {
		*next_us = end_us;
		return 0;
	}
	session_die(s, SESSION_REASON_EXPIRED, "no connection for %u seconds", (unsigned)s->self.timeout_s);
	return -ETIME;
}

int session_tick(struct session *s, uint64_t now_us, uint64_t *next_us)
{
	*next_us = UINT64_MAX;
	switch (s->state) {
	case SESSION_UP:
	case SESSION_GREETING:
		return session_tick_attached(s, now_us, next_us);
	case SESSION_DETACHED:
		return session_tick_detached(s, now_us, next_us);
	default:
		return 0;
	}
}
