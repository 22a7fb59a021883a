/* SPDX-License-Identifier: MIT */
/*
 * The whole way of a forward's bytes, mixed and in bad luck: programs' sockets, relays, muxes, sessions; on the guest's
 * side the pipes of an sshd, which pages are lent to and moved out of; and connections that are cut. Each byte is
 * checked: one that is lost, doubled, moved out of turn or changed while it was lent is the wrong one from there on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "bounds.h"
#include "chan_fd.h"
#include "loop.h"
#include "peer.h"
#include "relay.h"

#define STREAMS 80
#define BULK    (400u << 10)

/* What the two programs at the ends of a stream do. */
enum kind {
	BOTH_BULK, /* and each says FIN when it has sent all */
	BOTH_SMALL,
	IN_TURN,       /* the server sends when it has seen the client's FIN */
	SLOW_READER,   /* of the server's bulk */
	STOPPED,       /* both read nothing for a while */
	SERVER_RESETS, /* in the midst of its own bulk, and the client's */
	CLIENT_RESETS,
	UNIX_BULK,
	KINDS,
};

struct program {
	int fd;
	uint32_t out_seed, in_seed; /* of what is sent, and what should come */
	size_t to_send, sent, to_get, got;
	bool shut, ended, wrong, reset;
};

struct pair {
	enum kind kind;
	struct program client, server;
};

static struct pair pairs[STREAMS];
static struct loop *loop;
static struct peer *host, *guest;
static struct loop_timer *cutter, *watcher;
static unsigned cuts_left, relays_left;
static atomic_bool all_done, gave_up, stuck; /* stuck: nobody reads */
static unsigned turns;                       /* of the loop */
static int far_fds[STREAMS];
static size_t opened;

/* --------------------------------------------------------------------------------------- the programs, on a thread */

static uint8_t next_byte(uint32_t *seed)
{
	return (uint8_t)((*seed = *seed * 1664525 + 1013904223) >> 24);
}

static bool gets(struct program *p, size_t most)
{
	static uint8_t buf[64 << 10];
	ssize_t n = recv(p->fd, buf, most < sizeof(buf) ? most : sizeof(buf), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++)
		p->wrong |= buf[i] != next_byte(&p->in_seed);
	if (n > 0)
		p->got += (size_t)n;
	p->ended |= n == 0;
	p->reset |= n < 0 && errno != EAGAIN;
	return n > 0;
}

static bool sends(struct program *p, size_t most)
{
	static uint8_t buf[32 << 10];
	uint32_t seed = p->out_seed;
	size_t want = p->to_send - p->sent;
	ssize_t n;

	if (want > most)
		want = most;
	if (want > sizeof(buf))
		want = sizeof(buf);
	for (size_t i = 0; i < want; i++)
		buf[i] = next_byte(&seed);
	n = want ? send(p->fd, buf, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	for (ssize_t i = 0; i < n; i++)
		next_byte(&p->out_seed);
	if (n > 0)
		p->sent += (size_t)n;
	p->reset |= n < 0 && errno != EAGAIN;
	if (p->sent == p->to_send && !p->shut && !p->reset) {
		p->shut = true;
		shutdown(p->fd, SHUT_WR);
	}
	return n > 0;
}

static void resets(struct program *p)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(p->fd);
	p->fd = -1;
	p->reset = true;
}

static bool is_over(const struct program *p)
{
	return p->fd < 0 || p->reset || (p->ended && p->shut);
}

/* One step of both. */
static bool run_pair(struct pair *p, unsigned step)
{
	size_t piece = p->kind == BOTH_SMALL ? 1 + step % 300 : 32 << 10;
	bool reads = !stuck && (p->kind != STOPPED || step < 3 || step > 300);
	bool moved = false;

	for (int side = 0; side < 2; side++) {
		struct program *one = side ? &p->server : &p->client;

		if (is_over(one))
			continue;
		if (!one->shut && (p->kind != IN_TURN || !side || one->ended))
			moved |= sends(one, piece);
		if (!one->ended && !one->reset && reads && (p->kind != SLOW_READER || side || step % 4 == 0))
			moved |= gets(one, p->kind == SLOW_READER ? 8 << 10 : 64 << 10);
		if ((p->kind == SERVER_RESETS && side) || (p->kind == CLIENT_RESETS && !side))
			if (one->fd >= 0 && one->sent > BULK / 2 && one->got > BULK / 3)
				resets(one);
	}
	return moved;
}

static void *run_programs(void *arg)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	bool over = false;

	(void)arg;
	for (unsigned step = 0; !over && !gave_up; step++) {
		bool moved = false;

		over = true;
		for (size_t i = 0; i < STREAMS; i++) {
			moved |= run_pair(&pairs[i], step);
			over &= is_over(&pairs[i].client) && is_over(&pairs[i].server);
		}
		if (!moved || step % 8 == 0)
			nanosleep(&pause, NULL);
	}
	all_done = true;
	return NULL;
}

