/* SPDX-License-Identifier: MIT */
/* A guest's shell that says what a test lets it say, over a chan that takes as much as a test lets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bounds.h"
#include "bringer.h"
#include "chan.h"
#include "chan_ssh.h"
#include "guest_builds.h"
#include "link_error.h"
#include "log.h"
#include "loop.h"

#define BUILD_SIZE 200000u

static struct chan chan;
static struct {
	size_t room; /* the chan takes so much more */
	uint8_t got[2 * BUILD_SIZE];
	size_t got_len;
	int freed, done;
	struct chan *handed;
	struct link_error err;
} world;
static struct loop *loop;
static struct guest_builds builds;
static struct chan_ssh_outcome outcome;

static size_t take(struct chan *c, const uint8_t *data, size_t len, bool kept)
{
	size_t n = len < world.room ? len : world.room;

	(void)c;
	(void)kept;
	assert_true(world.got_len + n <= sizeof(world.got));
	memcpy(world.got + world.got_len, data, n);
	world.got_len += n;
	world.room -= n;
	return n;
}

static void release(struct chan *c)
{
	(void)c;
	world.freed++;
}

static const struct chan_ops ops = {.write = take, .free = release};

static void on_done(void *ctx, struct chan *handed, const struct link_error *err)
{
	(void)ctx;
	world.done++;
	world.handed = handed;
	if (err)
		world.err = *err;
}

static struct bringer *begin(void)
{
	const struct bringer_params params = {.name = "vm", .builds = &builds, .outcome = &outcome};

	memset(&world, 0, sizeof(world));
	chan = (struct chan){.ops = &ops};
	outcome = (struct chan_ssh_outcome){.exit_status = -1};
	return bringer_new(loop, &chan, &params, on_done, NULL);
}

static void say(const char *text)
{
	chan.events->data(chan.ctx, (const uint8_t *)text, strlen(text));
}

static void close_chan(int status, const char *last_line)
{
	outcome.exit_status = status;
	snprintf(outcome.last_line, sizeof(outcome.last_line), "%s", last_line);
	link_error_set(&outcome.error, LINK_ERROR_LOST, "vm: gone");
	chan.events->closed(chan.ctx, 0, "gone");
}

static void assert_failed(enum link_error_kind kind, const char *sentence)
{
	assert_int_equal(world.done, 1);
	assert_null(world.handed);
	assert_int_equal(world.freed, 1);
	assert_int_equal(world.err.kind, kind);
	assert_string_equal(world.err.sentence, sentence);
}

static void nothing_is_sent_before_it_is_there_and_then_the_chan_is_handed_on(void **state)
{
	(void)state;
	begin();
	world.room = SIZE_MAX;
	say("Welcome\nto the guest");
	say("\nhomeport-bring: other homeport-guest 0\n\nhomeport-bring: att");
	assert_int_equal(world.done, 0);
	say("ach\n");
	assert_int_equal(world.done, 1);
	assert_ptr_equal(world.handed, &chan);
	assert_int_equal(world.freed, 0);
	assert_int_equal(world.got_len, 0);
	assert_null(chan.events);
}

static void a_build_is_sent_as_fast_as_it_is_taken(void **state)
{
	static const size_t steps[] = {0, 1, 70000, 65536, SIZE_MAX};

	(void)state;
	begin();
	say("homeport-bring: send vax\n");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		world.room = steps[i];
		chan.events->writable(chan.ctx);
	}
	assert_int_equal(world.got_len, BUILD_SIZE);
	for (size_t i = 0; i < BUILD_SIZE; i++)
		assert_int_equal(world.got[i], (uint8_t)(i * 7 >> 3));
	/* A full disk: again, from its beginning, for the next folder. */
	world.room = SIZE_MAX;
	say("homeport-bring: send vax\n");
	assert_int_equal(world.got_len, 2 * BUILD_SIZE);
	say("\nhomeport-bring: attach\n");
	assert_ptr_equal(world.handed, &chan);
}

