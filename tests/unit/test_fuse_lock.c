/* SPDX-License-Identifier: MIT */
/* Locks are given up on the host, also where there was no memory to say so at first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "fuse_call.h"
#include "loop.h"

/* Instead of the client: what it is asked for, a letter each (U: an unlock, R: a release, then the handle). */
static struct {
	struct wire_buf body;
	uint8_t type;
	bool no_memory;
	char said[64];
} client;

struct wire_buf *__wrap_sftp_client_begin(struct sftp_client *c, uint8_t type);
uint32_t __wrap_sftp_client_end(struct sftp_client *c, sftp_done *done, void *ctx);

struct wire_buf *__wrap_sftp_client_begin(struct sftp_client *c, uint8_t type)
{
	wire_buf_reset(&client.body);
	client.type = type;
	return &client.body;
}

uint32_t __wrap_sftp_client_end(struct sftp_client *c, sftp_done *done, void *ctx)
{
	struct wire_reader r = wire_reader(client.body.data, client.body.len);
	size_t n = strlen(client.said);

	if (client.no_memory)
		return 0;
	client.said[n] = client.type == NATIVE_RELEASE ? 'R' : client.type == NATIVE_LOCK ? 'U' : '?';
	client.said[n + 1] = (char)('0' + wire_get_u64(&r));
	return 1;
}

static struct mount mount;
static struct share share;
static struct node *node;

static void on_forgotten(void *ctx, uint16_t s, uint64_t server, uint64_t given)
{
}

static int begin(void **state)
{
	memset(&client, 0, sizeof(client));
	memset(&mount, 0, sizeof(mount));
	mount.loop = loop_new();
	mount.nodes = node_table_new(on_forgotten, NULL);
	node = mount.nodes ? node_add_root(mount.nodes, 0, NULL, NULL) : NULL;
	share = (struct share){.mount = &mount, .state = SHARE_ATTACHED, .generation = 1};
	mount.interrupts = mount.loop ? calls_interrupts_new(&mount) : NULL;
	return mount.interrupts && node && locks_init(&mount) == 0 ? 0 : -1;
}

static int end(void **state)
{
	locks_end(&mount);
	loop_timer_free(mount.interrupts);
	node_table_free(mount.nodes);
	loop_free(mount.loop);
	wire_buf_free(&client.body);
	return 0;
}

static struct file *file_open(uint64_t fh)
{
	struct file *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->share = &share;
	f->node = node_ref(node);
	f->fh = fh;
	f->generation = 1;
	assert_non_null(node_more(node));
	node->more->files++;
	LIST_INIT(&f->locks);
	LIST_INSERT_HEAD(&mount.files, f, link);
	return f;
}

static void on_time(void *ctx)
{
	loop_stop(ctx);
}

static void time_passes(void)
{
	struct loop_timer *t = loop_timer_new(mount.loop, on_time, mount.loop);

	loop_timer_set(t, 300000);
	loop_run(mount.loop);
	loop_timer_free(t);
}

static void a_file_is_closed_behind_its_locks(void **state)
{
	struct file *f = file_open(3);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FLOCK));
	assert_true(locks_held(&mount, f, 7));
	file_close(f);
	assert_string_equal(client.said, "U3U3R3");
}

static void without_memory_its_handle_stays_until_they_are_given_up(void **state)
{
	struct file *f = file_open(3), *other = file_open(4);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	assert_true(locks_note(&mount, f, 8, NATIVE_LOCK_FLOCK));
	client.no_memory = true;
	file_close(f);
	assert_false(locks_held(&mount, other, 7));
	time_passes();
	assert_string_equal(client.said, "");
	client.no_memory = false;
	time_passes();
	assert_string_equal(client.said, "U3U3R3");
	time_passes();
	assert_string_equal(client.said, "U3U3R3");
	file_close(other);
	assert_string_equal(client.said, "U3U3R3R4");
}

/* FLUSH: a process has closed one of its descriptors. */
static bool flush(struct file *f, uint64_t owner)
{
	struct call call = {.mount = &mount, .share = &share, .node = node, .file = f, .lock.lock.owner = owner};
	bool goes = locks_flush(&call, NULL);

	mount.interrupted = 0;
	return goes;
}

static void what_could_not_be_flushed_is_owed(void **state)
{
	struct file *f = file_open(3);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	client.no_memory = true;
	assert_false(flush(f, 7));
	/* What it locks next is not to be taken for that. */
	assert_false(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	client.no_memory = false;
	time_passes();
	assert_string_equal(client.said, "U3");
	assert_false(locks_held(&mount, f, 7));
	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	assert_true(flush(f, 7));
	file_close(f);
	assert_string_equal(client.said, "U3U3R3");
}

static void an_owner_that_owes_pays_before_it_locks_again(void **state)
{
	struct file *f = file_open(3), *again = file_open(4);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	client.no_memory = true;
	assert_false(flush(f, 7));
	client.no_memory = false;
	assert_true(locks_note(&mount, again, 7, NATIVE_LOCK_FCNTL));
	assert_string_equal(client.said, "U3");
	file_close(f);
	file_close(again);
	assert_string_equal(client.said, "U3R3U4R4");
}

static void a_server_that_is_gone_is_owed_nothing(void **state)
{
	struct file *f = file_open(3);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FCNTL));
	client.no_memory = true;
	file_close(f);
	share.generation = 2;
	client.no_memory = false;
	time_passes();
	assert_string_equal(client.said, "");
}

static void what_is_owed_at_the_end_goes_with_the_mount(void **state)
{
	struct file *f = file_open(3);

	assert_true(locks_note(&mount, f, 7, NATIVE_LOCK_FLOCK));
	client.no_memory = true;
	file_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_file_is_closed_behind_its_locks, begin, end),
		cmocka_unit_test_setup_teardown(without_memory_its_handle_stays_until_they_are_given_up, begin, end),
		cmocka_unit_test_setup_teardown(what_could_not_be_flushed_is_owed, begin, end),
		cmocka_unit_test_setup_teardown(an_owner_that_owes_pays_before_it_locks_again, begin, end),
		cmocka_unit_test_setup_teardown(a_server_that_is_gone_is_owed_nothing, begin, end),
		cmocka_unit_test_setup_teardown(what_is_owed_at_the_end_goes_with_the_mount, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
