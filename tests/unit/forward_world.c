/* SPDX-License-Identifier: MIT */
/* See forward_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"
#include "forward_world.h"
#include "mux_pair.h"
#include "relay.h"

/* --- the guest -------------------------------------------------------------------------------------------------- */

static int connect_to(int family, const void *addr, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval patience = {.tv_sec = 5};
	int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (family == AF_INET)
		memcpy(&in.sin_addr, addr, 4);
	else
		memcpy(&in6.sin6_addr, addr, 16);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
			       : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_as_asked(enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct unix_target u;
	struct tcp_target t;

	if (kind == MUX_KIND_UNIX) {
		assert_int_equal(unix_target_get(args, len, &u), 0);
		return dial_path(u.path);
	}
	assert_int_equal(kind, MUX_KIND_TCP);
	assert_int_equal(tcp_target_get(args, len, &t), 0);
	return connect_to(t.family == 4 ? AF_INET : AF_INET6, t.addr, t.port);
}

static void on_guest_open(void *ctx, struct mux_stream *stream, enum mux_kind kind, const uint8_t *args, size_t len)
{
	struct world *w = ctx;
	int fd = connect_as_asked(kind, args, len);

	if (fd < 0) {
		mux_stream_refuse(stream, MUX_REASON_REFUSED);
		return;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_non_null(relay_new(w->loop, fd, stream, NULL));
	mux_stream_accept(stream, NULL, NULL);
}

/* --- the world -------------------------------------------------------------------------------------------------- */

static void on_changed(void *ctx)
{
	((struct world *)ctx)->changes++;
}

const struct socket_world world_names = {
	.host = {"/tmp", "me", 1000, "dev", "/tmp"},
	.guest = {"/tmp", "you", 2000, "dev", "/tmp"},
};

const struct forward_events world_events = {.changed = on_changed};

static void on_stop(void *ctx)
{
	loop_stop(((struct world *)ctx)->loop);
}

void world_add_rule(struct world *w, const struct rule_spec *spec)
{
	char why[RULE_WHY_MAX];

	assert_int_equal(rules_add(w->rules, spec, why), 0);
}

struct world *world_new(const struct rule_spec *rule, unsigned max)
{
	struct forward_limits limits = {.max_forwards = max};
	struct world *w = calloc(1, sizeof(*w));

	w->loop = loop_new();
	w->rules = rules_new(0);
	if (rule)
		world_add_rule(w, rule);
	world_add_rule(w, &(struct rule_spec){.origin = "test", .guest_ip = GUEST, .host_ip = "localhost"});
	w->timer = loop_timer_new(w->loop, on_stop, w);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	w->forward = forward_new(w->loop, w->rules, &world_names, &limits, &world_events, w);
	assert_non_null(w->forward);
	forward_set_mux(w->forward, mux_pair_host(w->pair));
	return w;
}

void world_run_ms(struct world *w, unsigned ms)
{
	loop_timer_set(w->timer, ms * 1000ull);
	loop_run(w->loop);
}

void world_free(struct world *w)
{
	forward_free(w->forward);
	mux_pair_free(w->pair);
	world_run_ms(w, 0);
	loop_timer_free(w->timer);
	loop_free(w->loop);
	rules_free(w->rules);
	free(w);
}

void world_lose_session(struct world *w)
{
	forward_set_mux(w->forward, NULL);
	mux_pair_free(w->pair);
	w->pair = mux_pair_new(w->loop, on_guest_open, w);
	forward_set_mux(w->forward, mux_pair_host(w->pair));
}

static void *on_thread(void *ctx)
{
	struct world *w = ctx;

	w->result = w->script(w);
	assert_int_equal(write(w->done[1], "x", 1), 1);
	return NULL;
}

static void on_script_done(void *ctx, int fd, unsigned what)
{
	loop_stop(((struct world *)ctx)->loop);
}

void world_run_script(struct world *w, const char *(*script)(struct world *w))
{
	struct loop_fd *watch;
	pthread_t thread;

	w->script = script;
	assert_int_equal(pipe2(w->done, O_CLOEXEC), 0);
	watch = loop_fd_new(w->loop, w->done[0], LOOP_READ, on_script_done, w);
	assert_int_equal(pthread_create(&thread, NULL, on_thread, w), 0);
	loop_timer_set(w->timer, 60000000);
	loop_run(w->loop);
	loop_timer_stop(w->timer);
	pthread_join(thread, NULL);
	loop_fd_free(watch);
	close(w->done[0]);
	close(w->done[1]);
	world_run_ms(w, 20);
	if (w->result)
		fail_msg("%s", w->result);
}

/* --- reports ---------------------------------------------------------------------------------------------------- */

struct listener listener_at(uint64_t key, const char *ip, uint16_t port)
{
	struct listener l = {.key = key, .proto = LISTENER_TCP, .family = strchr(ip, ':') ? 6 : 4, .port = port};

	assert_int_equal(inet_pton(l.family == 4 ? AF_INET : AF_INET6, ip, l.addr), 1);
	return l;
}

void report(struct world *w, uint64_t key, const char *ip, uint16_t port)
{
	struct control_msg msg = {.type = CONTROL_PORT_ADD, .port = listener_at(key, ip, port)};

	forward_message(w->forward, &msg);
}

void unreport(struct world *w, uint64_t key)
{
	struct control_msg msg = {.type = CONTROL_PORT_REMOVE, .port_key = key};

	forward_message(w->forward, &msg);
}

void world_run_left(struct world *w)
{
	world_run_ms(w, ENDPOINT_LEAVES_US / 1000 + 5);
}

void snapshot(struct world *w, enum control_type type, uint64_t epoch)
{
	struct control_msg msg = {.type = type, .ports_epoch = epoch};

	forward_message(w->forward, &msg);
}

static void on_one(void *ctx, const struct forward_info *info)
{
	struct one *one = ctx;

	one->count++;
	if (one->guest && strcmp(one->guest, info->guest) != 0)
		return;
	one->info = *info;
	snprintf(one->reason, sizeof(one->reason), "%s", info->reason ? info->reason : "");
	snprintf(one->process, sizeof(one->process), "%s", info->process ? info->process : "");
}

struct one row(struct world *w, const char *guest)
{
	struct one one = {.guest = guest, .info.state = FORWARD_STATE_COUNT};

	forward_list(w->forward, on_one, &one);
	return one;
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

int listen_at(const char *ip, uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(*port)};
	struct timeval patience = {.tv_sec = 5};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	inet_pton(AF_INET, ip, &in.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(fd, (struct sockaddr *)&in, len) < 0 || listen(fd, 1024) < 0) {
		close(fd);
		return -1;
	}
	getsockname(fd, (struct sockaddr *)&in, &len);
	*port = ntohs(in.sin_port);
	return fd;
}

int listen6(uint16_t port)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0 && listen(fd, 5) == 0)
		return fd;
	close(fd);
	return -1;
}

int dial4(uint16_t port)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1};

	return connect_to(AF_INET, loopback, port);
}

int dial6(uint16_t port)
{
	static const uint8_t loopback[16] = {[15] = 1};

	return connect_to(AF_INET6, loopback, port);
}

static struct sockaddr_un path_address(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return un;
}

int listen_path(const char *path)
{
	struct sockaddr_un un = path_address(path);
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(fd, 5) == 0)
		return fd;
	close(fd);
	return -1;
}

int dial_path(const char *path)
{
	struct sockaddr_un un = path_address(path);
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	close(fd);
	return -1;
}

bool answers(uint16_t port, bool six)
{
	int fd = six ? dial6(port) : dial4(port);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

uint16_t free_port(void)
{
	static uint16_t next;
	int fd;

	if (!next)
		next = (uint16_t)(22000 + getpid() % 5000);
	do {
		next++;
		fd = listen_at("0.0.0.0", &next);
	} while (fd < 0);
	close(fd);
	return next;
}

unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

bool says(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

bool hears(int fd, const char *text)
{
	char buf[64] = "";

	return recv(fd, buf, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text) && strcmp(buf, text) == 0;
}

bool hears_end(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) == 0;
}
