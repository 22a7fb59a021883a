/* SPDX-License-Identifier: MIT */
/*
 * Frames in. See mux.h; PROTOCOL.md, "Mux: frames".
 *
 * Bytes come in any pieces. The payload of DATA is passed on as it comes; that of every other frame is bounded and
 * collected. One table says for each type what its length may be and what may be answered; everything that is not in
 * the document is a violation, which ends the session.
 */
#include <errno.h>
#include <string.h>

#include "mux_priv.h"
#include "wire.h"

/* Each returns NULL, or what the peer did wrong. */
typedef const char *mux_handler(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len);

static uint32_t mux_rx_id(const struct mux *m)
{
	return wire_peek_u32(m->rx_header);
}

static bool mux_reason_sendable(uint8_t reason)
{
	return reason > MUX_REASON_NONE && reason < MUX_REASON_LOST;
}

static const char *on_open(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	uint32_t id = mux_rx_id(m);

	if (id != m->peer_next_id)
		return "a stream was opened out of order";
	if (id > MUX_LAST_ID)
		return "more streams were opened than there are ids";
	m->peer_next_id += 2;
	s = mux_stream_new(m, MUX_STATE_OFFERED, (enum mux_kind)payload[0]);
	if (!s) {
		mux_orphan(m, id, MUX_REFUSE, MUX_REASON_RESOURCES);
		return NULL;
	}
	s->id = id;
	mux_hash(m, s);
	m->events->open(m->ctx, s, s->kind, payload + 1, len - 1);
	return NULL;
}

static const char *on_accept(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	if (s->state != MUX_STATE_OPENING)
		return "a stream was accepted that was not waiting for it";
	s->state = MUX_STATE_OPEN;
	if (s->events->accepted)
		s->events->accepted(s->ctx);
	return NULL;
}

static const char *on_refuse(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	if (s->state != MUX_STATE_OPENING)
		return "a stream was refused that was not waiting for it";
	if (!mux_reason_sendable(payload[0]))
		return "a stream was refused for no known reason";
	mux_stream_end(s, (enum mux_reason)payload[0]);
	return NULL;
}

static const char *on_credit(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	uint32_t n = wire_peek_u32(payload);

	if (s->state != MUX_STATE_OPEN)
		return "credit was given on a stream that is not accepted";
	if (!n || n > MUX_CREDIT_MAX - s->send_credit)
		return "more credit was given than a window can be";
	s->send_credit += n;
	s->limited_due = s->limited_told = false;
	mux_stream_update(s);
	return NULL;
}

/* PROTOCOL.md, "Mux: credit". The window grows only for a reader that has read what came so far. */
static const char *on_limited(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	if (s->state == MUX_STATE_OPENING || s->fin_came)
		return "a stream was limited that cannot send";
	if (s->window * 2 > MUX_CREDIT_MAX || m->growth + s->window > MUX_GROWTH_MAX || s->unconsumed > s->window / 2)
		return NULL;
	m->growth += s->window;
	s->credit_due += s->window;
	s->window *= 2;
	mux_stream_update(s);
	return NULL;
}

static const char *on_fin(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	if (s->state == MUX_STATE_OPENING)
		return "a stream was finished that is not accepted";
	if (s->fin_came)
		return "a stream was finished twice";
	s->fin_came = s->heard_last = true;
	mux_stream_update(s);
	/* After what is stored. */
	mux_stream_notice(s);
	return NULL;
}

static const char *on_leave(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	s->leave_came = !s->fin_came;
	return on_fin(m, s, payload, len);
}

static const char *on_reset(struct mux *m, struct mux_stream *s, const uint8_t *payload, size_t len)
{
	if (!mux_reason_sendable(payload[0]))
		return "a stream was reset for no known reason";
	mux_stream_end(s, (enum mux_reason)payload[0]);
	return NULL;
}

/* Looks at the whole frame when its header is there: what was not granted is not even looked at. */
static const char *on_data_header(struct mux *m, struct mux_stream *s, size_t len)
{
	if (s->state == MUX_STATE_OPENING)
		return "data came on a stream that is not accepted";
	if (s->fin_came)
		return "data came on a stream that was finished";
	if (len > s->recv_credit)
		return "more data came than credit was given for";
	s->recv_credit -= (uint32_t)len;
	m->rx_stream = s;
	return NULL;
}

static void on_data(struct mux *m, const uint8_t *data, size_t len)
{
	struct mux_stream *s = m->rx_stream;

	m->stats.bytes_in += len;
	/* Ended here while the frame was on its way. */
	if (!s)
		return;
	s->unconsumed += (uint32_t)len;
	s->passed += len;
	s->heard_last = true;
	if (s->state == MUX_STATE_OPEN && !s->stored.len) {
		s->events->data(s->ctx, data, len);
	} else if (!fifo_append(&s->stored, data, len)) {
		mux_orphan(m, s->id, MUX_RESET, MUX_REASON_RESOURCES);
		mux_stream_end(s, MUX_REASON_RESOURCES);
	}
}

