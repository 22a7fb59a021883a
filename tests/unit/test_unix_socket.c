/* SPDX-License-Identifier: MIT */
/* Listening at a path: what is replaced and what never, who may connect, and what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sock_address.h"
#include "unix_socket.h"

static char folder[64];

static struct sock_address at(const char *name)
{
	struct sock_address a;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(sock_address_unix(&a, path), 0);
	return a;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

static int setup(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/homeport-test.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(folder); /* each test leaves it empty */
}

static int connect_to(const struct sock_address *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, &a->any, a->len) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void a_socket_is_its_owners_alone_and_so_are_the_folders_made_for_it(void **state)
{
	struct sock_address a = at("one/two/s");
	struct unix_socket_file file;
	char path[128];
	mode_t before = umask(0);
	int fd = unix_socket_listen(&a, &file), client;

	umask(before);
	assert_true(fd >= 0);
	assert_int_equal(mode_of(a.un.sun_path), 0600);
	for (const char **name = (const char *[]){"one", "one/two", NULL}; *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", folder, *name);
		assert_int_equal(mode_of(path), 0700);
	}
	client = connect_to(&a);
	assert_true(client >= 0);
	close(client);
	close(fd);
	unix_socket_remove(&a, &file);
	assert_int_equal(access(a.un.sun_path, F_OK), -1);
	assert_int_equal(rmdir(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
}

static void a_socket_nobody_has_is_replaced_and_one_that_somebody_has_is_not(void **state)
{
	struct sock_address a = at("s");
	struct unix_socket_file file, other;
	int fd = unix_socket_listen(&a, &file), again, one;

	assert_true(fd >= 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(unix_socket_listen(&a, &other), -EADDRINUSE);
	/* Who has it has heard nothing of that. */
	one = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	assert_int_equal(one, -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(unlink(a.un.sun_path), 0);
	again = unix_socket_listen(&a, &other);
	assert_true(again >= 0);
	unix_socket_remove(&a, &file); /* not its own any more */
	assert_int_equal(access(a.un.sun_path, F_OK), 0);
	close(fd);
	close(again); /* as when it is killed: the file stays */
	assert_int_equal(access(a.un.sun_path, F_OK), 0);
	again = unix_socket_listen(&a, &other);
	assert_true(again >= 0);
	close(again);
	unix_socket_remove(&a, &other);
	assert_int_equal(access(a.un.sun_path, F_OK), -1);
}

static void a_socket_of_another_type_or_not_listening_is_somebodys_too(void **state)
{
	static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
	struct sock_address a = at("s");
	struct unix_socket_file file;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		assert_int_equal(bind(fd, &a.any, a.len), 0);
		assert_int_equal(unix_socket_listen(&a, &file), -EADDRINUSE);
		close(fd);
		assert_int_equal(unlink(a.un.sun_path), 0);
	}
}

#define RACERS 4
#define ROUNDS 500

static pthread_barrier_t start;
static struct sock_address raced;

struct racer {
	pthread_t thread;
	int fd;
	struct unix_socket_file file;
};

static void *race(void *ctx)
{
	struct racer *r = ctx;

	pthread_barrier_wait(&start);
	r->fd = unix_socket_listen(&raced, &r->file);
	return NULL;
}

/* As two agents do that are started together, after one that was killed. */
static void of_several_that_replace_a_stale_socket_one_has_it(void **state)
{
	struct racer racers[RACERS];
	struct stat st;

	raced = at("s");
	assert_int_equal(pthread_barrier_init(&start, NULL, RACERS), 0);
	for (int round = 0; round < ROUNDS; round++) {
		int winner = -1;

		for (int i = 0; i < RACERS; i++)
			assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
		for (int i = 0; i < RACERS; i++)
			pthread_join(racers[i].thread, NULL);
		for (int i = 0; i < RACERS; i++) {
			if (racers[i].fd == -EADDRINUSE)
				continue;
			assert_true(racers[i].fd >= 0);
			assert_int_equal(winner, -1);
			winner = i;
		}
		assert_true(winner >= 0);
		assert_int_equal(lstat(raced.un.sun_path, &st), 0);
		assert_int_equal(st.st_ino, racers[winner].file.ino);
		close(racers[winner].fd);
	}
	assert_int_equal(unlink(raced.un.sun_path), 0);
	pthread_barrier_destroy(&start);
}

static void what_is_no_socket_is_never_replaced(void **state)
{
	struct sock_address a = at("s");
	struct unix_socket_file file;
	char text[4] = "";
	int fd = open(a.un.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "abc", 3), 3);
	assert_int_equal(unix_socket_listen(&a, &file), -EEXIST);
	assert_int_equal(pread(fd, text, 3, 0), 3);
	assert_string_equal(text, "abc");
	close(fd);
	assert_int_equal(unlink(a.un.sun_path), 0);
	assert_int_equal(symlink("/nowhere", a.un.sun_path), 0);
	assert_int_equal(unix_socket_listen(&a, &file), -EEXIST);
	assert_int_equal(unlink(a.un.sun_path), 0);
	assert_int_equal(mkdir(a.un.sun_path, 0700), 0);
	assert_int_equal(unix_socket_listen(&a, &file), -EEXIST);
	assert_int_equal(rmdir(a.un.sun_path), 0);
}

static void addresses_are_text_that_can_be_shown(void **state)
{
	static const uint8_t loopback[16] = {[15] = 1};
	char text[SOCK_ADDRESS_TEXT_MAX], longest[SOCKET_PATH_MAX + 1];
	struct sock_address a;

	sock_address_ip(&a, 6, loopback, 0, 80);
	assert_string_equal(sock_address_text(text, &a), "[::1]:80");
	assert_false(sock_address_is_unix(&a));
	assert_int_equal(sock_address_unix(&a, "/a\x1b[2J b"), 0);
	assert_string_equal(sock_address_text(text, &a), "/a\\x1b[2J b");
	assert_true(sock_address_is_unix(&a));
	memset(longest, 1, sizeof(longest));
	longest[SOCKET_PATH_MAX] = '\0';
	assert_int_equal(sock_address_unix(&a, longest), -ENAMETOOLONG);
	longest[SOCKET_PATH_MAX - 1] = '\0';
	assert_int_equal(sock_address_unix(&a, longest), 0);
	assert_string_equal(sock_address_text(text, &a) + strlen(text) - 3, "...");
	memset(longest, 'x', SOCKET_PATH_MAX - 1);
	assert_int_equal(sock_address_unix(&a, longest), 0);
	assert_string_equal(sock_address_text(text, &a), longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_socket_is_its_owners_alone_and_so_are_the_folders_made_for_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_socket_nobody_has_is_replaced_and_one_that_somebody_has_is_not, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_socket_of_another_type_or_not_listening_is_somebodys_too, setup,
						teardown),
		cmocka_unit_test_setup_teardown(of_several_that_replace_a_stale_socket_one_has_it, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_socket_is_never_replaced, setup, teardown),
		cmocka_unit_test(addresses_are_text_that_can_be_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
