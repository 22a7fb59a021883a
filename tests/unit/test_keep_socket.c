/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "helper.h"
#include "keep_socket.h"

static const uint8_t host[16] = "one", other[16] = "two";
static char folder[] = "/tmp/keep-socket-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static void each_host_and_target_has_its_own_name(void **state)
{
	char a[KEEP_SOCKET_PATH_MAX], b[KEEP_SOCKET_PATH_MAX];

	(void)state;
	keep_socket_path(folder, host, "/a", a);
	keep_socket_path(folder, host, "/a", b);
	assert_string_equal(a, b);
	keep_socket_path(folder, host, "/b", b);
	assert_string_not_equal(a, b);
	keep_socket_path(folder, other, "/a", b);
	assert_string_not_equal(a, b);
	assert_true(strlen(a) < strlen(folder) + 48);
}

static void what_nobody_listens_at_any_more_is_removed(void **state)
{
	char path[KEEP_SOCKET_PATH_MAX];
	struct stat st;
	int fd, to;

	(void)state;
	keep_socket_path(folder, host, "/a", path);
	assert_int_equal(keep_socket_connect(path), -ENOENT);
	fd = keep_socket_listen(path);
	assert_true(fd >= 0);
	assert_return_code(stat(path, &st), errno);
	assert_int_equal(st.st_mode & 0777, 0600);
	to = keep_socket_connect(path);
	assert_true(to >= 0);
	close(to);
	close(fd);
	assert_true(is_there(path));
	assert_int_equal(keep_socket_connect(path), -ENOENT);
	assert_false(is_there(path));
	/* In the place of what was left. */
	close(keep_socket_listen(path));
	fd = keep_socket_listen(path);
	assert_true(fd >= 0);
	keep_socket_sweep(folder);
	assert_true(is_there(path));
	close(fd);
	keep_socket_sweep(folder);
	assert_false(is_there(path));
}

static bool is_used(void *ctx, const char *path)
{
	return strcmp(ctx, path) == 0;
}

static void what_a_host_does_not_want_is_unmounted_and_nothing_else(void **state)
{
	char used[KEEP_SOCKET_PATH_MAX], unused[KEEP_SOCKET_PATH_MAX], others[KEEP_SOCKET_PATH_MAX], packet[100];
	struct helper_request request;
	int fds[3], fd;
	ssize_t len;

	(void)state;
	keep_socket_path(folder, host, "/used", used);
	keep_socket_path(folder, host, "/unused", unused);
	keep_socket_path(folder, other, "/unused", others);
	fds[0] = keep_socket_listen(used);
	fds[1] = keep_socket_listen(unused);
	fds[2] = keep_socket_listen(others);
	keep_socket_give_up(folder, host, is_used, used);
	assert_true(accept(fds[0], NULL, NULL) < 0 && accept(fds[2], NULL, NULL) < 0);
	fd = accept(fds[1], NULL, NULL);
	assert_true(fd >= 0);
	len = recv(fd, packet, sizeof(packet), 0);
	assert_int_equal(helper_request_get(packet, (size_t)len, &request), 0);
	assert_int_equal(request.type, HELPER_UNMOUNT);
	assert_int_equal(request.flags, HELPER_LAZY);
	assert_int_equal(recv(fd, packet, sizeof(packet), 0), 0);
	assert_true(is_there(used) && !is_there(unused) && is_there(others));
	close(fd);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	keep_socket_sweep(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_host_and_target_has_its_own_name),
		cmocka_unit_test(what_nobody_listens_at_any_more_is_removed),
		cmocka_unit_test(what_a_host_does_not_want_is_unmounted_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