static const struct {
	uint32_t min, max; /* length of the payload */
	mux_handler *handle;
} mux_frames[MUX_FRAME_COUNT] = {
	[MUX_OPEN] = {1, 1 + MUX_ARGS_MAX, on_open},
	[MUX_ACCEPT] = {0, 0, on_accept},
	[MUX_REFUSE] = {1, 1, on_refuse},
	[MUX_DATA] = {1, MUX_FRAME_MAX, NULL},
	[MUX_CREDIT] = {4, 4, on_credit},
	[MUX_LIMITED] = {0, 0, on_limited},
	[MUX_FIN] = {0, 0, on_fin},
	[MUX_RESET] = {1, 1, on_reset},
	[MUX_LEAVE] = {0, 0, on_leave},
};

/* Was the id ever opened? Ids of ours are odd or even as our next one is. */
static bool mux_id_known(const struct mux *m, uint32_t id)
{
	return id && id < ((id ^ m->next_id) & 1 ? m->peer_next_id : m->next_id);
}

static const char *mux_header(struct mux *m)
{
	uint32_t id = mux_rx_id(m);
	uint32_t word = wire_peek_u32(m->rx_header + 4);
	unsigned type = word >> 24;
	struct mux_stream *s;

	m->rx_left = word & 0xffffffu;
	m->rx_got = 0;
	m->rx_stream = NULL;
	if (type < MUX_OPEN || type >= MUX_FRAME_COUNT)
		return "a frame of an unknown type came";
	if (m->rx_left < mux_frames[type].min || m->rx_left > mux_frames[type].max)
		return "a frame of an impossible length came";
	if (type == MUX_OPEN)
		return NULL;
	if (!mux_id_known(m, id))
		return "a frame came for a stream that was never opened";
	s = mux_find(m, id);
	return s && type == MUX_DATA ? on_data_header(m, s, m->rx_left) : NULL;
}

/* A whole frame other than DATA. */
static const char *mux_handle(struct mux *m, const uint8_t *payload, size_t len)
{
	unsigned type = m->rx_header[4];
	struct mux_stream *s = type == MUX_OPEN ? NULL : mux_find(m, mux_rx_id(m));

	/* PROTOCOL.md, "Mux: streams": what comes for a stream that has ended here is ignored. */
	return s || type == MUX_OPEN ? mux_frames[type].handle(m, s, payload, len) : NULL;
}

/* Some of the payload. Returns how much was used. */
static size_t mux_payload(struct mux *m, const uint8_t *data, size_t len, const char **wrong)
{
	size_t n = len < m->rx_left ? len : m->rx_left;
	bool data_frame = m->rx_header[4] == MUX_DATA;

	m->rx_left -= n;
	if (data_frame) {
		on_data(m, data, n);
	} else if (!m->rx_left && !m->rx_got) {
		*wrong = mux_handle(m, data, n);
	} else {
		memcpy(m->rx_payload + m->rx_got, data, n);
		m->rx_got += n;
		if (!m->rx_left)
			*wrong = mux_handle(m, m->rx_payload, m->rx_got);
	}
	if (!m->rx_left) {
		m->rx_have = 0;
		m->rx_stream = NULL;
	}
	return n;
}

static size_t mux_some(struct mux *m, const uint8_t *data, size_t len, const char **wrong)
{
	size_t n = MUX_HEADER - m->rx_have;

	if (!n)
		return mux_payload(m, data, len, wrong);
	if (n > len)
		n = len;
	memcpy(m->rx_header + m->rx_have, data, n);
	m->rx_have += n;
	if (m->rx_have == MUX_HEADER) {
		*wrong = mux_header(m);
		if (!*wrong && !m->rx_left)
			mux_payload(m, data, 0, wrong);
	}
	return n;
}

int mux_outlet(struct mux *m, size_t *max)
{
	struct mux_stream *s = m->rx_stream;

	*max = MUX_HEADER - m->rx_have;
	if (*max || !s || s->state != MUX_STATE_OPEN || s->stored.len || !s->events->outlet)
		return -1;
	*max = m->rx_left;
	return s->events->outlet(s->ctx);
}

void mux_passed(struct mux *m, size_t n)
{
	struct mux_stream *s = m->rx_stream;

	m->stats.bytes_in += n;
	m->rx_left -= n;
	if (!m->rx_left) {
		m->rx_have = 0;
		m->rx_stream = NULL;
	}
	s->unconsumed += (uint32_t)n;
	s->passed += n;
	s->heard_last = true;
	m->depth++;
	s->events->passed(s->ctx, n);
	mux_leave(m);
}

int mux_receive(struct mux *m, const uint8_t *data, size_t len, const char **why)
{
	m->depth++;
	while (len && !m->broken) {
		const char *wrong = NULL;
		size_t n = mux_some(m, data, len, &wrong);

		data += n;
		len -= n;
		if (wrong)
			m->broken = wrong;
	}
	mux_deliver(m);
	mux_leave(m);
	if (!m->broken)
		return 0;
	*why = m->broken;
	return -EPROTO;
}
