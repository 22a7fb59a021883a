/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "chan.h"
#include "chan_tls.h"
#include "loop.h"

static const uint8_t key[DIRECT_KEY_SIZE] = "a key that both ends have, of 32";
static const uint8_t another[DIRECT_KEY_SIZE] = "a key that only one end has: 32.";

/* One end. It sends `left` bytes of a pattern as they are taken, and checks those that come. */
struct end {
	struct loop *loop;
	struct chan *chan;
	bool ready, owned;
	char why[200], closed_why[200];
	int closed, error, writable;
	uint64_t got, sent, left, wanted;
};

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void send_more(struct end *e)
{
	static uint8_t buf[300000];

	while (e->left && e->chan) {
		size_t part = e->left < sizeof(buf) ? (size_t)e->left : sizeof(buf), taken;

		for (size_t i = 0; i < part; i++)
			buf[i] = pattern(e->sent + i);
		taken = chan_write(e->chan, buf, part);
		e->sent += taken;
		e->left -= taken;
		if (taken < part)
			return;
	}
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct end *e = ctx;

	for (size_t i = 0; i < len; i += 1 + len / 64)
		assert_int_equal(data[i], pattern(e->got + i));
	e->got += len;
	if (e->wanted && e->got >= e->wanted)
		loop_stop(e->loop);
}

static void on_writable(void *ctx)
{
	struct end *e = ctx;

	e->writable++;
	send_more(e);
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct end *e = ctx;

	e->closed++;
	e->error = error;
	snprintf(e->closed_why, sizeof(e->closed_why), "%s", why);
	chan_free(e->chan);
	e->chan = NULL;
	loop_stop(e->loop);
}

static const struct chan_events events = {.data = on_data, .writable = on_writable, .closed = on_closed};

static void own(struct end *e)
{
	e->owned = true;
	chan_set_owner(e->chan, &events, e);
	send_more(e);
}

static void on_ready(void *ctx, const char *why)
{
	struct end *e = ctx;

	e->ready = !why;
	snprintf(e->why, sizeof(e->why), "%s", why ? why : "");
	if (why) {
		chan_free(e->chan);
		e->chan = NULL;
		loop_stop(e->loop);
	} else if (!e->owned) {
		own(e);
	}
}

static void begin(struct end *e, struct loop *loop, int fd, enum chan_tls_role role, const uint8_t *with)
{
	assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	e->loop = loop;
	e->chan = chan_tls_new(loop, fd, role, with, on_ready, e);
	assert_non_null(e->chan);
	assert_false(e->ready);
}

/* Runs turns for at most so long. */
static void run(struct loop *loop, unsigned ms)
{
	struct loop_timer *t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);

	loop_timer_set(t, ms * 1000u);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_free(t);
}

struct pair {
	struct loop *loop;
	struct end client, server;
};

static void pair_begin(struct pair *p, const uint8_t *server_key)
{
	int sv[2];

	p->loop = loop_new();
	assert_non_null(p->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	begin(&p->client, p->loop, sv[0], CHAN_TLS_CLIENT, key);
	begin(&p->server, p->loop, sv[1], CHAN_TLS_SERVER, server_key);
}

static void pair_end(struct pair *p)
{
	chan_free(p->client.chan);
	chan_free(p->server.chan);
	loop_free(p->loop);
}

static void who_has_the_key_is_ready_and_bytes_pass_both_ways(void **state)
{
	struct pair p = {.client = {.left = 5u << 20, .wanted = 3u << 20}, .server = {.left = 3u << 20}};

	(void)state;
	pair_begin(&p, key);
	p.server.wanted = UINT64_MAX;
	for (int i = 0; i < 50 && (p.client.got < 3u << 20 || p.server.got < 5u << 20); i++)
		run(p.loop, 200);
	assert_true(p.client.ready && p.server.ready);
	assert_int_equal(p.server.got, 5u << 20);
	assert_int_equal(p.client.got, 3u << 20);
	assert_true(p.client.writable > 0);
	assert_int_equal(p.client.closed + p.server.closed, 0);
	pair_end(&p);
}

/* Of the turn before, a record may be there but for its end. */
static void a_turn_reads_little_more_than_its_owner_wishes(void **state)
{
	struct pair p = {.server = {.left = 1u << 20}};

	(void)state;
	pair_begin(&p, key);
	p.client.wanted = 1;
	run(p.loop, 2000);
	for (int i = 0; i < 10; i++) {
		uint64_t before = p.client.got;

		chan_set_turn(p.client.chan, 40000);
		p.client.wanted = before + 1;
		run(p.loop, 2000);
		assert_in_range(p.client.got - before, 1, 40000 + (16u << 10));
	}
	chan_set_turn(p.client.chan, 0);
	p.client.wanted = 1u << 20;
	run(p.loop, 2000);
	assert_int_equal(p.client.got, 1u << 20);
	pair_end(&p);
}

static void who_has_another_key_is_nobody(void **state)
{
	struct pair p = {0};

	(void)state;
	pair_begin(&p, another);
	run(p.loop, 5000);
	run(p.loop, 300);
	assert_false(p.client.ready);
	assert_false(p.server.ready);
	assert_true(p.client.why[0] && p.server.why[0]);
	pair_end(&p);
}

/* What comes from the other end of a raw socket, in one piece. */
static ssize_t raw_take(int fd, uint8_t *buf, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 2000) == 1 ? recv(fd, buf, size, 0) : -1;
}

