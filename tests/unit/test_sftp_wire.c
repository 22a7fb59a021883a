/* SPDX-License-Identifier: MIT */
/* SFTP and native messages to and from bytes, one sentence a test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "lock_type.h"
#include "sftp_wire.h"

static struct sftp_attr some_attr(uint64_t seed)
{
	return (struct sftp_attr){
		.ino = seed,
		.size = UINT64_MAX - seed,
		.blocks = 0x0102030405060708,
		.mode = 0100644,
		.nlink = 3,
		.uid = 1000,
		.gid = 0xfffffffe,
		.rdev_major = 8,
		.rdev_minor = 1,
		.dev = 2,
		.flags = SFTP_ATTR_BTIME | SFTP_ATTR_RACY,
		.atime = {-1, 999999999},
		.mtime = {INT64_MIN, 0},
		.ctime = {INT64_MAX, 5},
		.btime = {7, 8},
	};
}

/* Compared as bytes on the wire: the structs have padding. */
static void assert_same_attr(const struct sftp_attr *a, const struct sftp_attr *b)
{
	struct wire_buf as_a = {0}, as_b = {0};

	sftp_attr_put(&as_a, a);
	sftp_attr_put(&as_b, b);
	assert_memory_equal(as_a.data, as_b.data, SFTP_ATTR_SIZE);
	wire_buf_free(&as_a);
	wire_buf_free(&as_b);
}

static void attributes_come_back_as_they_went_and_take_104_bytes(void **state)
{
	struct sftp_attr in = some_attr(42), out;
	struct wire_buf b = {0};
	struct wire_reader r;

	sftp_attr_put(&b, &in);
	assert_int_equal(b.len, SFTP_ATTR_SIZE);
	r = wire_reader(b.data, b.len);
	sftp_attr_get(&r, &out);
	assert_true(wire_read_done(&r));
	assert_same_attr(&in, &out);
	assert_int_equal(out.mtime.sec, INT64_MIN);
	assert_int_equal(out.btime.nsec, 8);
	wire_buf_free(&b);
}

static void attributes_cut_short_are_an_error_and_read_as_zero(void **state)
{
	const struct sftp_attr zero = {0};
	struct sftp_attr in = some_attr(1), out;
	struct wire_buf b = {0};

	sftp_attr_put(&b, &in);
	for (size_t n = 0; n < b.len; n++) {
		struct wire_reader r = wire_reader(b.data, n);

		sftp_attr_get(&r, &out);
		assert_true(r.bad);
		assert_same_attr(&out, &zero);
	}
	wire_buf_free(&b);
}

static void a_change_and_a_caller_come_back_as_they_went(void **state)
{
	struct sftp_change change = {.size = 9, .mtime = {1, 2}, .ctime = {-3, 4}, .after = some_attr(5)}, change_out;
	struct sftp_caller caller = {.request = 1ull << 60, .uid = 7, .gid = 8}, caller_out;
	struct wire_buf b = {0};
	struct wire_reader r;

	sftp_change_put(&b, &change);
	assert_int_equal(b.len, SFTP_CHANGE_SIZE);
	sftp_caller_put(&b, &caller);
	assert_int_equal(b.len, SFTP_CHANGE_SIZE + 16);
	r = wire_reader(b.data, b.len);
	sftp_change_get(&r, &change_out);
	sftp_caller_get(&r, &caller_out);
	assert_true(wire_read_done(&r));
	assert_int_equal(change_out.size, 9);
	assert_int_equal(change_out.ctime.sec, -3);
	assert_same_attr(&change.after, &change_out.after);
	assert_memory_equal(&caller, &caller_out, sizeof(caller));
	wire_buf_free(&b);
}

static void an_entry_carries_a_node_and_attributes_only_when_its_flag_says_so(void **state)
{
	struct sftp_entry in = {.cookie = 11, .ino = 12, .type = 8, .name = (const uint8_t *)"a\nb", .name_len = 3},
			  out;
	struct wire_buf b = {0};
	struct wire_reader r;

	sftp_entry_put(&b, &in);
	assert_int_equal(b.len, 8 + 8 + 1 + 1 + 4 + 3);
	in.flags = NATIVE_ENTRY_NODE;
	in.node = 77;
	in.attr = some_attr(3);
	sftp_entry_put(&b, &in);
	r = wire_reader(b.data, b.len);
	sftp_entry_get(&r, &out);
	assert_int_equal(out.flags, 0);
	assert_int_equal(out.node, 0);
	assert_int_equal(out.cookie, 11);
	sftp_entry_get(&r, &out);
	assert_true(wire_read_done(&r));
	assert_int_equal(out.node, 77);
	assert_int_equal(out.name_len, 3);
	assert_memory_equal(out.name, "a\nb", 3);
	assert_same_attr(&out.attr, &in.attr);
	wire_buf_free(&b);
}

