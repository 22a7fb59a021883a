/* SPDX-License-Identifier: MIT */
/*
 * The session's bytes out. See session.h; PROTOCOL.md, "Session: frames".
 *
 * DATA frames lie ready in `retain` and leave by reference. Control frames are made from flags at the moment they can
 * leave, so that no number of causes makes more than one of each, and only between two DATA frames; a little data after
 * them is copied behind them, so that a small answer and its ACK are one packet.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "session_priv.h"

size_t session_room(const struct session *s)
{
	uint64_t unacked = s->retain.end - s->retain.acked;

	return s->state == SESSION_DEAD || s->goodbye || unacked >= s->cap ? 0 : (size_t)(s->cap - unacked);
}

bool session_crowded(const struct session *s)
{
	return s->retain.end - s->retain.acked >=
	       (s->path / 4 > SESSION_CROWDED_MIN ? s->path / 4 : SESSION_CROWDED_MIN);
}

uint8_t *session_reserve(struct session *s, size_t want, size_t *len)
{
	size_t room = session_room(s);

	*len = 0;
	if (want > room)
		want = room;
	return want ? retain_reserve(&s->retain, want, len) : NULL;
}

void session_commit(struct session *s, size_t n)
{
	retain_commit(&s->retain, n);
}

size_t session_unsent(const struct session *s)
{
	return (size_t)(s->retain.end - s->retain.out_seq);
}

int session_send(struct session *s, const uint8_t *data, size_t len)
{
	assert(len <= session_room(s));
	while (len) {
		size_t n;
		uint8_t *place = session_reserve(s, len, &n);

		if (!place)
			return -ENOMEM;
		memcpy(place, data, n);
		session_commit(s, n);
		data += n;
		len -= n;
	}
	return 0;
}

static void put_header(struct wire_buf *out, enum session_frame type, size_t len)
{
	wire_put_u32(out, (uint32_t)type << 24 | (uint32_t)len);
}

static void put_number(struct wire_buf *out, enum session_frame type, uint64_t v)
{
	put_header(out, type, sizeof(v));
	wire_put_u64(out, v);
}

void session_put_goodbye(struct wire_buf *out, enum session_reason reason, const char *text)
{
	size_t len = strnlen(text, SESSION_TEXT_MAX);

	put_header(out, SESSION_GOODBYE, 8 + len);
	wire_put_u32(out, reason);
	wire_put_string(out, text, len);
}

/* Turns what is due into frames, behind those that wait already. */
static void session_put_control(struct session *s)
{
	struct wire_buf *out = &s->control;

	if (s->goodbye && !s->goodbye_put) {
		session_put_goodbye(out, s->reason, s->goodbye_text);
		s->goodbye_put = true;
	}
	if (s->state != SESSION_UP || s->goodbye)
		return;
	if (s->pong_due)
		put_number(out, SESSION_PONG, s->pong_token);
	if (s->ping_due)
		put_number(out, SESSION_PING, s->ping_token);
	if (s->ack_due) {
		put_number(out, SESSION_ACK, s->received);
		s->unacked_in = 0;
		s->ack_at_us = UINT64_MAX;
	}
	s->pong_due = s->ping_due = s->ack_due = false;
}

static const uint8_t *session_data_peek(const struct session *s, size_t *len)
{
	*len = 0;
	return s->state == SESSION_UP && !s->goodbye ? retain_peek(&s->retain, len) : NULL;
}

static bool session_has_control(const struct session *s)
{
	return s->ack_due || s->ping_due || s->pong_due || s->goodbye || s->control.len > s->control_at;
}

/* Control frames, and behind them the first of the data. */
static size_t session_merge(struct session *s, const uint8_t **data)
{
	size_t control = s->control.len - s->control_at;
	size_t len;
	const uint8_t *bytes = session_data_peek(s, &len);

	*data = s->control.data + s->control_at;
	if (!len)
		return control;
	if (len > SESSION_COALESCE)
		len = SESSION_COALESCE;
	wire_buf_reset(&s->merged);
	wire_put_bytes(&s->merged, *data, control);
	wire_put_bytes(&s->merged, bytes, len);
	if (s->merged.failed)
		return control;
	*data = s->merged.data;
	return control + len;
}

size_t session_produce(struct session *s, const uint8_t **data, bool *kept)
{
	size_t len = 0;

	*data = NULL;
	*kept = true;
	if (s->state != SESSION_UP && s->state != SESSION_GREETING)
		return 0;
	if (retain_in_frame(&s->retain)) {
		*data = retain_peek(&s->retain, &len);
		/* Control does not wait longer than for the frame that has begun. */
		if (session_has_control(s) && len > s->retain.out_header + s->retain.out_left)
			len = s->retain.out_header + s->retain.out_left;
		return len;
	}
	/* An ACK whose time has not come goes with a small packet that leaves now. */
	session_data_peek(s, &len);
	if (s->unacked_in && (session_has_control(s) || (len && len <= SESSION_COALESCE)))
		s->ack_due = true;
	session_put_control(s);
	if (s->control.failed) {
		session_die(s, SESSION_REASON_RESOURCES, "out of memory");
		return 0;
	}
	if (s->control.len > s->control_at) {
		*kept = false;
		return session_merge(s, data);
	}
	*data = session_data_peek(s, &len);
	return len;
}

void session_produced(struct session *s, size_t len, uint64_t now_us)
{
	size_t control = s->control.len - s->control_at;

	if (s->state == SESSION_DEAD || !len)
		return;
	if (!retain_in_frame(&s->retain) && control) {
		control = control < len ? control : len;
		s->control_at += control;
		len -= control;
		if (s->control_at == s->control.len) {
			wire_buf_reset(&s->control);
			s->control_at = 0;
			if (s->goodbye_put)
				session_die(s, s->reason, "%s", s->goodbye_text);
		}
	}
	if (len && s->state == SESSION_UP)
		retain_advance(&s->retain, len);
}