static void who_speaks_something_else_is_nobody(void **state)
{
	static const char *const words[] = {"GET / HTTP/1.1\r\nHost: guest\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
					    "\x16\x03\x01\xff\xff"};

	(void)state;
	for (size_t role = 0; role < 2; role++)
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			struct loop *loop = loop_new();
			struct end e = {0};
			int sv[2];

			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
			begin(&e, loop, sv[0], role ? CHAN_TLS_SERVER : CHAN_TLS_CLIENT, key);
			assert_true(write(sv[1], words[i], strlen(words[i])) > 0);
			shutdown(sv[1], SHUT_WR);
			run(loop, 3000);
			assert_false(e.ready);
			assert_true(e.why[0]);
			assert_null(e.chan);
			close(sv[1]);
			loop_free(loop);
		}
}

static void who_says_nothing_is_waited_for_and_can_be_given_up(void **state)
{
	struct loop *loop = loop_new();
	struct end e = {0};
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	begin(&e, loop, sv[0], CHAN_TLS_SERVER, key);
	run(loop, 100);
	assert_false(e.ready);
	assert_string_equal(e.why, "");
	chan_free(e.chan);
	loop_free(loop);
	close(sv[1]);
}

/* A server whose certificate is as good as can be, and that has not the key. */
struct impostor {
	int fd;
	int rc;
};

static void *impostor_run(void *arg)
{
	struct impostor *im = arg;
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	SSL *ssl;

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, pkey);
	X509_sign(cert, pkey, EVP_sha256());
	SSL_CTX_use_certificate(context, cert);
	SSL_CTX_use_PrivateKey(context, pkey);
	ssl = SSL_new(context);
	SSL_set_fd(ssl, im->fd);
	im->rc = SSL_accept(ssl);
	SSL_free(ssl);
	SSL_CTX_free(context);
	EVP_PKEY_free(pkey);
	X509_free(cert);
	return NULL;
}

static void a_certificate_is_no_way_in(void **state)
{
	struct loop *loop = loop_new();
	struct impostor im;
	struct end e = {0};
	pthread_t thread;
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	im.fd = sv[1];
	assert_int_equal(pthread_create(&thread, NULL, impostor_run, &im), 0);
	begin(&e, loop, sv[0], CHAN_TLS_CLIENT, key);
	run(loop, 5000);
	assert_false(e.ready);
	assert_true(e.why[0]);
	chan_free(e.chan);
	pthread_join(thread, NULL);
	assert_int_not_equal(im.rc, 1);
	close(sv[1]);
	loop_free(loop);
}

/* Passes bytes between two sockets as they are, and changes one of them once the handshake is over. */
struct meddler {
	struct loop *loop;
	int a, b;
	struct loop_fd *watch_a, *watch_b;
	size_t passed, flip_at, cut_at;
};

static void on_meddle(void *ctx, int fd, unsigned what)
{
	struct meddler *m = ctx;
	uint8_t buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	(void)what;
	if (n <= 0) {
		loop_fd_set(fd == m->a ? m->watch_a : m->watch_b, 0);
		return;
	}
	if (fd == m->a && m->flip_at && m->passed + (size_t)n > m->flip_at) {
		buf[n - 1] ^= 1;
		m->flip_at = 0;
	}
	if (fd == m->a && m->cut_at && m->passed > m->cut_at)
		return;
	if (fd == m->a)
		m->passed += (size_t)n;
	assert_int_equal(send(fd == m->a ? m->b : m->a, buf, (size_t)n, MSG_NOSIGNAL), n);
	if (m->cut_at && m->passed > m->cut_at)
		shutdown(m->b, SHUT_WR);
}

static void meddled_with(struct meddler *m, struct end *client, struct end *server)
{
	struct loop *loop = loop_new();
	int left[2], right[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, left), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, right), 0);
	m->loop = loop;
	m->a = left[1];
	m->b = right[1];
	m->watch_a = loop_fd_new(loop, m->a, LOOP_READ, on_meddle, m);
	m->watch_b = loop_fd_new(loop, m->b, LOOP_READ, on_meddle, m);
	client->left = 20000;
	begin(client, loop, left[0], CHAN_TLS_CLIENT, key);
	begin(server, loop, right[0], CHAN_TLS_SERVER, key);
	run(loop, 3000);
	assert_true(client->ready && server->ready);
	chan_free(client->chan);
	chan_free(server->chan);
	loop_fd_free(m->watch_a);
	loop_fd_free(m->watch_b);
	close(m->a);
	close(m->b);
	loop_free(loop);
}

