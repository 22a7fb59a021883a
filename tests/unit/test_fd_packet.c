/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fd_packet.h"

static int pair[2];

static int two_ends(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int no_ends(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void descriptors_arrive_in_order_and_absent_ones_are_none(void **state)
{
	int pipes[2], got[2] = {7, 7};
	char buf[16], byte = 0;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(fd_packet_send(pair[0], "both", 4, pipes, 2), 0);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 2), 4);
	assert_memory_equal(buf, "both", 4);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(got[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	close(got[0]);
	close(got[1]);
	assert_int_equal(fd_packet_send(pair[0], "one", 3, pipes, 1), 0);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 2), 3);
	assert_true(got[0] >= 0);
	assert_int_equal(got[1], -1);
	close(got[0]);
	assert_int_equal(fd_packet_send(pair[0], "none", 4, NULL, 0), 0);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 2), 4);
	assert_int_equal(got[0], -1);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 2), -EAGAIN);
	close(pipes[0]);
	close(pipes[1]);
}

/* And what came with it is closed: the pipe's writing end is ours alone again. */
static void more_than_is_wanted_is_refused(void **state)
{
	int pipes[2], got[2];
	char buf[4], byte;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(fd_packet_send(pair[0], "two", 3, (int[]){pipes[1], pipes[1]}, 2), 0);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 1), -EPROTO);
	assert_int_equal(got[0], -1);
	assert_int_equal(fd_packet_send(pair[0], "too long", 8, &pipes[1], 1), 0);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), got, 1), -EPROTO);
	assert_int_equal(got[0], -1);
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	assert_int_equal(fd_packet_send(pair[0], "x", 1, got, FD_PACKET_MAX + 1), -EMSGSIZE);
}

static void the_end_is_no_error(void **state)
{
	char buf[4];
	int got;

	(void)state;
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(fd_packet_receive(pair[1], buf, sizeof(buf), &got, 1), 0);
	assert_int_equal(got, -1);
	assert_int_equal(fd_packet_connect("/nowhere/at/all"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(descriptors_arrive_in_order_and_absent_ones_are_none, two_ends,
						no_ends),
		cmocka_unit_test_setup_teardown(more_than_is_wanted_is_refused, two_ends, no_ends),
		cmocka_unit_test_setup_teardown(the_end_is_no_error, two_ends, no_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