/* ------------------------------------------------------------------------------- a connection, with an sshd in it */

struct sshd {
	int sock, in, out; /* to the host; from the guest, and to it */
};

/* Some of what one has to the other, in pieces of any size. */
static bool passes(int from, int to, unsigned *random)
{
	uint8_t buf[64 << 10];
	ssize_t n = read(from, buf, 1 + (*random = *random * 1103515245 + 12345) / 65536 % sizeof(buf));

	for (ssize_t done = 0, k; done < n; done += k) {
		k = write(to, buf + done, (size_t)(n - done));
		if (k < 0)
			return false;
	}
	return n > 0;
}

static void *run_sshd(void *arg)
{
	struct sshd *s = arg;
	unsigned random = (unsigned)s->sock;
	bool goes_on = true;

	while (goes_on) {
		struct pollfd polls[] = {{.fd = s->sock, .events = POLLIN}, {.fd = s->in, .events = POLLIN}};

		if (poll(polls, 2, -1) < 0)
			break;
		if (polls[0].revents)
			goes_on = passes(s->sock, s->out, &random);
		if (polls[1].revents && goes_on)
			goes_on = passes(s->in, s->sock, &random);
	}
	close(s->sock);
	close(s->in);
	close(s->out);
	free(s);
	return NULL;
}

static struct {
	struct chan *chan;
	uint8_t buf[SESSION_HELLO_MAX + (256u << 10)];
	size_t len;
} greeter;

static void on_guest_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len);
static void on_up(void *ctx, bool resumed, const struct session_hello *remote)
{
}

static void on_dead(void *ctx, enum session_reason reason, const char *text)
{
	fail_msg("a session has died: %s", text);
}

static void connect_both(void);
static void on_host_down(void *ctx, const char *why)
{
	connect_both();
}

static void on_guest_down(void *ctx, const char *why)
{
}

static const struct peer_events host_events = {on_up, on_host_down, on_dead, on_guest_open, NULL};
static const struct peer_events guest_events = {on_up, on_guest_down, on_dead, on_guest_open, NULL};

static void on_greeter_data(void *ctx, const uint8_t *data, size_t len)
{
	struct session_hello seen;
	struct chan *chan = greeter.chan;
	int n;

	assert_true(greeter.len + len <= sizeof(greeter.buf));
	memcpy(greeter.buf + greeter.len, data, len);
	greeter.len += len;
	n = session_parse_hello(greeter.buf, greeter.len, &seen);
	if (n == 0)
		return;
	assert_true(n > 0);
	greeter.chan = NULL;
	if (!guest)
		guest = peer_new(loop, SESSION_GUEST, &seen, &guest_events, NULL);
	peer_attach(guest, chan, &seen, greeter.buf + n, greeter.len - (size_t)n);
}

static void on_greeter_closed(void *ctx, int error, const char *why)
{
	chan_free(greeter.chan);
	greeter.chan = NULL;
}

static const struct chan_events greeter_chan_events = {.data = on_greeter_data, .closed = on_greeter_closed};

static void connect_both(void)
{
	struct sshd *s = calloc(1, sizeof(*s));
	int sv[2], in[2], out[2];
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	fcntl(in[1], F_SETPIPE_SZ, 4096 << random() % 9);
	fcntl(out[1], F_SETPIPE_SZ, 4096 << random() % 9);
	*s = (struct sshd){sv[1], in[0], out[1]};
	assert_int_equal(pthread_create(&thread, NULL, run_sshd, s), 0);
	pthread_detach(thread);
	chan_free(greeter.chan);
	greeter.chan = chan_fd_new(loop, out[0], in[1]);
	greeter.len = 0;
	chan_set_owner(greeter.chan, &greeter_chan_events, NULL);
	assert_int_equal(peer_attach(host, chan_fd_new(loop, sv[0], sv[0]), NULL, NULL, 0), 0);
}

static void on_cut(void *ctx)
{
	if (!cuts_left)
		return;
	cuts_left--;
	if (random() % 3 == 0)
		connect_both();
	else
		peer_drop_connection(random() % 2 || !guest ? host : guest, "cut by the test");
	loop_timer_set(cutter, 5000 + (uint64_t)random() % 60000);
}

/* ------------------------------------------------------------------------------------------------------- the relays */

static void on_relay_done(void *ctx, int error)
{
	if (!--relays_left && all_done)
		loop_stop(loop);
}

static void on_guest_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	uint32_t which;

	assert_int_equal(len, sizeof(which));
	memcpy(&which, args, sizeof(which));
	assert_non_null(relay_new(loop, far_fds[which], s, &(struct relay_caller){.done = on_relay_done}));
	mux_stream_accept(s, NULL, NULL);
	opened++;
}

/* A program's end and a relay's. */
static void socket_pair(bool is_unix, int *program, int *relay)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int sv[2], l;

	if (is_unix) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
		*program = sv[0];
		*relay = sv[1];
		return;
	}
	l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&in, &len), 0);
	*program = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*program, (struct sockaddr *)&in, len), 0);
	*relay = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*relay >= 0);
	close(l);
}

