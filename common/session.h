/* SPDX-License-Identifier: MIT */
/*
 * session: numbered, acknowledged bytes that survive a reconnect. Pure: no descriptor, no clock (time is passed in).
 * PROTOCOL.md, "Session".
 *
 * Above it, two byte streams (one a direction) in which nothing is lost, doubled or reordered while the session lives;
 * below it, one connection at a time, which may end anywhere, also inside a frame. What was sent is kept until the
 * peer acknowledged it; a new connection starts with HELLO both ways, in which each side says how much it has, and
 * goes on from there.
 *
 * States: DETACHED (no connection) -> session_attach() -> GREETING (our HELLO is queued) -> peer's HELLO -> UP
 *         -> session_detach() -> DETACHED ...; any -> DEAD (protocol error, GOODBYE, unknown to the peer).
 */
#ifndef HOMEPORT_SESSION_H
#define HOMEPORT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_VERSION     1 /* of the protocol */
#define SESSION_ID_SIZE     16
#define SESSION_SECRET_SIZE 32

struct session;
struct wire_buf;

enum session_role {
	SESSION_HOST,  /* connects, chooses id and secret, skips what a login shell printed */
	SESSION_GUEST, /* is connected to */
};

enum session_state {
	SESSION_DETACHED,
	SESSION_GREETING,
	SESSION_UP,
	SESSION_DEAD,
	SESSION_STATE_COUNT,
};

/* Why a side says GOODBYE, and why a session died here. Names by session_reason_name(). */
enum session_reason {
	SESSION_REASON_NONE,
	SESSION_REASON_STOPPED,   /* this side is being stopped by its user */
	SESSION_REASON_VERSION,   /* the peer speaks another protocol version */
	SESSION_REASON_PROTOCOL,  /* the peer broke the protocol */
	SESSION_REASON_UNKNOWN,   /* the guest does not know the session the host wanted to resume */
	SESSION_REASON_FENCED,    /* a newer connection of the same session took over (ends the connection only) */
	SESSION_REASON_REPLACED,  /* another session of the same instance took over */
	SESSION_REASON_RESOURCES, /* out of memory, too many sessions */
	SESSION_REASON_EXPIRED,   /* detached for longer than sessionTimeout */
	SESSION_REASON_COUNT,
};

/* What HELLO carries (PROTOCOL.md, "HELLO"). */
struct session_hello {
	uint32_t version;
	uint64_t features;
	uint8_t id[SESSION_ID_SIZE];
	uint8_t secret[SESSION_SECRET_SIZE];
	uint8_t instance[SESSION_ID_SIZE]; /* the same for each session of one configured pair */
	uint64_t epoch;                    /* of the connection: higher fences lower */
	uint64_t received;                 /* bytes of the peer's stream had so far */
	bool resume;                       /* host: wants to go on; guest: goes on */
	uint32_t timeout_s;                /* how long the guest keeps a detached session (set by the host) */
	char agent_version[32];
};

struct session_events {
	/* The peer's HELLO arrived and both sides go on. resumed is false for the first connection of a session. */
	void (*up)(void *ctx, bool resumed, const struct session_hello *peer);
	/* The next bytes of the peer's stream. All are taken. */
	void (*data)(void *ctx, const uint8_t *data, size_t len);
	/*
	 * A descriptor that the next *max bytes of the peer's stream may be moved to; session_passed() is told, and
	 * calls `passed`. -1: none, and it is worth asking again after *max bytes (0: unknown). Both may be NULL.
	 */
	int (*outlet)(void *ctx, size_t *max);
	void (*passed)(void *ctx, size_t n);
	/* What stood before the banner on a new connection, for the log (host only; once, bounded). */
	void (*skipped)(void *ctx, const uint8_t *data, size_t len);
};

/* A new session; `hello` gives id, secret, instance, features, timeout_s and agent_version (copied). NULL: memory. */
struct session *session_new(enum session_role role, const struct session_hello *hello,
			    const struct session_events *events, void *ctx);
void session_free(struct session *s);

enum session_state session_state(const struct session *s);
const struct session_hello *session_identity(const struct session *s);
const char *session_reason_name(enum session_reason reason);

/* Why a DEAD session died, and (text) a sentence for a person, "" when there is none. */
enum session_reason session_reason(const struct session *s, const char **text);

