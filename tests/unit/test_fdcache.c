/* SPDX-License-Identifier: MIT */
/* A bounded cache of descriptors, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#include "fdcache.h"

static int some_fd(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Puts a new descriptor and gives it back at once. */
static int put(struct fdcache *c, uint64_t key)
{
	struct fd_ref ref;
	int fd = some_fd();

	fdcache_put(c, key, fd, &ref);
	assert_int_equal(ref.fd, fd);
	fdcache_release(c, &ref);
	return fd;
}

static bool has(struct fdcache *c, uint64_t key)
{
	struct fd_ref ref;

	if (fdcache_get(c, key, &ref) < 0)
		return false;
	fdcache_release(c, &ref);
	return true;
}

static void the_least_recently_used_makes_room(void **state)
{
	struct fdcache *c = fdcache_new(3);

	put(c, 1);
	put(c, 2);
	put(c, 3);
	assert_true(has(c, 1));
	put(c, 4);
	assert_true(has(c, 1) && !has(c, 2) && has(c, 3) && has(c, 4));
	fdcache_free(c);
}

static void what_is_pinned_is_neither_closed_nor_replaced(void **state)
{
	struct fdcache *c = fdcache_new(2);
	struct fd_ref a, b, third;
	int fd = some_fd();

	fdcache_put(c, 1, some_fd(), &a);
	fdcache_put(c, 2, some_fd(), &b);
	fdcache_put(c, 3, fd, &third);
	assert_int_equal(third.slot, FD_REF_OWNED);
	assert_true(is_open(a.fd) && is_open(b.fd));
	assert_false(has(c, 3));
	fdcache_release(c, &third);
	assert_false(is_open(fd));
	assert_int_equal(third.fd, -1);
	fdcache_release(c, &a);
	fdcache_release(c, &b);
	assert_true(has(c, 1) && has(c, 2));
	fdcache_free(c);
}

static void a_dropped_one_is_closed_when_its_last_user_is_done(void **state)
{
	struct fdcache *c = fdcache_new(2);
	struct fd_ref a, again;
	int fd;

	fdcache_put(c, 1, some_fd(), &a);
	assert_int_equal(fdcache_get(c, 1, &again), 0);
	fd = a.fd;
	fdcache_drop(c, 1);
	assert_false(has(c, 1));
	fdcache_release(c, &a);
	assert_true(is_open(fd));
	fdcache_release(c, &again);
	assert_false(is_open(fd));
	fdcache_drop(c, 1);
	put(c, 5);
	put(c, 6);
	assert_true(has(c, 5) && has(c, 6));
	fdcache_free(c);
}

static void whoever_came_first_is_the_one_for_all(void **state)
{
	struct fdcache *c = fdcache_new(2);
	struct fd_ref a, b;
	int second = some_fd();

	fdcache_put(c, 1, some_fd(), &a);
	fdcache_put(c, 1, second, &b);
	assert_int_equal(a.fd, b.fd);
	assert_false(is_open(second));
	fdcache_release(c, &a);
	fdcache_release(c, &b);
	fdcache_free(c);
}

static void many_keys_in_a_few_slots_are_never_mixed_up(void **state)
{
	struct fdcache *c = fdcache_new(7);
	int fds[100] = {0};

	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t key = 1 + i * 7919 % 97;
		struct fd_ref ref;

		if (fdcache_get(c, key, &ref) == 0) {
			assert_int_equal(ref.fd, fds[key]);
			fdcache_release(c, &ref);
		} else {
			fds[key] = put(c, key);
		}
		if (i % 5 == 0)
			fdcache_drop(c, 1 + i % 97);
	}
	fdcache_free(c);
}

static void what_is_kept_makes_no_room_until_it_is_dropped(void **state)
{
	struct fdcache *c = fdcache_new(4);
	int fd = some_fd();

	assert_int_equal(fdcache_keep(c, 1, fd), 0);
	for (uint64_t key = 2; key < 20; key++)
		put(c, key);
	assert_true(has(c, 1) && is_open(fd));
	fdcache_drop(c, 1);
	assert_false(has(c, 1) || is_open(fd));
	fdcache_free(c);
}

static void what_is_kept_no_more_makes_room_as_the_others_do(void **state)
{
	struct fdcache *c = fdcache_new(4);
	int fd = some_fd();

	assert_int_equal(fdcache_keep(c, 1, fd), 0);
	fdcache_unkeep(c, 1);
	fdcache_unkeep(c, 2);
	assert_true(has(c, 1));
	for (uint64_t key = 2; key < 6; key++)
		put(c, key);
	assert_false(has(c, 1));
	fdcache_free(c);
}

static void half_are_kept_and_what_is_refused_is_closed(void **state)
{
	struct fdcache *c = fdcache_new(4);
	int fd = some_fd(), old = put(c, 3);

	assert_int_equal(fdcache_keep(c, 1, some_fd()), 0);
	assert_int_equal(fdcache_keep(c, 2, some_fd()), 0);
	assert_int_equal(fdcache_keep(c, 3, fd), -EMFILE);
	assert_false(is_open(fd) || is_open(old));
	fdcache_drop(c, 2);
	assert_int_equal(fdcache_keep(c, 3, some_fd()), 0);
	assert_true(has(c, 1) && has(c, 3));
	fdcache_free(c);
}

static void what_is_kept_takes_the_place_of_what_was_there(void **state)
{
	struct fdcache *c = fdcache_new(4);
	int old = put(c, 1), fd = some_fd();
	struct fd_ref ref;

	assert_int_equal(fdcache_keep(c, 1, fd), 0);
	assert_false(is_open(old));
	assert_int_equal(fdcache_get(c, 1, &ref), 0);
	assert_int_equal(ref.fd, fd);
	fdcache_drop(c, 1);
	assert_true(is_open(fd)); /* in use */
	fdcache_release(c, &ref);
	assert_false(is_open(fd));
	fdcache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_least_recently_used_makes_room),
		cmocka_unit_test(what_is_pinned_is_neither_closed_nor_replaced),
		cmocka_unit_test(a_dropped_one_is_closed_when_its_last_user_is_done),
		cmocka_unit_test(whoever_came_first_is_the_one_for_all),
		cmocka_unit_test(many_keys_in_a_few_slots_are_never_mixed_up),
		cmocka_unit_test(what_is_kept_makes_no_room_until_it_is_dropped),
		cmocka_unit_test(what_is_kept_no_more_makes_room_as_the_others_do),
		cmocka_unit_test(half_are_kept_and_what_is_refused_is_closed),
		cmocka_unit_test(what_is_kept_takes_the_place_of_what_was_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