static void begin_pair(uint32_t i)
{
	struct pair *p = &pairs[i];
	size_t up = BULK + i * 1000, down = BULK + i * 777;
	int near_fd;

	*p = (struct pair){.kind = i % KINDS};
	if (p->kind == BOTH_SMALL)
		up = down = 20000;
	if (p->kind == SERVER_RESETS || p->kind == CLIENT_RESETS)
		up = down = SIZE_MAX; /* there is no end but the reset */
	p->client = (struct program){.out_seed = i, .in_seed = i + 1000, .to_send = up, .to_get = down};
	p->server = (struct program){.out_seed = i + 1000, .in_seed = i, .to_send = down, .to_get = up};
	socket_pair(p->kind == UNIX_BULK, &p->client.fd, &near_fd);
	socket_pair(p->kind == UNIX_BULK, &p->server.fd, &far_fds[i]);
	assert_non_null(relay_new(loop, near_fd,
				  mux_open(peer_mux(host), MUX_KIND_TCP, (const uint8_t *)&i, sizeof(i), NULL, NULL),
				  &(struct relay_caller){.done = on_relay_done}));
}

static void check_pair(struct pair *p)
{
	bool cut_short = p->kind == SERVER_RESETS || p->kind == CLIENT_RESETS;

	for (int side = 0; side < 2; side++) {
		const struct program *one = side ? &p->server : &p->client;

		assert_false(one->wrong);
		if (cut_short) {
			/* The end of what was cut short is never taken for the end of it all. */
			assert_true(one->reset && !one->ended);
		} else {
			assert_true(one->ended && one->shut && !one->reset);
			assert_int_equal(one->got, one->to_get);
		}
		if (one->fd >= 0)
			close(one->fd);
	}
}

static void on_watch(void *ctx)
{
	if (all_done && !relays_left)
		loop_stop(loop);
	else
		loop_timer_set(watcher, 10000);
}

static void on_deadline(void *ctx)
{
	gave_up = true;
	loop_stop(loop);
}

static void on_turn(void *ctx)
{
	turns++;
}

/* Until everything is full, and then there is nothing to do but to say that one is there. */
static void on_stuck(void *ctx)
{
	loop_timer_stop(watcher);
	if (turns < 30) {
		stuck = false;
		loop_timer_set(watcher, 10000);
	} else {
		loop_timer_set(*(struct loop_timer **)ctx, 500000);
	}
	turns = 0;
}

static void run(unsigned cuts)
{
	struct session_hello hello = {.timeout_s = 60, .agent_version = "1.2.3"};
	struct loop_timer *deadline, *still;
	struct loop_hook *hook;
	pthread_t programs;

	signal(SIGPIPE, SIG_IGN);
	srandom(7);
	loop = loop_new();
	all_done = gave_up = false;
	opened = 0;
	cuts_left = cuts;
	relays_left = 2 * STREAMS;
	host = peer_new(loop, SESSION_HOST, &hello, &host_events, NULL);
	guest = NULL;
	cutter = loop_timer_new(loop, on_cut, NULL);
	watcher = loop_timer_new(loop, on_watch, NULL);
	deadline = loop_timer_new(loop, on_deadline, NULL);
	still = loop_timer_new(loop, on_stuck, &still);
	hook = loop_hook_new(loop, on_turn, NULL);
	turns = 1000;
	if (stuck)
		loop_timer_set(still, 500000);
	loop_timer_set(cutter, 20000);
	loop_timer_set(watcher, 10000);
	loop_timer_set(deadline, 60000000);
	for (uint32_t i = 0; i < STREAMS; i++)
		begin_pair(i);
	connect_both();
	assert_int_equal(pthread_create(&programs, NULL, run_programs, NULL), 0);
	assert_int_equal(loop_run(loop), 0);
	pthread_join(programs, NULL);
	assert_int_equal(opened, STREAMS);
	for (size_t i = 0; i < STREAMS; i++)
		check_pair(&pairs[i]);
	assert_false(gave_up);
	assert_int_equal(relays_left, 0);
	peer_free(host);
	peer_free(guest);
	chan_free(greeter.chan);
	greeter.chan = NULL;
	loop_timer_free(still);
	loop_hook_free(hook);
	loop_timer_free(cutter);
	loop_timer_free(watcher);
	loop_timer_free(deadline);
	loop_free(loop);
}

static void every_byte_arrives_and_every_end_is_the_one_it_was(void **state)
{
	(void)state;
	run(0);
}

static void cut_again_and_again_nobody_notices(void **state)
{
	(void)state;
	run(40);
}

static void while_nobody_reads_nothing_turns(void **state)
{
	(void)state;
	stuck = true;
	run(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_arrives_and_every_end_is_the_one_it_was),
		cmocka_unit_test(while_nobody_reads_nothing_turns),
		cmocka_unit_test(cut_again_and_again_nobody_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
