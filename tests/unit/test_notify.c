/* SPDX-License-Identifier: MIT */
/* notify: the datagrams a service manager would get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"

static int listen_at(const char *name, size_t len)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(at.sun_path, name, len);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	return fd;
}

static void assert_received(int fd, const char *want)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, want);
}

static void without_a_manager_nothing_is_sent(void **state)
{
	unsetenv("NOTIFY_SOCKET");
	assert_false(notify_wanted());
	assert_int_equal(notify_send("READY=1"), 0);
}

static void a_manager_at_a_path_gets_the_assignments(void **state)
{
	char dir[] = "/tmp/test_notify.XXXXXX", path[64];
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	fd = listen_at(path, strlen(path));
	setenv("NOTIFY_SOCKET", path, 1);
	assert_true(notify_wanted());
	assert_int_equal(notify_send("READY=1\nSTATUS=%d mounts", 2), 1);
	assert_received(fd, "READY=1\nSTATUS=2 mounts");
	close(fd);
	unlink(path);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	rmdir(dir);
}

static void a_manager_at_an_abstract_name_gets_the_assignments(void **state)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "@test_notify.%d", (int)getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	name[0] = '\0';
	fd = listen_at(name, 1 + strlen(name + 1));
	assert_int_equal(notify_send("WATCHDOG=1"), 1);
	assert_received(fd, "WATCHDOG=1");
	close(fd);
}

static void a_name_that_is_neither_is_refused(void **state)
{
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	assert_int_equal(notify_send("READY=1"), -EAFNOSUPPORT);
}

static void the_watchdog_is_asked_for_by_the_process_it_names(void **state)
{
	char pid[16];

	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	assert_true(notify_watchdog_us() == 0);
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_true(notify_watchdog_us() == 1500000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_true(notify_watchdog_us() == 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_true(notify_watchdog_us() == 1500000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_manager_nothing_is_sent),
		cmocka_unit_test(a_manager_at_a_path_gets_the_assignments),
		cmocka_unit_test(a_manager_at_an_abstract_name_gets_the_assignments),
		cmocka_unit_test(a_name_that_is_neither_is_refused),
		cmocka_unit_test(the_watchdog_is_asked_for_by_the_process_it_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
