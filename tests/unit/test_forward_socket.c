/* SPDX-License-Identifier: MIT */
/* Unix sockets as an end of a forward: the guest's, the host's, and both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forward_world.h"
#include "log.h"

#define CHECK(holds)                   \
	do {                           \
		if (!(holds))          \
			return #holds; \
	} while (0)

static char folder[64], guest_path[128], host_path[128];

static int setup(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/homeport-test.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(guest_path, sizeof(guest_path), "%s/guest", folder);
	snprintf(host_path, sizeof(host_path), "%s/host", folder);
	return 0;
}

static int teardown(void **state)
{
	unlink(guest_path);
	return rmdir(folder); /* the host's is gone by itself */
}

static const char *exchange(int client, int listener)
{
	int server = accept(listener, NULL, NULL);

	CHECK(client >= 0 && server >= 0);
	for (int way = 0; way < 2; way++)
		CHECK(says(way ? server : client, "hello") && hears(way ? client : server, "hello"));
	CHECK(says(client, "question"));
	shutdown(client, SHUT_WR);
	CHECK(hears(server, "question") && hears_end(server));
	CHECK(says(server, "answer"));
	shutdown(server, SHUT_WR);
	CHECK(hears(client, "answer") && hears_end(client));
	close(client);
	close(server);
	return NULL;
}

static const char *path_to_path(struct world *w)
{
	int listener = listen_path(guest_path), client = dial_path(host_path);
	const char *wrong = exchange(client, listener);

	close(listener);
	CHECK(wrong == NULL);
	/* Nobody accepts there any more: the connection ends at once. */
	client = dial_path(host_path);
	CHECK(client >= 0 && hears_end(client));
	close(client);
	unlink(guest_path);
	client = dial_path(host_path);
	CHECK(client >= 0 && hears_end(client));
	close(client);
	/* And is back with the socket. */
	listener = listen_path(guest_path);
	wrong = exchange(dial_path(host_path), listener);
	close(listener);
	return wrong;
}