static void an_invalidation_survives_the_way_there_and_back(void **state)
{
	const struct sftp_invalidation in = {.kind = NATIVE_INVALIDATE_ENTRY,
					     .stamp = 7,
					     .node = 8,
					     .name = (const uint8_t *)"name",
					     .name_len = 4},
				       range = {.kind = NATIVE_INVALIDATE_RANGE, .offset = 9, .length = 10};
	struct sftp_invalidation out;
	struct wire_buf b = {0};
	struct wire_reader r;

	sftp_invalidation_put(&b, &in);
	assert_int_equal(wire_peek_u32(b.data), b.len - 4);
	assert_int_equal(b.data[4], NATIVE_INVALIDATE);
	assert_int_equal(wire_peek_u64(b.data + NATIVE_INVALIDATE_STAMP), 7);
	r = wire_reader(b.data + 5, b.len - 5);
	sftp_invalidation_get(&r, &out);
	assert_true(wire_read_done(&r));
	assert_int_equal(out.kind, NATIVE_INVALIDATE_ENTRY);
	assert_int_equal(out.node, 8);
	assert_int_equal(out.name_len, 4);
	assert_memory_equal(out.name, "name", 4);
	wire_buf_reset(&b);
	sftp_invalidation_put(&b, &range);
	r = wire_reader(b.data + 5, b.len - 5);
	sftp_invalidation_get(&r, &out);
	assert_true(wire_read_done(&r));
	assert_int_equal(out.offset, 9);
	assert_int_equal(out.length, 10);
	wire_buf_free(&b);
}

static void an_invalidation_of_no_kind_or_no_name_is_an_error(void **state)
{
	const struct sftp_invalidation bad[] = {
		{.kind = 0},
		{.kind = NATIVE_INVALIDATE_ALL + 1},
		{.kind = NATIVE_INVALIDATE_ENTRY},
		{.kind = NATIVE_INVALIDATE_ENTRY, .name = (const uint8_t *)"a/b", .name_len = 3},
		{.kind = NATIVE_INVALIDATE_ATTR, .name = (const uint8_t *)"..", .name_len = 2},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sftp_invalidation out;
		struct wire_buf b = {0};
		struct wire_reader r;

		sftp_invalidation_put(&b, &bad[i]);
		r = wire_reader(b.data + 5, b.len - 5);
		sftp_invalidation_get(&r, &out);
		assert_true(r.bad);
		wire_buf_free(&b);
	}
}

static void an_entry_with_a_name_longer_than_255_bytes_is_an_error(void **state)
{
	uint8_t name[256] = {0};
	struct sftp_entry e = {.name = name, .name_len = sizeof(name)}, out;
	struct wire_buf b = {0};
	struct wire_reader r;

	sftp_entry_put(&b, &e);
	r = wire_reader(b.data, b.len);
	sftp_entry_get(&r, &out);
	assert_false(wire_read_done(&r));
	wire_buf_free(&b);
}

static void a_name_is_any_bytes_but_a_path(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		bool valid;
	} rows[] = {
		{"a", 1, true},       {"...", 3, true},  {".a", 2, true},    {"..a", 3, true},
		{"\xff\n ", 3, true}, {"", 0, false},    {".", 1, false},    {"..", 2, false},
		{"/", 1, false},      {"a/b", 3, false}, {"a/", 2, false},   {"/a", 2, false},
		{"a\0b", 3, false},   {"\0", 1, false},  {"../x", 4, false}, {".\0", 2, false},
	};
	uint8_t longest[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(sftp_name_valid((const uint8_t *)rows[i].name, rows[i].len), rows[i].valid);
	memset(longest, 'x', sizeof(longest));
	assert_true(sftp_name_valid(longest, 255));
	assert_false(sftp_name_valid(longest, 256));
}

static void every_type_has_a_name_and_what_is_no_type_has_a_question_mark(void **state)
{
	assert_string_equal(sftp_type_name(SSH_FXP_SYMLINK), "SYMLINK");
	assert_string_equal(sftp_type_name(NATIVE_CANCEL), "native CANCEL");
	for (int type = NATIVE_LOOKUP; type <= NATIVE_CANCEL; type++)
		assert_string_not_equal(sftp_type_name((uint8_t)type), "?");
	assert_string_equal(sftp_type_name(NATIVE_TMPFILE), "native TMPFILE");
	assert_string_equal(sftp_type_name(0), "?");
	assert_string_equal(sftp_type_name(NATIVE_END), "?");
	assert_string_equal(sftp_type_name(255), "?");
}

/* ---- the framer ---- */

struct seen {
	struct wire_buf all; /* u32 length and bytes of each packet */
	const uint8_t *last;
	int result;
};

static int on_packet(void *ctx, const uint8_t *packet, size_t len)
{
	struct seen *seen = ctx;

	wire_put_string(&seen->all, packet, len);
	seen->last = packet;
	return seen->result;
}

static struct wire_buf stream_of(const size_t *lengths, size_t count)
{
	struct wire_buf b = {0};

	for (size_t i = 0; i < count; i++) {
		wire_put_u32(&b, (uint32_t)lengths[i]);
		for (size_t j = 0; j < lengths[i]; j++)
			wire_put_u8(&b, (uint8_t)(i + j));
	}
	return b;
}

