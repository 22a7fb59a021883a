/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "own_sockets.h"

static void a_socket_is_ours_while_it_is_open_and_a_moment_longer(void **state)
{
	(void)state;
	assert_false(own_sockets_has(0));
	assert_false(own_sockets_has(7));
	own_sockets_add(7);
	own_sockets_add(8);
	assert_true(own_sockets_has(7) && own_sockets_has(8));
	own_sockets_closed(7);
	own_sockets_closed(9);
	own_sockets_closed(0);
	/* What was asked of the kernel before may still name it. */
	assert_true(own_sockets_has(7));
	assert_false(own_sockets_has(9));
	assert_false(own_sockets_has(0));
}

static void however_many_there_were_the_last_are_known(void **state)
{
	(void)state;
	for (uint64_t inode = 1000; inode < 1100; inode++)
		own_sockets_add(inode);
	assert_true(own_sockets_has(1099) && own_sockets_has(1090));
	assert_false(own_sockets_has(1000));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_socket_is_ours_while_it_is_open_and_a_moment_longer),
	cmocka_unit_test(however_many_there_were_the_last_are_known),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
