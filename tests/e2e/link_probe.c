/* SPDX-License-Identifier: MIT */
/*
 * Drives a link without the agent around it, for the tests of the link alone: what it is told, it prints, one line
 * each.
 *
 *     link_probe [-F FILE] [-p PORT] [-l USER] [-i FILE] [-o OPTION]... [-k HOSTKEY] [-s BYTES] [-r BYTES] [-w] [-z]
 *                DESTINATION COMMAND
 *
 * Once connected it sends -s zero bytes, waits for -r bytes, says how fast each was, and ends. -w: goes on after a
 * failure and after the end of a connection, as the agent does. -z: every byte received must be zero.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "link.h"
#include "log.h"
#include "loop.h"

#define CHUNK (1u << 20)

/* OpenSSL keeps state for each thread until it has ended; the process may be faster. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libcrypto.so\n";
}

struct probe {
	struct loop *loop;
	struct link *link;
	struct chan *chan;
	uint64_t send, receive; /* still to do */
	uint64_t sent, received;
	uint64_t began_us;
	bool go_on, finished, zeros;
	int status;
};

static const uint8_t zeros[CHUNK];

static void say_rate(const struct probe *p, const char *what, uint64_t bytes)
{
	double s = (double)(loop_now_us(p->loop) - p->began_us) / 1e6;

	printf("%s %" PRIu64 " bytes in %.3f s, %.0f MiB/s\n", what, bytes, s, (double)bytes / 1048576.0 / s);
}

static void finish(struct probe *p, int status)
{
	if (!p->finished)
		p->status = status;
	p->finished = true;
	loop_stop(p->loop);
}

static void produce(struct probe *p)
{
	while (p->send > 0) {
		size_t want = p->send < CHUNK ? (size_t)p->send : CHUNK;
		size_t n = chan_write(p->chan, zeros, want);

		p->send -= n;
		p->sent += n;
		if (n < want)
			return;
	}
	if (p->sent > 0 && p->receive == 0) {
		say_rate(p, "sent", p->sent);
		finish(p, 0);
	}
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct probe *p = ctx;

	if (p->received == 0)
		printf("data %02x\n", data[0]);
	/* Tests that look for damage send zeros. */
	for (size_t i = 0; p->zeros && i < len; i++) {
		if (data[i] != 0) {
			printf("not zero: byte %" PRIu64 "\n", p->received + i);
			break;
		}
	}
	p->received += len;
	if (p->receive == 0 || p->received < p->receive)
		return;
	say_rate(p, "received", p->received);
	finish(p, 0);
}

static void on_writable(void *ctx)
{
	produce(ctx);
}

static void on_closed(void *ctx, int error, const char *why)
{
	struct probe *p = ctx;

	printf("closed %d after %" PRIu64 " bytes: %s\n", error, p->received, why);
	chan_free(p->chan);
	p->chan = NULL;
	link_lost(p->link);
	if (!p->go_on)
		finish(p, 3);
}

static const struct chan_events chan_events = {.data = on_data, .writable = on_writable, .closed = on_closed};

static void on_connected(void *ctx, struct chan *chan, const struct link_info *info)
{
	struct probe *p = ctx;

	printf("connected %s %u %s %s %s\n", info->host, info->port, info->user, info->host_key, info->cipher);
	p->chan = chan;
	p->began_us = loop_now_us(p->loop);
	chan_set_owner(chan, &chan_events, p);
	produce(p);
}

static void on_failed(void *ctx, const struct link_error *err)
{
	struct probe *p = ctx;

	printf("failed %s %s: %s\n", link_error_kind_name(err->kind), err->permanent ? "permanent" : "passing",
	       err->sentence);
	printf("advice: %s\n", err->advice);
	if (!p->go_on)
		finish(p, 1);
}

static void on_doubtful(void *ctx, const char *why)
{
	(void)ctx;
	printf("doubtful %s\n", why);
}

static const struct link_events link_events = {on_connected, on_failed, on_doubtful};

static void on_term(void *ctx, int signo)
{
	(void)signo;
	finish(ctx, 0);
}

int main(int argc, char **argv)
{
	const char *options[64] = {NULL};
	struct link_params params = {.ssh.options = options};
	struct probe p = {.status = 1};
	struct loop_signal *term;
	size_t n = 0;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	log_init("link_probe", LOG_LEVEL_INFO);
	while ((c = getopt(argc, argv, "F:p:l:i:o:k:s:r:wvz")) != -1) {
		switch (c) {
		case 'F':
			params.ssh.config_file = optarg;
			break;
		case 'p':
			params.ssh.port = (unsigned)atoi(optarg);
			break;
		case 'l':
			params.ssh.user = optarg;
			break;
		case 'i':
			params.ssh.identity_file = optarg;
			break;
		case 'o':
			if (n < 63)
				options[n++] = optarg;
			break;
		case 'k':
			params.host_key = optarg;
			break;
		case 's':
			p.send = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			p.receive = strtoull(optarg, NULL, 0);
			break;
		case 'w':
			p.go_on = true;
			break;
		case 'z':
			p.zeros = true;
			break;
		case 'v':
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2)
		return 2;
	params.ssh.destination = argv[optind];
	params.command = argv[optind + 1];
	p.loop = loop_new();
	term = loop_signal_new(p.loop, SIGTERM, on_term, &p);
	p.link = link_new(p.loop, &params, &link_events, &p);
	link_start(p.link);
	loop_run(p.loop);
	chan_free(p.chan);
	link_free(p.link);
	loop_signal_free(term);
	loop_free(p.loop);
	return p.status;
}