static void a_changed_byte_ends_it_before_it_is_delivered(void **state)
{
	struct meddler m = {.flip_at = 2000};
	struct end client = {0}, server = {0};

	(void)state;
	meddled_with(&m, &client, &server);
	assert_int_equal(server.closed, 1);
	assert_int_equal(server.error, -EPROTO);
	assert_true(server.got < 16384);
}

static void an_end_that_was_not_announced_is_an_error(void **state)
{
	struct meddler m = {.cut_at = 6000};
	struct end client = {0}, server = {0};

	(void)state;
	meddled_with(&m, &client, &server);
	assert_int_equal(server.closed, 1);
	assert_int_equal(server.error, -ECONNRESET);
	assert_string_equal(server.closed_why, "the connection broke off");
}

static void an_end_that_was_announced_is_none(void **state)
{
	struct pair p = {.client = {.left = 300000}, .server = {.wanted = 300000}};

	(void)state;
	pair_begin(&p, key);
	run(p.loop, 5000);
	assert_int_equal(p.server.got, 300000);
	p.server.wanted = 0;
	chan_free(p.client.chan);
	p.client.chan = NULL;
	run(p.loop, 3000);
	assert_int_equal(p.server.closed, 1);
	assert_int_equal(p.server.error, 0);
	pair_end(&p);
}

/* As a greeter has it: who reads the first bytes hands the chan on. */
static void bytes_that_came_without_an_owner_are_the_next_ones(void **state)
{
	struct pair p = {.client = {.left = 100000}, .server = {.owned = true, .wanted = 100000}};

	(void)state;
	pair_begin(&p, key);
	run(p.loop, 300);
	assert_true(p.server.ready);
	assert_int_equal(p.server.got, 0);
	own(&p.server);
	run(p.loop, 3000);
	assert_int_equal(p.server.got, 100000);
	pair_end(&p);
}

/* What was taken may not have left yet: then an end would lose it, as it would lose a GOODBYE. */
static void what_has_not_left_is_known(void **state)
{
	struct pair p = {.server = {.owned = true}, .client = {.wanted = 1}};

	(void)state;
	pair_begin(&p, key);
	run(p.loop, 300);
	assert_true(p.client.ready && p.server.ready);
	assert_true(chan_is_flushed(p.client.chan));
	p.client.left = 8u << 20;
	send_more(&p.client);
	run(p.loop, 50);
	assert_false(chan_is_flushed(p.client.chan));
	p.client.left = 0;
	p.server.wanted = p.client.sent;
	own(&p.server);
	run(p.loop, 5000);
	run(p.loop, 50);
	assert_int_equal(p.server.got, p.client.sent);
	assert_true(chan_is_flushed(p.client.chan));
	pair_end(&p);
}

/* Some 380 GiB are the most for one key; each has 256 MiB here. */
static void the_key_changes_under_way(void **state)
{
	const uint64_t size = 600u << 20;
	struct pair p = {.client = {.left = size}, .server = {.wanted = size}};

	(void)state;
	pair_begin(&p, key);
	run(p.loop, 60000);
	assert_int_equal(p.server.got, size);
	assert_int_equal(p.client.closed + p.server.closed, 0);
	pair_end(&p);
}

/* The first bytes on the wire: TLS's, and the key's name and not the key. */
static void the_key_is_never_sent(void **state)
{
	struct loop *loop = loop_new();
	struct end e = {0};
	uint8_t hello[2000];
	ssize_t n;
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	begin(&e, loop, sv[0], CHAN_TLS_CLIENT, key);
	run(loop, 50);
	n = raw_take(sv[1], hello, sizeof(hello));
	assert_true(n > 100);
	assert_int_equal(hello[0], 22); /* handshake */
	assert_null(memmem(hello, (size_t)n, key, 8));
	assert_non_null(memmem(hello, (size_t)n, "homeport", 8));
	chan_free(e.chan);
	loop_free(loop);
	close(sv[1]);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(who_has_the_key_is_ready_and_bytes_pass_both_ways),
	cmocka_unit_test(a_turn_reads_little_more_than_its_owner_wishes),
	cmocka_unit_test(who_has_another_key_is_nobody),
	cmocka_unit_test(who_speaks_something_else_is_nobody),
	cmocka_unit_test(who_says_nothing_is_waited_for_and_can_be_given_up),
	cmocka_unit_test(a_certificate_is_no_way_in),
	cmocka_unit_test(a_changed_byte_ends_it_before_it_is_delivered),
	cmocka_unit_test(an_end_that_was_not_announced_is_an_error),
	cmocka_unit_test(an_end_that_was_announced_is_none),
	cmocka_unit_test(bytes_that_came_without_an_owner_are_the_next_ones),
	cmocka_unit_test(what_has_not_left_is_known),
	cmocka_unit_test(the_key_changes_under_way),
	cmocka_unit_test(the_key_is_never_sent),
};

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
