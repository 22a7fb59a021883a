/* SPDX-License-Identifier: MIT */
/*
 * mux: many streams over one session. Pure: no descriptor, no clock. PROTOCOL.md, "Mux".
 *
 * A stream is opened by either side with a kind and arguments, accepted or refused by the other, carries bytes both
 * ways under credit (a receiver grants what it can store; a slow reader stops its own stream alone), and ends by FIN in
 * each direction, or by RESET. Data may follow OPEN at once, within the initial credit.
 *
 * Bytes wait in the streams, where they can still be reordered: mux_produce() is asked for as much as the session
 * takes, and gives control frames first, then streams with little to say (sparse), then bulk, fairly.
 *
 * Stream states, per direction: OPENING (we sent OPEN) | OFFERED (the peer's OPEN awaits our answer) | OPEN | FINISHED
 * (FIN passed) ; a stream with both directions finished, or reset, ends: `closed` is called once, as the last call.
 */
#ifndef HOMEPORT_MUX_H
#define HOMEPORT_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fifo;
struct mux;
struct mux_stream;
struct wire_buf;

enum mux_kind {
	MUX_KIND_CONTROL = 1, /* one a session, opened by the host, of the highest priority */
	MUX_KIND_SFTP = 2,    /* guest opens; arguments: control_msg.h, struct sftp_target */
	MUX_KIND_TCP = 3,     /* host opens; arguments: control_msg.h, struct tcp_target */
	MUX_KIND_UDP = 4,     /* the same, one a client; carries datagrams: datagram.h */
	MUX_KIND_UNIX = 5,    /* host opens; arguments: control_msg.h, struct unix_target */
	MUX_KIND_REVERSE = 6, /* guest opens; arguments: control_msg.h, the id of a LISTEN */
	MUX_KIND_RIDE = 7,    /* host opens, on a lane: lane.h; arguments: the id the stream had */
	MUX_KIND_LANE = 8,    /* host opens; carries a lane's connection */
};

/* Why a stream was refused or reset. Names by mux_reason_name(). */
enum mux_reason {
	MUX_REASON_NONE,
	MUX_REASON_PROHIBITED, /* this kind, from this side, or that target, is not allowed */
	MUX_REASON_NOT_FOUND,  /* no such mount, no such socket */
	MUX_REASON_REFUSED,    /* ECONNREFUSED at the target */
	MUX_REASON_UNREACHABLE,
	MUX_REASON_TIMED_OUT,
	MUX_REASON_RESET,     /* the target reset the connection */
	MUX_REASON_RESOURCES, /* out of descriptors, memory, streams */
	MUX_REASON_CANCELLED, /* whoever asked has gone */
	MUX_REASON_INTERNAL,
	MUX_REASON_LOST, /* the session ended: set locally, never sent */
	MUX_REASON_COUNT,
};

/* What the user of a stream is told. Any of these may be NULL but data and closed (and `passed` beside an outlet). Each
 * may call into the mux, but those that say otherwise. */
struct mux_stream_events {
	/* The peer accepted, and has something to say: until then nobody knows but the peer. */
	void (*accepted)(void *ctx);
	/* Bytes, valid for the call; the user stores what it cannot pass on, and calls mux_stream_consumed() later. */
	void (*data)(void *ctx, const uint8_t *data, size_t len);
	/* The queue had become full (mux_stream_space() was 0, or a write was cut short), and takes more now; or the
	 * stream is pullable no more. */
	void (*writable)(void *ctx);
	/* The peer sends no more; our direction stays open. */
	void (*fin)(void *ctx);
	/* The same, and what it would send goes on elsewhere. NULL: it may not, and the stream is reset. */
	void (*leave)(void *ctx);
	/* The stream is over (reason NONE after two FINs) and gone: the pointer is not valid after this call. */
	void (*closed)(void *ctx, enum mux_reason reason);
	/*
	 * The stream is pullable and its turn has come, within mux_produce(): puts up to `max` bytes where they leave
	 * from, and returns how many. When fewer than max, the stream is pullable no more, and `writable` follows.
	 * Calls nothing of the mux.
	 */
	size_t (*pull)(void *ctx, uint8_t *place, size_t max);
	/*
	 * A descriptor, not blocking, that the next data may be moved to without being looked at; -1: none now. Who
	 * gets one may move some there, and then calls `passed` with how many (more than 0), in the place of `data`.
	 */
	int (*outlet)(void *ctx);
	void (*passed)(void *ctx, size_t n);
};

struct mux_events {
	/*
	 * The peer opens a stream. Answer now or later by mux_stream_accept() or mux_stream_refuse(); until then its
	 * data wait in the peer and, within the initial credit, in the mux. Who answers later calls
	 * mux_stream_set_events() now, to hear of `closed` when the peer (or the session) gives up meanwhile.
	 */
	void (*open)(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len);
	/* There is something for mux_produce(), and there was not before. */
	void (*pending)(void *ctx);
};

