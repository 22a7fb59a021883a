/* SPDX-License-Identifier: MIT */
/* Requests under the numbers of others, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/fuse.h>

#include "fuse_raw.h"

#define STATX_LEN   (sizeof(struct fuse_in_header) + 24)
#define TMPFILE_LEN (sizeof(struct fuse_in_header) + sizeof(struct fuse_create_in) + 2)

static union {
	struct fuse_in_header h;
	uint8_t bytes[256];
} request;

static enum raw_request adapt(uint32_t opcode, size_t len)
{
	memset(&request, 0, sizeof(request));
	request.h.opcode = opcode;
	request.h.unique = 7;
	return raw_request_adapt(&request, len);
}

static void a_statx_becomes_a_getattr_and_a_tmpfile_a_create(void **state)
{
	(void)state;
	assert_int_equal(adapt(52, STATX_LEN), RAW_STATX);
	assert_int_equal(request.h.opcode, FUSE_GETATTR);
	assert_int_equal(request.h.unique, 7);
	assert_int_equal(adapt(51, TMPFILE_LEN), RAW_TMPFILE);
	assert_int_equal(request.h.opcode, FUSE_CREATE);
}

static void a_setxattr_is_cut_to_what_libfuse_knows(void **state)
{
	static const char strings[] = "name\0value";
	struct fuse_setxattr_in in = {.size = 5, .flags = 1, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID};
	uint8_t *body = request.bytes + sizeof(request.h);
	size_t len = sizeof(request.h) + sizeof(in) + sizeof(strings);

	(void)state;
	for (int kill = 1; kill >= 0; kill--) {
		request.h = (struct fuse_in_header){.opcode = FUSE_SETXATTR};
		memcpy(body, &in, sizeof(in));
		memcpy(body + sizeof(in), strings, sizeof(strings));
		assert_int_equal(raw_setxattr_adapt(&request, len), kill ? RAW_ACL_KILL_SGID : RAW_NONE);
		assert_memory_equal(body, &in, FUSE_COMPAT_SETXATTR_IN_SIZE);
		assert_memory_equal(body + FUSE_COMPAT_SETXATTR_IN_SIZE, strings, sizeof(strings));
		in.setxattr_flags = 0;
	}
	request.h.opcode = FUSE_GETXATTR;
	memcpy(body, &in, sizeof(in));
	assert_int_equal(raw_setxattr_adapt(&request, len), RAW_NONE);
	assert_memory_equal(body, &in, sizeof(in));
	request.h.opcode = FUSE_SETXATTR;
	assert_int_equal(raw_setxattr_adapt(&request, sizeof(request.h) + sizeof(in) - 1), RAW_NONE);
}

static void all_others_stay_as_they_are(void **state)
{
	(void)state;
	for (uint32_t opcode = 0; opcode < 5000; opcode++) {
		if (opcode == 51 || opcode == 52)
			continue;
		assert_int_equal(adapt(opcode, sizeof(request)), RAW_NONE);
		assert_int_equal(request.h.opcode, opcode);
	}
}

static void what_is_too_short_is_left_to_libfuse(void **state)
{
	(void)state;
	assert_int_equal(adapt(52, STATX_LEN - 1), RAW_NONE);
	assert_int_equal(request.h.opcode, 52);
	assert_int_equal(adapt(51, TMPFILE_LEN - 2), RAW_NONE);
	assert_int_equal(adapt(52, sizeof(struct fuse_in_header) - 1), RAW_NONE);
	assert_int_equal(adapt(52, 0), RAW_NONE);
}

static void what_is_switched_off_is_left_to_libfuse(void **state)
{
	(void)state;
	setenv("HOMEPORT_FEATURES", "-statx,-tmpfile", 1);
	assert_int_equal(adapt(52, STATX_LEN), RAW_NONE);
	assert_int_equal(adapt(51, TMPFILE_LEN), RAW_NONE);
	unsetenv("HOMEPORT_FEATURES");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_statx_becomes_a_getattr_and_a_tmpfile_a_create),
		cmocka_unit_test(a_setxattr_is_cut_to_what_libfuse_knows),
		cmocka_unit_test(all_others_stay_as_they_are),
		cmocka_unit_test(what_is_too_short_is_left_to_libfuse),
		cmocka_unit_test(what_is_switched_off_is_left_to_libfuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
