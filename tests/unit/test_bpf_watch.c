/* SPDX-License-Identifier: MIT */
/* The hints of what may have changed, by real programs on real sockets; without root, that it says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf_watch.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/*
 * In a network namespace of our own nobody else's sockets hint. NULL where the machine has no such programs, or is not
 * to be watched by us: then there is nothing to test but the reason.
 */
static struct bpf_watch *watch_new(void)
{
	struct bpf_watch *w = NULL;
	char why[BPF_WATCH_WHY_MAX] = "";
	int rc;

	if (unshare(CLONE_NEWNET) < 0)
		print_message("no network namespace: %s\n", strerror(errno));
	rc = bpf_watch_open(-1, &w, why);
	if (rc == 0)
		return w;
	print_message("not watched: %s (%d)\n", why, rc);
	assert_true(rc < 0);
	assert_null(w);
	assert_true(strlen(why) > 5);
	return NULL;
}

/* What is hinted within ms; stops at the first. */
static unsigned hinted(struct bpf_watch *w, int ms)
{
	struct pollfd p = {.fd = bpf_watch_fd(w), .events = POLLIN};

	return poll(&p, 1, ms) == 1 ? bpf_watch_take(w) : 0;
}

#define SOON  5000
#define QUIET 20

static int socket_at(int family, int type, int protocol, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool six = family == AF_INET6;
	int fd = socket(family, type | SOCK_CLOEXEC, protocol), on = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, six ? (void *)&in6 : (void *)&in, six ? sizeof(in6) : sizeof(in)), 0);
	return fd;
}

static void a_listener_is_hinted_when_it_comes_and_when_it_goes(void **state)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct bpf_watch *w = watch_new();

	(void)state;
	for (size_t i = 0; w && i < sizeof(families) / sizeof(families[0]); i++) {
		int fd = socket_at(families[i], SOCK_STREAM, 0, 7000);

		if (fd < 0)
			continue;
		assert_int_equal(hinted(w, QUIET), 0);
		assert_int_equal(listen(fd, 5), 0);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
		assert_int_equal(hinted(w, QUIET), 0);
		close(fd);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
	}
	bpf_watch_close(w);
}

static void a_listener_that_is_shut_down_first_and_one_of_mptcp_are_hinted_too(void **state)
{
	struct bpf_watch *w = watch_new();
	int shut = w ? socket_at(AF_INET, SOCK_STREAM, 0, 7001) : -1;
	int mptcp = w ? socket_at(AF_INET, SOCK_STREAM, IPPROTO_MPTCP, 7002) : -1;

	(void)state;
	if (shut >= 0) {
		assert_int_equal(listen(shut, 5), 0);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
		shutdown(shut, SHUT_RDWR);
		close(shut);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
	}
	if (mptcp >= 0) {
		assert_int_equal(listen(mptcp, 5), 0);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
		close(mptcp);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
	}
	bpf_watch_close(w);
}

static void a_udp_socket_is_hinted_when_it_is_bound_and_when_it_goes(void **state)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct bpf_watch *w = watch_new();

	(void)state;
	for (size_t i = 0; w && i < sizeof(families) / sizeof(families[0]); i++) {
		int fd = socket_at(families[i], SOCK_DGRAM, 0, 7003);

		if (fd < 0)
			continue;
		assert_int_equal(hinted(w, SOON), BPF_WATCH_UDP);
		close(fd);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_UDP);
	}
	bpf_watch_close(w);
}

static void loopback_up(void)
{
	assert_int_equal(system("ip link set lo up"), 0);
}

static void connections_hint_nothing(void **state)
{
	struct bpf_watch *w = watch_new();
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(7004), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int server, udp;

	(void)state;
	if (!w)
		return;
	loopback_up();
	server = socket_at(AF_INET, SOCK_STREAM, 0, 7004);
	assert_int_equal(listen(server, 50), 0);
	assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
	for (int i = 0; i < 200; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), accepted;

		assert_int_equal(connect(client, (struct sockaddr *)&in, sizeof(in)), 0);
		accepted = accept(server, NULL, NULL);
		assert_true(accepted >= 0);
		close(i % 2 ? client : accepted);
		close(i % 2 ? accepted : client);
	}
	/* Nor does a client of UDP, as resolvers are. */
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(udp, (struct sockaddr *)&in, sizeof(in)), 0);
	close(udp);
	assert_int_equal(hinted(w, QUIET), 0);
	close(server);
	bpf_watch_close(w);
}

/* What a container does wakes nobody. */
static void other_network_namespaces_hint_nothing(void **state)
{
	struct bpf_watch *w = watch_new();
	int status, fd;
	pid_t pid;

	(void)state;
	if (!w)
		return;
	pid = fork();
	if (pid == 0) {
		int other;

		if (unshare(CLONE_NEWNET) < 0)
			_exit(1);
		other = socket_at(AF_INET, SOCK_STREAM, 0, 7005);
		_exit(other < 0 || listen(other, 5) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(hinted(w, QUIET), 0);
	fd = socket_at(AF_INET, SOCK_STREAM, 0, 7005);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP);
	close(fd);
	bpf_watch_close(w);
}

/* More than the ring holds: of what was lost, something is hinted all the same, and then it works as before. */
static void a_ring_that_was_full_hints_everything(void **state)
{
	struct bpf_watch *w = watch_new();
	unsigned room = (unsigned)sysconf(_SC_PAGESIZE) / 16;
	int fd;

	(void)state;
	if (!w)
		return;
	for (unsigned i = 0; i < 2 * room; i++) {
		fd = socket_at(AF_INET, SOCK_DGRAM, 0, 7006);
		close(fd);
	}
	assert_int_equal(hinted(w, SOON), BPF_WATCH_TCP | BPF_WATCH_UDP);
	assert_int_equal(hinted(w, QUIET), 0);
	for (unsigned i = 0; i < 3 * room; i++) {
		fd = socket_at(AF_INET, SOCK_DGRAM, 0, 7006);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_UDP);
		close(fd);
		assert_int_equal(hinted(w, SOON), BPF_WATCH_UDP);
	}
	bpf_watch_close(w);
}

static void who_is_not_root_is_told_so(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	pid = fork();
	if (pid == 0) {
		struct bpf_watch *w = NULL;
		char why[BPF_WATCH_WHY_MAX] = "";
		int rc;

		if (geteuid() == 0 && (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
			_exit(2);
		rc = bpf_watch_open(-1, &w, why);
		_exit(rc == -ENOSYS || (rc == -EPERM && strcmp(why, "it takes root") == 0) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void an_older_kernel_is_named(void **state)
{
	struct bpf_watch *w = NULL;
	char why[BPF_WATCH_WHY_MAX] = "";

	(void)state;
	setenv("HOMEPORT_FEATURES", "-bpf-watch", 1);
	assert_int_equal(bpf_watch_open(-1, &w, why), -ENOSYS);
	unsetenv("HOMEPORT_FEATURES");
	assert_string_equal(why, "the kernel is older than Linux 5.15");
	assert_null(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_is_hinted_when_it_comes_and_when_it_goes),
		cmocka_unit_test(a_listener_that_is_shut_down_first_and_one_of_mptcp_are_hinted_too),
		cmocka_unit_test(a_udp_socket_is_hinted_when_it_is_bound_and_when_it_goes),
		cmocka_unit_test(connections_hint_nothing),
		cmocka_unit_test(other_network_namespaces_hint_nothing),
		cmocka_unit_test(a_ring_that_was_full_hints_everything),
		cmocka_unit_test(who_is_not_root_is_told_so),
		cmocka_unit_test(an_older_kernel_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
