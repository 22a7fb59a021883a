/* SPDX-License-Identifier: MIT */
/*
 * mux_bench: what mux, session and chan cost without ssh. Two peers in two processes over a socketpair; one end writes
 * SECONDS long into so many streams, the other consumes. Prints throughput, and the processor time of each end a GiB.
 *
 *	mux_bench [SECONDS [STREAMS]]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chan_fd.h"
#include "loop.h"
#include "mux.h"
#include "peer.h"

static struct loop *loop;
static struct peer *peer;
static struct mux_stream *streams[1024];
static int stream_count;
static uint64_t bytes;
static struct session_hello hello = {.timeout_s = 60, .agent_version = "bench"};
static uint8_t greeting[4096];
static size_t greeting_len;
static struct chan *chan;

static void pump(void *ctx)
{
	static uint8_t block[64 << 10];
	struct mux_stream *s = *(struct mux_stream **)ctx;
	size_t n;

	while ((n = mux_stream_space(s)) > 0)
		mux_stream_write(s, block, n < sizeof(block) ? n : sizeof(block));
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	bytes += len;
	mux_stream_consumed(*(struct mux_stream **)ctx, len);
}

static void on_closed(void *ctx, enum mux_reason reason)
{
}

static const struct mux_stream_events stream_events = {.data = on_data, .writable = pump, .closed = on_closed};

static void on_up(void *ctx, bool resumed, const struct session_hello *remote)
{
	if (!ctx)
		return;
	for (int i = 0; i < stream_count; i++) {
		streams[i] = mux_open(peer_mux(peer), MUX_KIND_TCP, NULL, 0, &stream_events, &streams[i]);
		pump(&streams[i]);
	}
}

static void on_down(void *ctx, const char *why)
{
	loop_stop(loop);
}

static void on_dead(void *ctx, enum session_reason reason, const char *text)
{
	loop_stop(loop);
}

static void on_open(void *ctx, struct mux_stream *s, enum mux_kind kind, const uint8_t *args, size_t len)
{
	streams[stream_count] = s;
	mux_stream_accept(s, &stream_events, &streams[stream_count++]);
}

static const struct peer_events events = {on_up, on_down, on_dead, on_open, NULL};

static void on_greeting(void *ctx, const uint8_t *data, size_t len)
{
	struct session_hello seen;
	int n;

	memcpy(greeting + greeting_len, data, len);
	greeting_len += len;
	n = session_parse_hello(greeting, greeting_len, &seen);
	if (n <= 0)
		return;
	peer = peer_new(loop, SESSION_GUEST, &seen, &events, NULL);
	peer_attach(peer, chan, &seen, greeting + n, greeting_len - (size_t)n);
}

static void on_greeting_closed(void *ctx, int error, const char *why)
{
	loop_stop(loop);
}

static const struct chan_events greeter = {.data = on_greeting, .closed = on_greeting_closed};

static double cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	int size = 1 << 20;
	struct loop_timer *t;
	int sv[2];
	pid_t pid;

	stream_count = argc > 2 ? atoi(argv[2]) : 1;
	if (stream_count < 1 || stream_count > (int)(sizeof(streams) / sizeof(streams[0])))
		return 2;
	signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 1;
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	pid = fork();
	close(sv[pid ? 1 : 0]);
	loop = loop_new();
	chan = chan_fd_new(loop, sv[pid ? 0 : 1], sv[pid ? 0 : 1]);
	if (!pid) {
		stream_count = 0;
		chan_set_owner(chan, &greeter, NULL);
		loop_run(loop);
		printf("reader: %.2f GiB/s, %.3f s of processor a GiB\n", (double)bytes / seconds / (1 << 30),
		       cpu() / ((double)bytes / (1 << 30)));
		fflush(stdout);
		_exit(0);
	}
	peer = peer_new(loop, SESSION_HOST, &hello, &events, &hello);
	peer_attach(peer, chan, NULL, NULL, 0);
	t = loop_timer_new(loop, (loop_cb *)loop_stop, loop);
	loop_timer_set(t, (uint64_t)(seconds * 1e6));
	loop_run(loop);
	printf("writer: round trip %u us, %.3f s of processor a GiB\n", peer_rtt_us(peer),
	       cpu() / ((double)mux_stats(peer_mux(peer))->bytes_out / (1 << 30)));
	fflush(stdout);
	loop_timer_free(t);
	peer_free(peer);
	waitpid(pid, NULL, 0);
	return 0;
}
