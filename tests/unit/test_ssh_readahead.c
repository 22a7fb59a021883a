/* SPDX-License-Identifier: MIT */
/* Reads ahead: recv() and poll() as libssh calls them, by the symbols that any library is bound to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ssh_readahead.h"

#define PIECE 4096u
#define TOTAL (3u * PIECE + 7u)

typedef ssize_t recv_fn(int fd, void *buf, size_t len, int flags);
typedef int poll_fn(struct pollfd *fds, nfds_t count, int timeout);

static recv_fn *library_recv;
static poll_fn *library_poll;
static struct ssh_readahead *ahead;
static int ours, twin, theirs;
static uint8_t sent[TOTAL];

static int connected(void **state)
{
	int sv[2];

	(void)state;
	*(void **)&library_recv = dlsym(RTLD_DEFAULT, "recv");
	*(void **)&library_poll = dlsym(RTLD_DEFAULT, "poll");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	ours = sv[0];
	theirs = sv[1];
	twin = dup(ours);
	ahead = ssh_readahead_new(ours, twin);
	assert_non_null(ahead);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 / 3);
	assert_int_equal(send(theirs, sent, sizeof(sent), 0), sizeof(sent));
	return 0;
}

static int disconnected(void **state)
{
	(void)state;
	ssh_readahead_leave();
	ssh_readahead_free(ahead);
	close(ours);
	close(twin);
	close(theirs);
	return 0;
}

static int readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return library_poll(&p, 1, 0) == 1 ? p.revents : 0;
}

static void expect_piece(size_t at, size_t len)
{
	uint8_t piece[PIECE];

	assert_int_equal(readable(ours), POLLIN);
	assert_int_equal(library_recv(ours, piece, sizeof(piece), 0), len);
	assert_memory_equal(piece, sent + at, len);
}

static void expect_nothing(int fd)
{
	uint8_t piece[PIECE];

	assert_int_equal(readable(fd), 0);
	assert_int_equal(library_recv(fd, piece, sizeof(piece), 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static void what_was_read_ahead_comes_in_pieces_and_in_order(void **state)
{
	(void)state;
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	assert_int_equal(ssh_readahead_left(ahead), TOTAL);
	/* It is no longer in the socket: who has not entered finds none of it. */
	expect_nothing(ours);
	ssh_readahead_enter(ahead);
	for (size_t at = 0; at < TOTAL; at += PIECE)
		expect_piece(at, TOTAL - at < PIECE ? TOTAL - at : PIECE);
	assert_int_equal(ssh_readahead_left(ahead), 0);
	expect_nothing(ours);
}

static void no_more_is_read_ahead_than_is_asked_for(void **state)
{
	(void)state;
	ssh_readahead_fill(ahead, PIECE + 1);
	assert_int_equal(ssh_readahead_left(ahead), PIECE + 1);
	ssh_readahead_enter(ahead);
	expect_piece(0, PIECE);
	expect_piece(PIECE, 1);
	/* The rest is in the socket still. */
	expect_piece(PIECE + 1, PIECE);
}

static void what_comes_later_waits_behind_what_is_left(void **state)
{
	(void)state;
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	assert_int_equal(send(theirs, "later", 5, 0), 5);
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	assert_int_equal(ssh_readahead_left(ahead), TOTAL);
	ssh_readahead_enter(ahead);
	for (size_t at = 0; at < TOTAL; at += PIECE)
		expect_piece(at, TOTAL - at < PIECE ? TOTAL - at : PIECE);
	memcpy(sent, "later", 5);
	expect_piece(0, 5);
}

static void without_reading_ahead_the_socket_is_read(void **state)
{
	(void)state;
	ssh_readahead_enter(ahead);
	for (size_t at = 0; at < TOTAL; at += PIECE)
		expect_piece(at, TOTAL - at < PIECE ? TOTAL - at : PIECE);
}

static void an_end_of_file_is_found_behind_it(void **state)
{
	uint8_t piece[PIECE];

	(void)state;
	shutdown(theirs, SHUT_WR);
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	ssh_readahead_enter(ahead);
	for (size_t at = 0; at < TOTAL; at += PIECE)
		expect_piece(at, TOTAL - at < PIECE ? TOTAL - at : PIECE);
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	assert_int_equal(ssh_readahead_left(ahead), 0);
	assert_true(readable(ours) & POLLIN);
	assert_int_equal(library_recv(ours, piece, sizeof(piece), 0), 0);
}

static void other_descriptors_and_waits_are_left_alone(void **state)
{
	struct pollfd two[2] = {{.fd = ours, .events = POLLIN}, {.fd = theirs, .events = POLLOUT}};

	(void)state;
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	ssh_readahead_enter(ahead);
	expect_nothing(theirs);
	assert_int_equal(library_poll(two, 2, 0), 1);
	assert_int_equal(two[0].revents, 0);
	two[0].events = POLLOUT;
	assert_int_equal(library_poll(two, 1, 0), 1);
	assert_int_equal(two[0].revents, POLLOUT);
	assert_int_equal(library_poll(NULL, 0, 1), 0);
}

static void *on_other_thread(void *ctx)
{
	expect_nothing(ours);
	return ctx;
}

static void other_threads_are_left_alone(void **state)
{
	pthread_t thread;

	(void)state;
	ssh_readahead_fill(ahead, SSH_READAHEAD_MAX);
	ssh_readahead_enter(ahead);
	assert_int_equal(pthread_create(&thread, NULL, on_other_thread, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(ssh_readahead_left(ahead), TOTAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, connected, disconnected)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_read_ahead_comes_in_pieces_and_in_order),
		TEST(no_more_is_read_ahead_than_is_asked_for),
		TEST(what_comes_later_waits_behind_what_is_left),
		TEST(without_reading_ahead_the_socket_is_read),
		TEST(an_end_of_file_is_found_behind_it),
		TEST(other_descriptors_and_waits_are_left_alone),
		TEST(other_threads_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