static void packets_are_the_same_however_the_stream_is_cut(void **state)
{
	const size_t lengths[] = {1, 5, 4, 100, 2, 7, 3};
	struct wire_buf b = stream_of(lengths, 7);

	for (size_t step = 1; step <= b.len; step++) {
		struct sftp_framer f = {.max = 100};
		struct seen seen = {0};

		for (size_t at = 0; at < b.len; at += step) {
			size_t n = b.len - at < step ? b.len - at : step;
			uint8_t *chunk = malloc(n);

			memcpy(chunk, b.data + at, n);
			assert_int_equal(sftp_framer_feed(&f, chunk, n, on_packet, &seen), 0);
			free(chunk);
		}
		assert_int_equal(seen.all.len, b.len);
		assert_memory_equal(seen.all.data, b.data, b.len);
		sftp_framer_clear(&f);
		wire_buf_free(&seen.all);
	}
	wire_buf_free(&b);
}

static void a_packet_that_lies_whole_in_the_chunk_is_not_copied(void **state)
{
	const size_t lengths[] = {9};
	struct wire_buf b = stream_of(lengths, 1);
	struct sftp_framer f = {.max = 9};
	struct seen seen = {0};

	assert_int_equal(sftp_framer_feed(&f, b.data, b.len, on_packet, &seen), 0);
	assert_ptr_equal(seen.last, b.data + 4);
	assert_null(f.partial.data);
	wire_buf_free(&b);
	wire_buf_free(&seen.all);
	sftp_framer_clear(&f);
}

static void a_length_of_nothing_or_above_the_limit_is_a_protocol_error_before_anything_is_stored(void **state)
{
	static const uint8_t bad[][4] = {{0, 0, 0, 0}, {0, 0, 0, 101}, {0xff, 0xff, 0xff, 0xff}};

	for (size_t i = 0; i < 3; i++) {
		for (size_t step = 1; step <= 4; step++) {
			struct sftp_framer f = {.max = 100};
			struct seen seen = {0};
			int r = 0;

			for (size_t at = 0; at < 4 && r == 0; at += step)
				r = sftp_framer_feed(&f, bad[i] + at, 4 - at < step ? 4 - at : step, on_packet, &seen);
			if (r == 0)
				r = sftp_framer_feed(&f, (const uint8_t *)"x", 1, on_packet, &seen);
			assert_int_equal(r, -EPROTO);
			assert_null(seen.last);
			assert_true(f.partial.len <= 4);
			sftp_framer_clear(&f);
		}
	}
}

static void what_the_receiver_returns_stops_the_feed(void **state)
{
	const size_t lengths[] = {1, 1};
	struct wire_buf b = stream_of(lengths, 2);
	struct sftp_framer f = {.max = 9};
	struct seen seen = {.result = -EBADMSG};

	assert_int_equal(sftp_framer_feed(&f, b.data, b.len, on_packet, &seen), -EBADMSG);
	assert_int_equal(seen.all.len, 5);
	wire_buf_free(&b);
	wire_buf_free(&seen.all);
	sftp_framer_clear(&f);
}

static void the_types_of_locks_are_those_of_fcntl(void **state)
{
	static const short types[] = {F_UNLCK, F_RDLCK, F_WRLCK};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		assert_int_equal(lock_type_to_fcntl(lock_type_of_fcntl(types[i])), types[i]);
	assert_int_equal(lock_type_of_fcntl(F_RDLCK), NATIVE_LOCK_READ);
	assert_int_equal(lock_type_of_fcntl(F_WRLCK), NATIVE_LOCK_WRITE);
	assert_int_equal(lock_type_to_fcntl(9), F_UNLCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes_come_back_as_they_went_and_take_104_bytes),
		cmocka_unit_test(attributes_cut_short_are_an_error_and_read_as_zero),
		cmocka_unit_test(a_change_and_a_caller_come_back_as_they_went),
		cmocka_unit_test(an_entry_carries_a_node_and_attributes_only_when_its_flag_says_so),
		cmocka_unit_test(an_invalidation_survives_the_way_there_and_back),
		cmocka_unit_test(an_invalidation_of_no_kind_or_no_name_is_an_error),
		cmocka_unit_test(an_entry_with_a_name_longer_than_255_bytes_is_an_error),
		cmocka_unit_test(a_name_is_any_bytes_but_a_path),
		cmocka_unit_test(every_type_has_a_name_and_what_is_no_type_has_a_question_mark),
		cmocka_unit_test(packets_are_the_same_however_the_stream_is_cut),
		cmocka_unit_test(a_packet_that_lies_whole_in_the_chunk_is_not_copied),
		cmocka_unit_test(a_length_of_nothing_or_above_the_limit_is_a_protocol_error_before_anything_is_stored),
		cmocka_unit_test(what_the_receiver_returns_stops_the_feed),
		cmocka_unit_test(the_types_of_locks_are_those_of_fcntl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