static void a_socket_of_the_guest_answers_at_a_path_of_the_host(void **state)
{
	struct rule_spec rule = {.origin = "s", .guest_socket = guest_path, .host_socket = host_path};
	struct world *w = world_new(&rule, 10);
	struct one one = row(w, guest_path);
	struct stat st;

	assert_int_equal(one.count, 1);
	assert_int_equal(one.info.state, FORWARD_FORWARDED);
	assert_string_equal(one.info.proto, "unix");
	assert_string_equal(one.info.host[0], host_path);
	assert_int_equal(stat(host_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	world_run_script(w, path_to_path);
	one = row(w, guest_path);
	assert_int_equal(one.info.connections, 0);
	assert_int_equal(one.info.bytes_in, 26);
	assert_int_equal(one.info.bytes_out, 22);
	world_free(w);
	assert_int_equal(access(host_path, F_OK), -1);
}

static const char *path_to_port(struct world *w)
{
	int listener = listen_path(guest_path);
	const char *wrong = NULL;

	for (int six = 0; six < 2 && !wrong; six++)
		wrong = exchange(six ? dial6(w->port) : dial4(w->port), listener);
	close(listener);
	return wrong;
}

static void a_socket_of_the_guest_answers_at_a_port_of_the_host(void **state)
{
	uint16_t port = free_port();
	struct rule_spec rule = {.origin = "s", .guest_socket = guest_path, .host_port = port, .host_ip = "localhost"};
	struct world *w = world_new(&rule, 10);

	assert_int_equal(row(w, guest_path).info.host_count, 2);
	w->port = port;
	world_run_script(w, path_to_port);
	world_free(w);
}

static const char *port_to_path(struct world *w)
{
	uint16_t port = w->port;
	int listener = listen_at(GUEST, &port);
	const char *wrong = exchange(dial_path(host_path), listener);

	close(listener);
	return wrong;
}

static void a_port_of_the_guest_answers_at_a_path_of_the_host_while_it_is_there(void **state)
{
	uint16_t port = free_port();
	struct rule_spec rule = {.origin = "s", .guest_ip = GUEST, .guest_port = port, .host_socket = host_path};
	struct world *w = world_new(&rule, 10);

	assert_int_equal(access(host_path, F_OK), -1);
	report(w, 1, GUEST, w->port = port);
	report(w, 2, "0.0.0.0", port);
	world_run_script(w, port_to_path);
	unreport(w, 1);
	assert_int_equal(access(host_path, F_OK), 0);
	unreport(w, 2);
	assert_int_equal(access(host_path, F_OK), -1);
	world_free(w);
}

static void a_path_that_is_taken_is_a_conflict_until_it_is_free(void **state)
{
	struct rule_spec rule = {.origin = "s", .guest_socket = guest_path, .host_socket = host_path};
	int taken = listen_path(host_path), file;
	struct world *w = world_new(&rule, 10);
	char want[256];
	struct one one = row(w, guest_path);

	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	snprintf(want, sizeof(want), "%s is in use by another process", host_path);
	assert_string_equal(one.reason, want);
	world_run_ms(w, 200);
	one = row(w, guest_path);
	snprintf(want, sizeof(want), "%s is in use by test_forward_so (pid %d)", host_path, (int)getpid());
	assert_string_equal(one.reason, want);
	close(taken);
	world_run_ms(w, 200);
	assert_int_equal(row(w, guest_path).info.state, FORWARD_FORWARDED);
	world_free(w);

	file = open(host_path, O_CREAT | O_CLOEXEC | O_RDWR, 0600);
	w = world_new(&rule, 10);
	one = row(w, guest_path);
	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	snprintf(want, sizeof(want), "%s is there, and is no socket", host_path);
	assert_string_equal(one.reason, want);
	close(file);
	world_run_ms(w, 100);
	assert_int_equal(unlink(host_path), 0);
	world_run_ms(w, 200);
	assert_int_equal(row(w, guest_path).info.state, FORWARD_FORWARDED);
	world_free(w);
}

static void two_sockets_of_the_guest_do_not_share_a_path_of_the_host(void **state)
{
	struct rule_spec rule = {.origin = "s", .guest_socket = guest_path, .host_socket = host_path};
	struct world *w = world_new(&rule, 10);
	char want[512];
	struct one one;

	forward_free(w->forward);
	world_add_rule(w, &(struct rule_spec){.origin = "t", .guest_socket = "/other\x1b", .host_socket = host_path});
	w->forward = forward_new(w->loop, w->rules, &world_names, &(struct forward_limits){10}, &world_events, w);
	one = row(w, "/other\\x1b");
	assert_int_equal(one.info.state, FORWARD_CONFLICT);
	snprintf(want, sizeof(want), "%s is in use by the forward of the guest's %s", host_path, guest_path);
	assert_string_equal(one.reason, want);
	assert_int_equal(row(w, guest_path).info.state, FORWARD_FORWARDED);
	world_free(w);
}

static void a_path_that_is_too_long_fails_and_says_so(void **state)
{
	char too_long[120] = "{{.Home}}/";
	struct rule_spec rule = {.origin = "s", .guest_socket = guest_path, .host_socket = too_long};
	struct world *w;

	memset(too_long + 10, 'x', 105);
	w = world_new(&rule, 10);
	assert_int_equal(row(w, guest_path).info.state, FORWARD_FAILED);
	assert_string_equal(row(w, guest_path).reason, "the path is longer than 107 bytes, which no socket's can be");
	world_free(w);
	rule = (struct rule_spec){.origin = "s", .guest_socket = too_long, .host_socket = host_path};
	w = world_new(&rule, 10);
	assert_int_equal(row(w, NULL).info.state, FORWARD_FAILED);
	assert_string_equal(row(w, NULL).reason, "the path is longer than 107 bytes, which no socket's can be");
	assert_int_equal(access(host_path, F_OK), -1);
	world_free(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_socket_of_the_guest_answers_at_a_path_of_the_host),
		TEST(a_socket_of_the_guest_answers_at_a_port_of_the_host),
		TEST(a_port_of_the_guest_answers_at_a_path_of_the_host_while_it_is_there),
		TEST(a_path_that_is_taken_is_a_conflict_until_it_is_free),
		TEST(two_sockets_of_the_guest_do_not_share_a_path_of_the_host),
		TEST(a_path_that_is_too_long_fails_and_says_so),
	};

	log_init("test_forward_socket", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
