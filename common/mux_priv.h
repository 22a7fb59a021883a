/* SPDX-License-Identifier: MIT */
/* What the files of the mux share: mux.c (streams and their users), mux_receive.c (frames in), mux_produce.c (frames
 * out). Nobody else includes this. */
#ifndef HOMEPORT_MUX_PRIV_H
#define HOMEPORT_MUX_PRIV_H

#include <sys/queue.h>

#include "bounds.h"
#include "fifo.h"
#include "mux.h"

#define MUX_HEADER  8u
#define MUX_LAST_ID (UINT32_MAX - 4u) /* of a stream, either side's: no id comes twice, and 0 is never one */

/* PROTOCOL.md, "Mux: frames". */
enum mux_frame {
	MUX_OPEN = 1,
	MUX_ACCEPT,
	MUX_REFUSE,
	MUX_DATA,
	MUX_CREDIT,
	MUX_LIMITED,
	MUX_FIN,
	MUX_RESET,
	MUX_LEAVE,
	MUX_FRAME_COUNT,
};

/*
 * What is legal per state:
 *	OPENING	 ours, not answered: we send OPEN, then DATA and FIN; the peer sends ACCEPT, REFUSE, CREDIT, RESET
 *	OFFERED	 the peer's, not answered: the peer sends DATA, FIN, LIMITED, RESET (stored); we send nothing
 *		 (LEAVE is a FIN)
 *	OPEN	 both send everything but OPEN and the answers
 *	ENDED	 known to its user alone, until `closed` was called or the user let go
 */
enum mux_state {
	MUX_STATE_OPENING,
	MUX_STATE_OFFERED,
	MUX_STATE_OPEN,
	MUX_STATE_ENDED,
};

/* The list of streams with something to send that a stream is in. */
enum mux_turn {
	MUX_TURN_NONE,
	MUX_TURN_CONTROL,
	MUX_TURN_SPARSE,
	MUX_TURN_BULK,
	MUX_TURN_COUNT,
};

TAILQ_HEAD(mux_list, mux_stream);

struct mux_stream {
	struct mux *mux;
	TAILQ_ENTRY(mux_stream) all;    /* mux.streams, or mux.graveyard */
	TAILQ_ENTRY(mux_stream) turned; /* mux.turns[turn] */
	TAILQ_ENTRY(mux_stream) signal; /* mux.signals */
	TAILQ_ENTRY(mux_stream) notice; /* mux.notices */
	TAILQ_ENTRY(mux_stream) idle;   /* mux.hangups */
	struct mux_stream *hashed;      /* the next in its bucket */
	const struct mux_stream_events *events;
	void *ctx;

	uint32_t id; /* 0 until OPEN is sent */
	enum mux_kind kind;
	enum mux_state state;
	enum mux_turn turn;
	enum mux_reason reason; /* of ENDED */

	/* Sending. */
	uint8_t *args; /* of OPEN, until it is sent */
	size_t args_len;
	struct fifo queue;
	uint32_t send_credit;
	int32_t deficit;
	int32_t allowance;     /* bytes that may go before all bulk; less than 0: it has sent too many for that, */
	uint64_t allowance_at; /* as of when all streams together had sent so many */
	uint64_t passed;       /* bytes of this one, both ways; */
	uint64_t others_at;    /* and of the others, when it overtook them last */

	/* Receiving: window = recv_credit + unconsumed + credit_due. */
	struct fifo stored; /* came before it could be delivered; part of unconsumed */
	uint32_t window, recv_credit, unconsumed, credit_due;

	bool ready : 1;        /* counted in mux.ready */
	bool signalled : 1;    /* in mux.signals */
	bool noticed : 1;      /* in mux.notices */
	bool buried : 1;       /* in mux.graveyard */
	bool accept_due : 1;   /* ACCEPT is to be sent */
	bool limited_due : 1;  /* LIMITED is to be sent */
	bool limited_told : 1; /* and was, since the last CREDIT */
	bool fin_queued : 1, fin_sent : 1;
	bool fin_came : 1, fin_told : 1;
	bool leaving : 1, leave_came : 1; /* the FIN is a LEAVE */
	bool heard_last : 1;              /* the peer's data, or FIN, came after our last data */
	bool hanging_up : 1;              /* in mux.hangups */
	bool want_writable : 1;
	bool pullable : 1;
};

struct mux {
	const struct mux_events *events;
	void *ctx;
	struct mux_stats stats;
	struct mux_list streams, graveyard, signals, notices, hangups;
	struct mux_list turns[MUX_TURN_COUNT];
	struct fifo orphans; /* REFUSE and RESET frames of streams that are gone */
	size_t ready;        /* streams that can send data now */
	size_t growth;       /* of all windows, beyond MUX_CREDIT_INITIAL */

	struct mux_stream **buckets;
	size_t bucket_count, hashed;

	uint32_t next_id;      /* of the next OPEN we send */
	uint32_t peer_next_id; /* of the next the peer may send */
	unsigned depth;        /* inside how many of our functions; streams are freed at 0 */
	bool delivering, freeing, pending_told;
	bool bulk_held;
	uint64_t overtakes;
	const char *broken; /* the session must end, and why */

	/* The frame that is arriving. */
	uint8_t rx_header[MUX_HEADER];
	size_t rx_have;               /* bytes of the header */
	size_t rx_left;               /* bytes of the payload still to come */
	struct mux_stream *rx_stream; /* that its DATA go to; NULL: nobody */
	size_t rx_got;
	uint8_t rx_payload[1 + MUX_ARGS_MAX];
};

static inline bool mux_stream_sendable(const struct mux_stream *s)
{
	return (s->queue.len || s->pullable) && s->send_credit &&
	       (s->state == MUX_STATE_OPENING || s->state == MUX_STATE_OPEN);
}

/* mux.c. A new stream of ours (OPENING) or of the peer's (OFFERED); NULL: out of memory, or too many. */
struct mux_stream *mux_stream_new(struct mux *m, enum mux_state state, enum mux_kind kind);
struct mux_stream *mux_find(const struct mux *m, uint32_t id);
void mux_hash(struct mux *m, struct mux_stream *s);
/* The stream is over for the peer; its user is told by the next mux_deliver(). */
void mux_stream_end(struct mux_stream *s, enum mux_reason reason);
/* Has mux_deliver() look at the stream. */
void mux_stream_notice(struct mux_stream *s);
/* Ends it with `closed(NONE)` if both directions are. */
void mux_stream_end_if_finished(struct mux_stream *s);
/* Queues REFUSE or RESET for a stream that is gone. */
void mux_orphan(struct mux *m, uint32_t id, enum mux_frame type, enum mux_reason reason);
/* Streams may be freed again. */
void mux_leave(struct mux *m);

/* mux_produce.c. Puts the stream where mux_produce() finds what it has to send. */
void mux_stream_update(struct mux_stream *s);
/* Takes it from wherever that was. */
void mux_stream_unlist(struct mux_stream *s);
void mux_tell_pending(struct mux *m);

#endif
