/* SPDX-License-Identifier: MIT */
/* What is a question, what answers it, and the answers made here; and that no message makes a reader go astray. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "dns_message.h"

/* In memory of exactly its size. */
static bool read_it(const uint8_t *message, size_t len, struct dns_question *q)
{
	uint8_t *exact = malloc(len ? len : 1);
	bool is;

	memcpy(exact, message, len);
	is = dns_question_get(exact, len, q);
	free(exact);
	return is;
}

static void a_question_is_read_and_every_piece_of_one_is_none(void **state)
{
	uint8_t message[] = {0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'A', 'b', 'c', 2, 'd', 'e', 0, 0, 28, 0, 1, 0xff};
	struct dns_question q;

	assert_true(read_it(message, sizeof(message), &q));
	assert_string_equal(q.name, "abc.de");
	assert_int_equal(q.type, DNS_TYPE_AAAA);
	assert_int_equal(q.class, DNS_CLASS_IN);
	assert_int_equal(q.end, sizeof(message) - 1);
	for (size_t len = 0; len < q.end; len++)
		assert_false(read_it(message, len, &q));
	message[5] = 2;
	assert_false(read_it(message, sizeof(message), &q));
	message[5] = 1;
	message[2] |= 0x80;
	assert_false(read_it(message, sizeof(message), &q));
	message[2] = 0;
	for (int byte = 0; byte < 256; byte++) {
		message[16] = (uint8_t)byte; /* a length */
		read_it(message, sizeof(message), &q);
	}
	message[16] = 0xc0;
	assert_false(read_it(message, sizeof(message), &q));
	message[16] = 2;
	message[13] = '.';
	assert_false(read_it(message, sizeof(message), &q));
}

static void a_name_is_as_long_as_dns_has_it_and_no_longer(void **state)
{
	uint8_t message[DNS_HEAD + 300] = {[5] = 1};
	struct dns_question q;
	size_t at = DNS_HEAD;

	uint8_t out[DNS_OWN_ANSWER], address[16] = {0};

	for (int part = 0; part < 4; part++) {
		message[at] = part < 3 ? 63 : 61;
		memset(message + at + 1, 'x', message[at]);
		at += message[at] + 1;
	}
	assert_true(read_it(message, at + 5, &q));
	assert_int_equal(strlen(q.name), 253);
	assert_int_equal(dns_answer_put(out, message, &q, address, sizeof(address)), sizeof(out));
	message[at - 62]++;
	message[at++] = 'x';
	assert_false(read_it(message, at + 5, &q));
}

static void an_answer_is_known_by_its_number(void **state)
{
	uint8_t asked[DNS_HEAD] = {1, 2}, answer[DNS_HEAD] = {1, 2, 0x80};

	assert_true(dns_is_answer(answer, DNS_HEAD, asked, DNS_HEAD));
	assert_false(dns_is_answer(answer, DNS_HEAD - 1, asked, DNS_HEAD));
	answer[1] = 3;
	assert_false(dns_is_answer(answer, DNS_HEAD, asked, DNS_HEAD));
	assert_false(dns_is_answer(asked, DNS_HEAD, asked, DNS_HEAD));
}

static void answers_made_here_repeat_the_question_and_no_more(void **state)
{
	static const uint8_t message[] = {0, 7, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 1, 1, 'a', 0, 0, 1, 0, 1, 9, 9, 9};
	static const uint8_t address[] = {10, 0, 0, 1};
	static const uint8_t found[] = {0, 7,    0x85, 0x80, 0, 1, 0, 1, 0, 0, 0,  0, 1, 'a', 0, 0, 1, 0,
					1, 0xc0, 12,   0,    1, 0, 1, 0, 0, 0, 30, 0, 4, 10,  0, 0, 1};
	static const uint8_t none[] = {0, 7, 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
	static const uint8_t failed[] = {0, 7, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
	uint8_t out[DNS_OWN_ANSWER];
	struct dns_question q;

	assert_true(dns_question_get(message, sizeof(message), &q));
	assert_int_equal(dns_answer_put(out, message, &q, address, sizeof(address)), sizeof(found));
	assert_memory_equal(out, found, sizeof(found));
	assert_int_equal(dns_answer_put(out, message, &q, NULL, 0), sizeof(none));
	assert_memory_equal(out, none, sizeof(none));
	assert_int_equal(dns_failure_put(out, message, sizeof(message)), sizeof(failed));
	assert_memory_equal(out, failed, sizeof(failed));
	assert_int_equal(dns_failure_put(out, message, 13), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_read_and_every_piece_of_one_is_none),
		cmocka_unit_test(a_name_is_as_long_as_dns_has_it_and_no_longer),
		cmocka_unit_test(an_answer_is_known_by_its_number),
		cmocka_unit_test(answers_made_here_repeat_the_question_and_no_more),
	};

	return cmocka_run_group_tests_name("dns_message", tests, NULL, NULL);
}
