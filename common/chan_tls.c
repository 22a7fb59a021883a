/* SPDX-License-Identifier: MIT */
/*
 * A chan under TLS, by OpenSSL's libssl. Runs on the loop's thread.
 *
 * OpenSSL never sees the socket: it reads from `in` and writes to `out` (a BIO of ours), so that one recv(2) and one
 * send(2) carry many records, and nothing of it waits. A write is sealed as a whole and then sent; while some of it is
 * left, no more is taken. A turn reads once.
 */
#include "chan_tls.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "chan.h"
#include "loop.h"

#define CHAN_TLS_READ  (256u << 10)
#define CHAN_TLS_WRITE (256u << 10)
/* What a delivery to the owner has at most. */
#define CHAN_TLS_TEXT (64u << 10)
/* A record's header, type and tag, for each 16 KiB; and what the protocol itself has to say. */
#define CHAN_TLS_RECORD (16u << 10)
#define CHAN_TLS_EXTRA  (CHAN_TLS_WRITE / CHAN_TLS_RECORD * 64u + 4096u)
/* A key of AES-GCM is good for 2^24.5 records (RFC 8446, 5.5), some 380 GiB; another one costs nothing. */
#define CHAN_TLS_KEY_BYTES (256u << 20)
/* With how many reads the last words of a peer are looked for, behind which a write failed. */
#define CHAN_TLS_LAST_READS 8

static const unsigned char chan_tls_identity[] = "homeport";

struct chan_tls {
	struct chan chan;
	struct loop *loop;
	int fd;
	struct loop_fd *watch;
	SSL_CTX *context;
	SSL *ssl;
	uint8_t key[DIRECT_KEY_SIZE]; /* until `ready` */
	chan_tls_ready_cb *ready;     /* NULL: it was called */
	void *ready_ctx;
	uint64_t sealed; /* with the present key */
	int write_error;
	bool blocked; /* the owner's last write was not taken whole */
	bool eof;
	bool pumping; /* on_pump is deferred */
	bool ended;   /* `closed` was called, or `ready` with a reason */
	bool freed;   /* by the owner; the memory goes at the end of the turn */
	size_t in_at, in_len, out_at, out_len;
	uint8_t in[CHAN_TLS_READ + 2 * CHAN_TLS_RECORD];
	uint8_t out[CHAN_TLS_WRITE + CHAN_TLS_EXTRA];
	uint8_t text[CHAN_TLS_TEXT];
};

static bool alive(const struct chan_tls *c)
{
	return !c->freed && !c->ended && c->chan.events;
}

/* ---------------------------------------------------------------------------------------------------- what OpenSSL has
 */

static int bio_write(BIO *bio, const char *data, int len)
{
	struct chan_tls *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if ((size_t)len > sizeof(c->out) - c->out_len) {
		BIO_set_retry_write(bio);
		return -1;
	}
	memcpy(c->out + c->out_len, data, (size_t)len);
	c->out_len += (size_t)len;
	return len;
}

static int bio_read(BIO *bio, char *data, int len)
{
	struct chan_tls *c = BIO_get_data(bio);
	size_t there = c->in_len - c->in_at;

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (!there && c->eof)
		return 0;
	if (!there) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (there > (size_t)len)
		there = (size_t)len;
	memcpy(data, c->in + c->in_at, there);
	c->in_at += there;
	return (int)there;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* One for the process, never freed. */
static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (method)
		return method;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "chan_tls");
	if (method && (!BIO_meth_set_write(method, bio_write) || !BIO_meth_set_read(method, bio_read) ||
		       !BIO_meth_set_ctrl(method, bio_ctrl) || !BIO_meth_set_create(method, bio_create))) {
		BIO_meth_free(method);
		method = NULL;
	}
	return method;
}

/* The key, as what both would have of an earlier session. NULL: out of memory. */
static SSL_SESSION *key_session(SSL *ssl)
{
	static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
	const struct chan_tls *c = SSL_get_app_data(ssl);
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher && SSL_SESSION_set1_master_key(session, c->key, sizeof(c->key)) &&
	    SSL_SESSION_set_cipher(session, cipher) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

static int client_key(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len, SSL_SESSION **session)
{
	(void)md; /* there is one cipher */
	*session = key_session(ssl);
	*identity = chan_tls_identity;
	*len = sizeof(chan_tls_identity) - 1;
	return *session != NULL;
}

static int server_key(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **session)
{
	*session = NULL;
	if (len == sizeof(chan_tls_identity) - 1 && !memcmp(identity, chan_tls_identity, len))
		*session = key_session(ssl);
	return 1;
}

/* The file of this machine's settings, and a provider it names, are not loaded for it: the guest's binary is static. */
static SSL_CTX *context_new(void)
{
	SSL_CTX *context = OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) ? SSL_CTX_new(TLS_method()) : NULL;

	if (!context)
		return NULL;
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_psk_use_session_callback(context, client_key);
	SSL_CTX_set_psk_find_session_callback(context, server_key);
	if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(context, 0) &&
	    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"))
		return context;
	SSL_CTX_free(context);
	return NULL;
}