static void a_guest_that_asks_for_too_much_is_given_up(void **state)
{
	(void)state;
	begin();
	say("homeport-bring: send pdp11\n");
	assert_failed(LINK_ERROR_PROTOCOL,
		      "vm: what answers is not homeport-guest: it asks for what it was not offered");
	begin();
	say("homeport-bring: send vax\nhomeport-bring: send vax\n");
	assert_failed(LINK_ERROR_PROTOCOL,
		      "vm: what answers is not homeport-guest: it asks for what it was not offered");
	begin();
	for (int i = 0; i < 7 && !world.done; i++) {
		world.room = SIZE_MAX;
		world.got_len = 0;
		say("homeport-bring: send vax\n");
	}
	assert_failed(LINK_ERROR_PROTOCOL,
		      "vm: what answers is not homeport-guest: it asks for what it was not offered");
}

static void a_guest_that_speaks_first_is_given_up(void **state)
{
	(void)state;
	begin();
	say("homeport-bring: attach\n\1");
	assert_failed(LINK_ERROR_PROTOCOL, "vm: what answers is not homeport-guest: it speaks before it was spoken to");
}

static void a_guest_that_prints_without_end_is_given_up(void **state)
{
	char much[4096];

	(void)state;
	begin();
	memset(much, 'x', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\0';
	for (size_t sent = 0; sent < 2 * SESSION_SKIP_MAX && !world.done; sent += sizeof(much))
		say(much);
	assert_failed(LINK_ERROR_PROTOCOL, "vm: what answers is not homeport-guest: it prints without end");
}

static void what_came_instead_is_told(void **state)
{
	(void)state;
	begin();
	say("only backups\r\nhere");
	close_chan(0, "");
	assert_failed(LINK_ERROR_COMMAND,
		      "vm: the guest does not run what homeport asks for; before it ended it printed "
		      "\"only backups\\x0d here\"");
	assert_true(world.err.permanent);
	begin();
	close_chan(127, "sh: not found");
	assert_failed(
		LINK_ERROR_COMMAND,
		"vm: the guest does not run what homeport asks for; before it ended it printed \"sh: not found\"");
}

/* Not the same: it may be better the next time. */
static void a_connection_that_is_lost_is_only_lost(void **state)
{
	(void)state;
	begin();
	say("Welcome\n");
	close_chan(-1, "");
	assert_failed(LINK_ERROR_LOST, "vm: gone");
	begin();
	say("homeport-bring: send vax\n");
	close_chan(1, "");
	assert_failed(LINK_ERROR_LOST, "vm: gone");
}

static void what_the_guest_lacks_is_told(void **state)
{
	(void)state;
	begin();
	say("homeport-bring: no-build Linux \33[pdp11\n");
	assert_failed(LINK_ERROR_COMMAND,
		      "vm: no homeport-guest is here for the guest, which is Linux \\x1b[pdp11 (here: "
		      "vax)");
	begin();
	say("homeport-bring: no-place /tmp: No space left on device\n");
	assert_failed(LINK_ERROR_COMMAND,
		      "vm: there is no place for homeport-guest in the guest: /tmp: No space left on device");
	assert_true(world.err.permanent);
}

static void it_may_be_ended_from_outside(void **state)
{
	(void)state;
	bringer_free(begin());
	bringer_free(NULL);
	assert_int_equal(world.done, 0);
	assert_int_equal(world.freed, 1);
}

static int make_world(void **state)
{
	uint8_t bytes[BUILD_SIZE];
	int fd = memfd_create("build", MFD_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 >> 3);
	if (fd < 0 || write(fd, bytes, sizeof(bytes)) != sizeof(bytes))
		return -1;
	builds = (struct guest_builds){.count = 1, .builds = {{.arch = "vax", .size = BUILD_SIZE, .fd = fd}}};
	loop = loop_new();
	return loop ? 0 : -1;
}

static int end_world(void **state)
{
	(void)state;
	guest_builds_close(&builds);
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_sent_before_it_is_there_and_then_the_chan_is_handed_on),
		cmocka_unit_test(a_build_is_sent_as_fast_as_it_is_taken),
		cmocka_unit_test(a_guest_that_asks_for_too_much_is_given_up),
		cmocka_unit_test(a_guest_that_speaks_first_is_given_up),
		cmocka_unit_test(a_guest_that_prints_without_end_is_given_up),
		cmocka_unit_test(what_came_instead_is_told),
		cmocka_unit_test(a_connection_that_is_lost_is_only_lost),
		cmocka_unit_test(what_the_guest_lacks_is_told),
		cmocka_unit_test(it_may_be_ended_from_outside),
	};

	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, make_world, end_world);
}
