/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "features.h"

static void nothing_is_off_unless_it_is_named(void **state)
{
	(void)state;
	for (int f = 0; f < FEATURE_COUNT; f++) {
		assert_true(feature_in(NULL, f));
		assert_true(feature_in("", f));
		assert_true(feature_in("-,-stat,statx,-statxx,--tmpfile, -tmpfile,direct-mmap,bpf-watch", f));
	}
}

static void each_that_is_named_is_off(void **state)
{
	(void)state;
	assert_false(feature_in("-statx", FEATURE_STATX));
	assert_true(feature_in("-statx", FEATURE_TMPFILE));
	assert_false(feature_in("-no-such,-tmpfile,-statx", FEATURE_STATX));
	assert_false(feature_in("-no-such,-tmpfile,-statx", FEATURE_TMPFILE));
	assert_true(feature_in("-no-such,-tmpfile,-statx", FEATURE_DIRECT_MMAP));
}

static void the_environment_has_the_list(void **state)
{
	(void)state;
	setenv("HOMEPORT_FEATURES", "-tmpfile", 1);
	assert_false(feature_on(FEATURE_TMPFILE));
	assert_true(feature_on(FEATURE_STATX));
	unsetenv("HOMEPORT_FEATURES");
	assert_true(feature_on(FEATURE_TMPFILE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_off_unless_it_is_named),
		cmocka_unit_test(each_that_is_named_is_off),
		cmocka_unit_test(the_environment_has_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