static int ssl_begin(struct chan_tls *c, enum chan_tls_role role)
{
	BIO *bio;

	c->context = context_new();
	c->ssl = c->context ? SSL_new(c->context) : NULL;
	bio = c->ssl && bio_method() ? BIO_new(bio_method()) : NULL;
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, c);
	SSL_set_bio(c->ssl, bio, bio);
	SSL_set_app_data(c->ssl, c);
	if (role == CHAN_TLS_SERVER)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	/* A certificate is no way in either: there is none to verify it with. Of a client's none is asked. */
	if (role == CHAN_TLS_CLIENT)
		SSL_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------------ the end
 */

static void watch_what_matters(struct chan_tls *c)
{
	unsigned interest = 0;

	if (!c->ended && !c->eof && (c->ready || c->chan.events))
		interest |= LOOP_READ;
	if (!c->ended && !c->write_error && (c->out_at < c->out_len || c->blocked))
		interest |= LOOP_WRITE;
	loop_fd_set(c->watch, interest);
}

/* Calls the owner, or who waits for `ready`, last: it may have freed the chan. */
static void end(struct chan_tls *c, int error, const char *why)
{
	const struct chan_events *events = c->chan.events;
	chan_tls_ready_cb *ready = c->ready;

	if (c->ended || c->freed)
		return;
	c->ended = true;
	c->ready = NULL;
	watch_what_matters(c);
	if (ready)
		ready(c->ready_ctx, why);
	else if (events)
		events->closed(c->chan.ctx, error, why);
}

/* By an errno of the socket's. */
static void end_by_socket(struct chan_tls *c, int error, const char *what)
{
	char why[128];

	snprintf(why, sizeof(why), "%s: %s", c->ready ? "connecting directly failed" : what, strerror(-error));
	end(c, error, why);
}

/* By what OpenSSL said of a call (SSL_get_error(), and the reason it has queued), unless it only waits for the socket.
 */
static void end_by_ssl(struct chan_tls *c, int error, unsigned long reason)
{
	const char *text = ERR_reason_error_string(reason);

	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return;
	if (error == SSL_ERROR_ZERO_RETURN)
		end(c, 0, "the connection was closed by the other side");
	else if (c->eof)
		end(c, -ECONNRESET, "the connection broke off");
	else
		end(c, -EPROTO, text ? text : "the connection was tampered with");
}

/* -------------------------------------------------------------------------------------------------------------- bytes
 */

static void on_write_failed(void *ctx);

/* Sends what is sealed, as far as it goes. */
static void flush(struct chan_tls *c)
{
	while (c->out_at < c->out_len && !c->write_error) {
		ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

		if (n >= 0) {
			c->out_at += (size_t)n;
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR) {
			c->write_error = -errno;
			loop_defer(c->loop, on_write_failed, c);
		}
	}
	c->out_at = c->out_len = 0;
}

/* Reads once. False: there is nothing (more). */
static bool fill(struct chan_tls *c)
{
	ssize_t n;

	memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
	c->in_len -= c->in_at;
	c->in_at = 0;
	n = recv(c->fd, c->in + c->in_len, chan_turn(&c->chan, sizeof(c->in) - c->in_len), 0);
	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		end_by_socket(c, -errno, "reading from the connection failed");
	return n > 0;
}

/* Gives the owner what can be opened. */
static void pump(struct chan_tls *c)
{
	while (alive(c) && !c->ready) {
		size_t len = 0, got = 0;
		unsigned long reason;
		int rc = 1, error;

		ERR_clear_error();
		while (len < sizeof(c->text) && rc > 0) {
			rc = SSL_read_ex(c->ssl, c->text + len, sizeof(c->text) - len, &got);
			if (rc > 0)
				len += got;
		}
		/* Before the owner has its turn, which may write. */
		error = SSL_get_error(c->ssl, rc);
		reason = ERR_peek_last_error();
		if (len)
			c->chan.events->data(c->chan.ctx, c->text, len);
		if (rc > 0)
			continue;
		if (alive(c))
			end_by_ssl(c, error, reason);
		return;
	}
}

static void on_pump(void *ctx)
{
	struct chan_tls *c = ctx;

	c->pumping = false;
	if (c->freed)
		return;
	pump(c);
	if (!c->freed)
		watch_what_matters(c);
}

static void on_write_failed(void *ctx)
{
	struct chan_tls *c = ctx;

	for (int i = 0; i < CHAN_TLS_LAST_READS && alive(c) && fill(c); i++)
		pump(c);
	end_by_socket(c, c->write_error, "writing to the connection failed");
}

static void shake(struct chan_tls *c)
{
	chan_tls_ready_cb *ready = c->ready;
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(c->ssl);
	flush(c);
	if (rc != 1) {
		end_by_ssl(c, SSL_get_error(c->ssl, rc), ERR_peek_last_error());
		return;
	}
	OPENSSL_cleanse(c->key, sizeof(c->key));
	if (!SSL_session_reused(c->ssl)) {
		end(c, -EPROTO, "the other end has not the key");
		return;
	}
	c->ready = NULL;
	ready(c->ready_ctx, NULL);
}