/*
 * A new connection. Host: call it and send what session_produce() gives. Guest: the greeter has read the host's HELLO
 * with session_parse_hello() to find the session; give it here; bytes after it go to session_receive(). A guest's
 * session refuses (-ESTALE) an epoch not above the last one, and a resume with counts it cannot serve (-EPROTO); it is
 * UP when this returns 0, and `up` was called. A connection that was there is detached first.
 */
int session_attach(struct session *s, const struct session_hello *peer, uint64_t now_us);

/* What session_attach() would return, with nothing done. */
int session_check_attach(const struct session *s, const struct session_hello *peer);

/* The connection is gone. What it had not acknowledged is kept. */
void session_detach(struct session *s, uint64_t now_us);

/*
 * Finds banner and HELLO at the start of a connection's bytes (guest side). Returns the bytes used, 0 when more are
 * needed, -EPROTO, or -EPROTONOSUPPORT for another version (hello->version says which; nothing else is set). Reads
 * nothing beyond SESSION_HELLO_MAX bytes.
 */
int session_parse_hello(const uint8_t *data, size_t len, struct session_hello *hello);

/* Is the HELLO of the session whose identity is `own`: id and secret are the same? Takes the same time wherever they
 * differ. */
bool session_matches(const struct session_hello *own, const struct session_hello *hello);

/* Writes the whole answer of a greeter that has no session for a HELLO: banner and GOODBYE. */
void session_put_refusal(struct wire_buf *out, enum session_reason reason, const char *text);

/* The sentence for another version: names both. */
void session_version_text(char *text, size_t size, enum session_role our_role, uint32_t their_version);

/*
 * Bytes of the connection. Returns 0, or
 *	-EPROTO, -ECONNRESET  the session is DEAD, see session_reason() (the peer broke the protocol; it said GOODBYE)
 *	-ECONNABORTED	      a newer connection has taken over: this one must be given up, the session lives
 *	-EBADMSG	      what is at the other end does not speak the protocol (no banner): the same
 * After the last two session_trouble() is a sentence about it.
 */
int session_receive(struct session *s, const uint8_t *data, size_t len, uint64_t now_us);

/*
 * The same question for the bytes of the connection: a descriptor that the next *max of them may be moved to as they
 * are, instead of session_receive(), and then session_passed() says how many were. -1: none, and it is worth asking
 * again after *max bytes (0: unknown).
 */
int session_outlet(struct session *s, size_t *max);
void session_passed(struct session *s, size_t n, uint64_t now_us);

const char *session_trouble(const struct session *s);

/* How many bytes session_send() takes now: the cap on what is unacknowledged, less what is. */
size_t session_room(const struct session *s);

/* So much is unacknowledged that what is appended now waits behind it: half of what the connection itself holds. */
bool session_crowded(const struct session *s);

/* Appends to our stream; at most session_room() bytes. Returns 0 or -ENOMEM. */
int session_send(struct session *s, const uint8_t *data, size_t len);

/*
 * The same without a copy: a place for at most `want` bytes (and at most session_room(); *len says how many, which may
 * be less), of which session_commit() then appends the first n. NULL: no room (*len 0), or no memory.
 */
uint8_t *session_reserve(struct session *s, size_t want, size_t *len);
void session_commit(struct session *s, size_t n);

/* Bytes appended that this connection has not taken yet. */
size_t session_unsent(const struct session *s);

/*
 * The next bytes for the connection, by reference: control frames first, then data never sent on this connection. They
 * stay valid until the next call on the session; *kept: until the peer acknowledged them, and unchanged, while this
 * connection is the session's. session_produced() says how many of them the connection took.
 */
size_t session_produce(struct session *s, const uint8_t **data, bool *kept);
void session_produced(struct session *s, size_t len, uint64_t now_us);

/* Queues GOODBYE; the session is DEAD once it was produced. `text` may be "". */
void session_goodbye(struct session *s, enum session_reason reason, const char *text);

/*
 * Time passes: sends PING (each second while UP), acknowledgements that waited. Returns 0, or -ETIMEDOUT when the
 * connection must be given up (nothing heard for 4 s, or no HELLO for 10 s; see session_trouble()), or -ETIME when a
 * detached session is past its timeout (then it is DEAD, EXPIRED). *next_us is when to call again (absolute),
 * UINT64_MAX for never.
 */
int session_tick(struct session *s, uint64_t now_us, uint64_t *next_us);

/* The last measured round trip in microseconds, 0 before the first. */
uint32_t session_rtt_us(const struct session *s);

/* When bytes of the peer last came, on the clock that is passed in. */
uint64_t session_heard_us(const struct session *s);

#endif
