/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest_builds.h"
#include "log.h"

static char top[64];

static int make_top(void **state)
{
	char bin[128];

	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_guest_builds.XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(bin, sizeof(bin), "%s/bin", top);
	return mkdir(bin, 0700);
}

static int remove_top(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", top);
	return system(command);
}

/* A copy of this very program, or of nothing, as homeport-guest in a folder. */
static void put(const char *folder, int sound)
{
	char command[512];

	snprintf(command, sizeof(command), "mkdir -p '%s/%s' && %s '%s/%s/homeport-guest'", top, folder,
		 sound ? "cp /proc/$PPID/exe" : "touch", top, folder);
	assert_int_equal(system(command), 0);
}

static void find(struct guest_builds *b)
{
	char bin[128];

	snprintf(bin, sizeof(bin), "%s/bin", top);
	guest_builds_find_from(b, bin);
}

static void without_any_there_are_none(void **state)
{
	struct guest_builds b;
	char text[64];

	(void)state;
	find(&b);
	assert_int_equal(b.count, 0);
	assert_string_equal(guest_builds_list(&b, text, sizeof(text)), "none");
	assert_null(guest_builds_get(&b, "x86_64"));
}

static void one_an_architecture_is_found_in_each_place(void **state)
{
	struct guest_builds b;
	struct utsname machine;
	char text[64];

	(void)state;
	uname(&machine);
	put("libexec/homeport/vax", 1);
	put("bin/guests/vax", 1);
	put("bin/guests/pdp11", 1);
	put("bin", 1);
	find(&b);
	assert_int_equal(b.count, 3);
	assert_string_equal(b.builds[0].arch, "vax");
	assert_string_equal(b.builds[1].arch, "pdp11");
	assert_string_equal(b.builds[2].arch, machine.machine);
	assert_ptr_equal(guest_builds_get(&b, "pdp11"), &b.builds[1]);
	assert_string_equal(b.builds[0].id, build_id_own());
	assert_true(b.builds[0].size > 1000);
	guest_builds_list(&b, text, sizeof(text));
	assert_memory_equal(text, "vax, pdp11, ", 12);
	guest_builds_close(&b);
	assert_int_equal(b.count, 0);
}

/* What is installed over it is another version's to bring. */
static void one_that_is_replaced_later_is_still_the_old_one(void **state)
{
	struct guest_builds b;
	char magic[4], command[256];

	(void)state;
	put("libexec/homeport/vax", 1);
	find(&b);
	assert_int_equal(b.count, 1);
	snprintf(command, sizeof(command), "cd '%s/libexec/homeport/vax' && touch new && mv new homeport-guest", top);
	assert_int_equal(system(command), 0);
	assert_int_equal(pread(b.builds[0].fd, magic, 4, 0), 4);
	assert_memory_equal(magic, "\177ELF", 4);
	guest_builds_close(&b);
}

static void what_is_no_program_or_no_word_is_passed_over(void **state)
{
	struct guest_builds b;

	(void)state;
	put("libexec/homeport/vax", 0);
	put("libexec/homeport/a b", 1);
	put("libexec/homeport/a\";rm", 1);
	put("libexec/homeport/.hidden", 1);
	put("libexec/homeport/a-name-that-is-longer-than-any-architecture", 1);
	find(&b);
	assert_int_equal(b.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_any_there_are_none, make_top, remove_top),
		cmocka_unit_test_setup_teardown(one_an_architecture_is_found_in_each_place, make_top, remove_top),
		cmocka_unit_test_setup_teardown(one_that_is_replaced_later_is_still_the_old_one, make_top, remove_top),
		cmocka_unit_test_setup_teardown(what_is_no_program_or_no_word_is_passed_over, make_top, remove_top),
	};

	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
