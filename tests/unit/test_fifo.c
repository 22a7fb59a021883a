/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fifo.h"

static void bytes_come_out_as_they_went_in_whatever_the_pieces(void **state)
{
	struct fifo f = {0};
	static uint8_t in[100000], out[200000];
	uint8_t put = 0, want = 0;

	(void)state;
	srandom(7);
	for (int round = 0; round < 2000; round++) {
		size_t n = (size_t)random() % (round % 50 ? 3000 : sizeof(in));

		for (size_t i = 0; i < n; i++)
			in[i] = put++;
		assert_true(fifo_append(&f, in, n));
		n = (size_t)random() % (f.len + 1);
		if (n > sizeof(out))
			n = sizeof(out);
		fifo_take(&f, out, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(out[i], want++);
	}
	fifo_drop(&f, f.len);
	assert_null(f.first);
	assert_null(f.last);
}

static void an_empty_queue_holds_nothing(void **state)
{
	struct fifo f = {0};
	size_t len = 1;

	(void)state;
	assert_null(fifo_peek(&f, &len));
	assert_int_equal(len, 0);
	assert_true(fifo_append(&f, NULL, 0));
	assert_true(fifo_append(&f, "ab", 2));
	assert_memory_equal(fifo_peek(&f, &len), "ab", 2);
	fifo_clear(&f);
	assert_null(f.first);
	assert_int_equal(f.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_out_as_they_went_in_whatever_the_pieces),
		cmocka_unit_test(an_empty_queue_holds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