static void on_event(void *ctx, int fd, unsigned what)
{
	struct chan_tls *c = ctx;

	(void)fd;
	if (what == LOOP_WRITE) {
		flush(c);
		if (c->out_at == c->out_len && c->blocked && !c->write_error) {
			c->blocked = false;
			if (alive(c))
				c->chan.events->writable(c->chan.ctx);
		}
	} else if (fill(c) || c->eof) {
		if (c->ready)
			shake(c);
		if (!c->freed && !c->ready)
			pump(c);
	}
	if (!c->freed)
		watch_what_matters(c);
}

/* ---------------------------------------------------------------------------------------------------------- the chan
 */

static size_t chan_tls_write(struct chan *chan, const uint8_t *data, size_t len, bool kept)
{
	struct chan_tls *c = (struct chan_tls *)chan;
	size_t done = 0, taken;

	(void)kept; /* what leaves is not these bytes */
	while (done < len && !c->write_error && !c->ended && !c->ready) {
		size_t part = len - done < CHAN_TLS_WRITE ? len - done : CHAN_TLS_WRITE;

		flush(c);
		if (c->out_at < c->out_len)
			break;
		ERR_clear_error();
		if (SSL_write_ex(c->ssl, data + done, part, &taken) <= 0) {
			c->write_error = -EPROTO;
			loop_defer(c->loop, on_write_failed, c);
			break;
		}
		done += taken;
		c->sealed += taken;
		if (c->sealed >= CHAN_TLS_KEY_BYTES && SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
			c->sealed = 0;
		flush(c);
	}
	c->blocked = done < len;
	watch_what_matters(c);
	return done;
}

static void chan_tls_owned(struct chan *chan)
{
	struct chan_tls *c = (struct chan_tls *)chan;

	if (chan->events && !c->ended && !c->pumping) {
		c->pumping = true;
		loop_defer(c->loop, on_pump, c);
	}
	if (!chan->events)
		c->blocked = false;
	watch_what_matters(c);
}

static void release(void *ctx)
{
	struct chan_tls *c = ctx;

	SSL_free(c->ssl);
	SSL_CTX_free(c->context);
	OPENSSL_cleanse(c->key, sizeof(c->key));
	free(c);
}

static void chan_tls_free(struct chan *chan)
{
	struct chan_tls *c = (struct chan_tls *)chan;

	c->freed = true;
	if (!c->ended && !c->ready && !c->write_error) {
		ERR_clear_error();
		SSL_shutdown(c->ssl);
		flush(c);
	}
	/* What was not read would make the kernel reset the connection, and the other end lose what it has not read. */
	shutdown(c->fd, SHUT_WR);
	for (int i = 0; i < CHAN_TLS_LAST_READS && recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT) > 0; i++)
		;
	loop_fd_free(c->watch);
	close(c->fd);
	/* Our caller may stand inside `data`, with c->text before it. */
	loop_defer(c->loop, release, c);
}

static bool chan_tls_is_flushed(const struct chan *chan)
{
	const struct chan_tls *c = (const struct chan_tls *)chan;

	return c->out_at == c->out_len || c->write_error || c->ended;
}

static int chan_tls_set_loop(struct chan *chan, struct loop *loop)
{
	struct chan_tls *c = (struct chan_tls *)chan;

	loop_fd_free(c->watch);
	c->watch = NULL;
	if (!loop)
		return 0;
	c->loop = loop;
	c->watch = loop_fd_new(loop, c->fd, 0, on_event, c);
	return c->watch ? 0 : -ENOMEM;
}

static const struct chan_ops chan_tls_ops = {
	.owned = chan_tls_owned,
	.write = chan_tls_write,
	.is_flushed = chan_tls_is_flushed,
	.set_loop = chan_tls_set_loop,
	.free = chan_tls_free,
};

static void on_begin(void *ctx)
{
	struct chan_tls *c = ctx;

	if (c->freed || !c->ready)
		return;
	shake(c);
	if (!c->freed)
		watch_what_matters(c);
}

struct chan *chan_tls_new(struct loop *loop, int fd, enum chan_tls_role role, const uint8_t key[DIRECT_KEY_SIZE],
			  chan_tls_ready_cb *ready, void *ctx)
{
	/* Not calloc: the buffers' pages are touched only when they are used. */
	struct chan_tls *c = malloc(sizeof(*c));

	if (!c) {
		close(fd);
		return NULL;
	}
	memset(c, 0, offsetof(struct chan_tls, in));
	c->chan.ops = &chan_tls_ops;
	c->loop = loop;
	c->fd = fd;
	c->ready = ready;
	c->ready_ctx = ctx;
	memcpy(c->key, key, sizeof(c->key));
	c->watch = loop_fd_new(loop, fd, 0, on_event, c);
	if (!c->watch || ssl_begin(c, role) < 0) {
		loop_fd_free(c->watch);
		close(fd);
		release(c);
		return NULL;
	}
	loop_defer(loop, on_begin, c);
	return &c->chan;
}
