/* SPDX-License-Identifier: MIT */
/* In which order replies leave that were queued while another was being written: one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "sftp_io.h"

#define PACKET_BULK  (20u << 10)
#define PACKET_SMALL 100u

static struct sftp_output output;
static struct wire_buf written;
static struct sftp_job jobs[8];
static _Atomic uint64_t stamp;
static const char *meanwhile; /* letters to queue while the first job is being written */

/* Packets are filled with their letter: capital ones are bulk, '!' is a message of the server's own. */
static void queue(char letter, unsigned slot)
{
	struct sftp_job *job = &jobs[slot];
	size_t len = letter >= 'A' && letter <= 'Z' ? PACKET_BULK : PACKET_SMALL;

	memset(wire_buf_reserve(&job->out, len), letter, len);
	job->out.len = len;
	if (letter == '!')
		sftp_output_place(&output, job, &stamp, 8);
	else
		sftp_output_send(&output, job);
}

static void on_sent(struct sftp_job *job)
{
	const char *letters = meanwhile;

	wire_buf_reset(&job->out);
	meanwhile = NULL;
	for (unsigned i = 0; letters && letters[i]; i++)
		queue(letters[i], i + 1);
}

static int set_up(void **state)
{
	sftp_output_init(&output, -1, on_sent);
	output.memory = &written;
	stamp = 41;
	return 0;
}

static int tear_down(void **state)
{
	sftp_output_clear(&output);
	wire_buf_free(&written);
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		wire_buf_free(&jobs[i].out);
	return 0;
}

/* What is queued while a first packet is written leaves in this order. */
static void assert_order(const char *queued, const char *order)
{
	const uint8_t *p;

	meanwhile = queued;
	queue('x', 0);
	p = written.data + PACKET_SMALL;
	for (; *order; order++) {
		assert_int_equal(*p, *order);
		p += *order >= 'A' && *order <= 'Z' ? PACKET_BULK : PACKET_SMALL;
	}
	assert_ptr_equal(p, written.data + written.len);
}

static void small_replies_go_before_bulk(void **state)
{
	assert_order("AaBb", "abAB");
}

static void a_message_overtakes_nothing_and_is_overtaken_by_nothing(void **state)
{
	assert_order("Aa!Bb", "aA!bB");
}

static void what_is_between_two_messages_stays_there(void **state)
{
	assert_order("A!Ba!b", "A!aB!b");
}

static void a_message_waits_for_the_reply_it_belongs_to(void **state)
{
	queue('!', 1);
	assert_int_equal(written.len, 0);
	queue('a', 0);
	assert_int_equal(written.len, 2 * PACKET_SMALL);
	assert_int_equal(written.data[0], '!');
}

static void a_message_carries_the_stamp_of_the_moment_it_got_its_place(void **state)
{
	queue('!', 1);
	assert_int_equal(stamp, 42);
	assert_int_equal(wire_peek_u64(jobs[1].out.data + 8), 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small_replies_go_before_bulk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_message_overtakes_nothing_and_is_overtaken_by_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_between_two_messages_stays_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_message_waits_for_the_reply_it_belongs_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_message_carries_the_stamp_of_the_moment_it_got_its_place, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