struct mux_stats {
	uint64_t bytes_in, bytes_out;
	size_t streams;
	size_t queued; /* bytes that wait in all streams */
};

/* opener: true for the host (its stream ids are odd). NULL: out of memory. */
struct mux *mux_new(bool opener, const struct mux_events *events, void *ctx);

/* Ends every stream with `closed(LOST)` and frees the mux. NULL is fine. Not from inside its own callbacks; what those
 * `closed` call of the mux has no effect. */
void mux_free(struct mux *m);

/* Bytes from the session. 0, or -EPROTO (*why says what was wrong; the session must end). */
int mux_receive(struct mux *m, const uint8_t *data, size_t len, const char **why);

/*
 * A descriptor that the next *max bytes of mux_receive()'s may be moved to as they are; who moves n of them says so by
 * mux_passed(). -1: none, and then it is worth asking again after *max bytes more (0: nobody knows after how many).
 */
int mux_outlet(struct mux *m, size_t *max);
void mux_passed(struct mux *m, size_t n);

/* Appends whole frames, at most `max` bytes, to `out`. Returns the bytes appended, or -ENOMEM. */
ssize_t mux_produce(struct mux *m, struct wire_buf *out, size_t max);

/* While held, mux_produce() leaves bulk where it is. Overtakes are data frames of streams with little to say amid bulk
 * of others, either way: while they go on, bulk that is already under way is what they wait for. */
void mux_hold_bulk(struct mux *m, bool hold);
uint64_t mux_overtakes(const struct mux *m);
bool mux_pending(const struct mux *m);

/*
 * Hang-ups are FINs that nobody waits for: who had the last word before them was the peer. They are not pending, but go
 * with what is; who has none of that for MUX_HANGUP_US makes them pending by mux_hang_up().
 */
bool mux_has_hangups(const struct mux *m);
void mux_hang_up(struct mux *m);

/* Makes the calls that wait (data stored before a stream was accepted, `writable`, `closed`). mux_receive() and
 * mux_produce() end with it; who calls neither for a while (no connection) calls it once a turn. */
void mux_deliver(struct mux *m);

/* NULL: out of memory or MUX_STREAMS_MAX reached. Without events (NULL), others have to be set before the next call of
 * the mux. */
struct mux_stream *mux_open(struct mux *m, enum mux_kind kind, const uint8_t *args, size_t len,
			    const struct mux_stream_events *events, void *ctx);

/*
 * Answers an offered stream. events NULL: those of mux_stream_set_events() stay, which may be set while it is offered
 * (so `closed` tells of an opener that gave up). The data that waited are given later, never from inside.
 */
void mux_stream_accept(struct mux_stream *s, const struct mux_stream_events *events, void *ctx);
void mux_stream_refuse(struct mux_stream *s, enum mux_reason reason);

/* Replaces the events and context (a stream is handed to its next user). */
void mux_stream_set_events(struct mux_stream *s, const struct mux_stream_events *events, void *ctx);

/* Takes as many of the bytes as the stream may queue (mux_stream_space), maybe none. */
size_t mux_stream_write(struct mux_stream *s, const void *data, size_t len);
size_t mux_stream_space(const struct mux_stream *s);

/*
 * There is much to send, which need not be queued: what is behind the queue is asked for by `pull` when it can leave,
 * so that nobody copies it. Ends when that brings too little, with mux_stream_fin(), or with the stream.
 */
void mux_stream_set_pullable(struct mux_stream *s);

/* Takes all the bytes or, when they do not fit beyond the cap of `bounds.h`, none: -EAGAIN. For messages. */
int mux_stream_write_all(struct mux_stream *s, const void *data, size_t len);

/* Of the bytes given to `data`, n more are passed on: the peer may send as many again. */
void mux_stream_consumed(struct mux_stream *s, size_t n);

/* We send no more, after what is queued. */
void mux_stream_fin(struct mux_stream *s);

/* We send no more, from now on: what we would goes on elsewhere, beginning with what is queued, which is given back in
 * *rest, the caller's; also a FIN that is queued behind it. False: FIN is sent, and stands. */
bool mux_stream_leave(struct mux_stream *s, struct fifo *rest);

/* What both sides know it by; 0 until the peer can have heard of it. No two of a mux ever have the same. */
uint32_t mux_stream_id(const struct mux_stream *s);

/* Drops the stream both ways. `closed` is not called; the pointer is gone. */
void mux_stream_reset(struct mux_stream *s, enum mux_reason reason);

const struct mux_stats *mux_stats(const struct mux *m);
const char *mux_reason_name(enum mux_reason reason);

#endif
