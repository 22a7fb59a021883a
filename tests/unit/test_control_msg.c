/* SPDX-License-Identifier: MIT */
/* The control messages: what is put comes back, and what is not one of ours is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control_msg.h"
#include "open_args.h"
#include "wire.h"

/* Puts the message, reads it back from a block of exactly its size (and from none shorter), and puts that again. */
static void round_trip(const struct control_msg *msg, struct control_msg *back)
{
	struct wire_buf out = {0}, again = {0};
	uint8_t *exact;

	control_msg_put(&out, msg);
	assert_false(out.failed);
	for (size_t len = 0; len < out.len; len++) {
		exact = malloc(out.len);
		memcpy(exact, out.data, len);
		assert_int_equal(control_msg_get(exact, len, back), 0);
		free(exact);
	}
	exact = malloc(out.len);
	memcpy(exact, out.data, out.len);
	assert_int_equal(control_msg_get(exact, out.len, back), (int)out.len);
	free(exact);
	assert_int_equal(back->type, msg->type);
	control_msg_put(&again, back);
	assert_int_equal(again.len, out.len);
	assert_memory_equal(again.data, out.data, out.len);
	wire_buf_free(&out);
	wire_buf_free(&again);
}

static struct control_msg a_port(void)
{
	return (struct control_msg){
		.type = CONTROL_PORT_ADD,
		.port = {.key = 7,
			 .proto = LISTENER_TCP,
			 .family = 4,
			 .addr = {127, 0, 0, 1},
			 .port = 8080,
			 .ephemeral = true,
			 .uid = 1000,
			 .inode = 99,
			 .pid = 42,
			 .process = "python3",
			 .user = "me",
			 .unit = "web.service"},
	};
}

/* Only messages that were read own their strings; those made here point to literals. */
static struct control_share share(const char *point, const char *source, bool writable)
{
	return (struct control_share){
		.point = (char *)point, .source = (char *)source, .number = 7, .writable = writable};
}

static struct control_msg a_mount(struct control_share *shares, uint32_t count)
{
	struct control_msg msg = {.type = CONTROL_MOUNT, .mount = {.id = 3, .target = (char *)"/home/me"}};

	msg.mount.share_count = count;
	for (uint32_t i = 0; i < count; i++)
		msg.mount.shares[i] = shares[i];
	return msg;
}

/* What the bytes of `msg` are read as. */
static ssize_t get_of(const struct control_msg *msg)
{
	struct control_msg back;
	struct wire_buf out = {0};
	ssize_t n;

	control_msg_put(&out, msg);
	assert_false(out.failed);
	n = control_msg_get(out.data, out.len, &back);
	if (n > 0)
		control_msg_clear(&back);
	wire_buf_free(&out);
	return n;
}

static void every_message_comes_back_as_it_was_put(void **state)
{
	struct control_msg msgs[] = {
		{.type = CONTROL_CONFIG,
		 .config =
			 {.host_uid = 1, .host_gid = 2, .host_user = "me", .instance_name = "dev", .report_ports = 1}},
		{.type = CONTROL_UNMOUNT, .unmount_id = 5},
		{.type = CONTROL_GUEST,
		 .guest = {.agent_version = "0.1.0",
			   .user = "me",
			   .hostname = "vm",
			   .home = "/home/me",
			   .ssh_port = 22}},
		{.type = CONTROL_MOUNT_STATE,
		 .mount_state = {.id = 1, .status = MOUNT_FAILED, .error = 16, .target = "/src", .text = "busy"}},
		{.type = CONTROL_PORTS_BEGIN, .ports_epoch = 1ull << 60},
		a_port(),
		{.type = CONTROL_PORT_REMOVE, .port_key = 7},
		{.type = CONTROL_PORTS_END, .ports_epoch = 9},
		{.type = CONTROL_LOG, .log = {.level = 1, .text = "a line"}},
		{.type = CONTROL_LISTEN,
		 .listen = {.id = 1, .proto = LISTENER_TCP, .family = 4, .addr = {127, 0, 0, 1}, .port = 5432}},
		{.type = CONTROL_LISTEN,
		 .listen = {.id = 2, .proto = LISTENER_UDP, .family = 6, .addr = {[15] = 1}, .port = 1}},
		{.type = CONTROL_LISTEN, .listen = {.id = 3, .proto = LISTENER_TCP, .path = "/run/a.sock"}},
		{.type = CONTROL_LISTEN_STATE, .listen_state = {.id = 3, .error = EADDRINUSE}},
		{.type = CONTROL_UNLISTEN, .unlisten_id = 2},
		{.type = CONTROL_CLOCK_CHECK},
		{.type = CONTROL_CLOCK_ASK, .clock = {.token = 7}},
		{.type = CONTROL_CLOCK, .clock = {.token = 7, .time_us = 1800000000000000}},
		{.type = CONTROL_COUNT, .count = {.number = 5, .seconds = 6}},
		{.type = CONTROL_DIRECT, .direct = {.way = DIRECT_GUEST_LISTENS, .key = {1, 2, [31] = 3}}},
		{.type = CONTROL_DIRECT_STATE, .direct_state = {.port = 40123}},
		{.type = CONTROL_DIRECT_STATE, .direct_state = {.error = ECONNREFUSED}},
	};
	struct control_msg back;

	for (size_t i = 0; i < sizeof(msgs) / sizeof(msgs[0]); i++)
		round_trip(&msgs[i], &back);
	round_trip(&msgs[5], &back);
	assert_int_equal(back.port.port, 8080);
	assert_string_equal(back.port.process, "python3");
}

static void counters_come_back_as_they_were_put(void **state)
{
	struct op_counters counters = {0};
	struct control_msg msg = {.type = CONTROL_COUNTERS,
				  .counters = {.number = 7, .waiting = 3, .counters = &counters}},
			   back = {0};
	struct wire_buf out = {0};

	counters.kinds[OP_READ] =
		(struct op_counter){.count = 100, .at_once = 90, .times = {[5] = 1, [143] = 1ull << 40}};
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		counters.kinds[OP_OTHER].times[i] = UINT64_MAX;
	control_msg_put(&out, &msg);
	assert_false(out.failed);
	for (size_t len = 0; len < out.len; len++)
		assert_int_equal(control_msg_get(out.data, len, &back), 0);
	assert_int_equal(control_msg_get(out.data, out.len, &back), (int)out.len);
	assert_int_equal(back.counters.number, 7);
	assert_int_equal(back.counters.waiting, 3);
	assert_memory_equal(back.counters.counters, &counters, sizeof(counters));
	control_msg_clear(&back);
	/* All the counters can hold is a message. */
	memset(&counters, 0xff, sizeof(counters));
	wire_buf_reset(&out);
	control_msg_put(&out, &msg);
	assert_false(out.failed);
	/* A kind that is cut short, a bucket there is none of, buckets out of order, an empty one. */
	memset(&counters, 0, sizeof(counters));
	counters.kinds[OP_KINDS - 1].times[7] = counters.kinds[OP_KINDS - 1].times[8] = 1;
	wire_buf_reset(&out);
	control_msg_put(&out, &msg);
	assert_int_equal(control_msg_get(out.data, out.len, &back), (int)out.len);
	control_msg_clear(&back);
	out.data[out.len - 9] = HISTOGRAM_BUCKETS;
	assert_int_equal(control_msg_get(out.data, out.len, &back), -EPROTO);
	out.data[out.len - 9] = 7;
	assert_int_equal(control_msg_get(out.data, out.len, &back), -EPROTO);
	out.data[out.len - 9] = 8;
	out.data[out.len - 1] = 0;
	assert_int_equal(control_msg_get(out.data, out.len, &back), -EPROTO);
	wire_buf_free(&out);
}

static void a_direct_connection_has_a_way_and_an_answer_one_meaning(void **state)
{
	struct control_msg msg = {.type = CONTROL_DIRECT, .direct = {.way = DIRECT_HOST_LISTENS, .port = 40123}}, back;

	(void)state;
	memset(msg.direct.key, 0xa5, sizeof(msg.direct.key));
	round_trip(&msg, &back);
	assert_int_equal(back.direct.port, 40123);
	assert_memory_equal(back.direct.key, msg.direct.key, sizeof(back.direct.key));
	msg.direct.port = 0;
	assert_int_equal(get_of(&msg), -EPROTO);
	msg.direct.way = DIRECT_GUEST_LISTENS;
	assert_true(get_of(&msg) > 0);
	msg.direct.port = 1;
	assert_int_equal(get_of(&msg), -EPROTO);
	msg.direct = (struct control_direct){.way = 0};
	assert_int_equal(get_of(&msg), -EPROTO);
	msg.direct.way = (enum direct_way)3;
	assert_int_equal(get_of(&msg), -EPROTO);
	msg = (struct control_msg){.type = CONTROL_DIRECT_STATE};
	assert_int_equal(get_of(&msg), -EPROTO);
	msg.direct_state = (struct control_direct_state){.port = 1, .error = EIO};
	assert_int_equal(get_of(&msg), -EPROTO);
}

static void a_mount_owns_its_strings(void **state)
{
	struct control_share shares[] = {share("", "/home/me", false), share("a", "/a", true),
					 share("a/b", "/b", false)};
	struct control_msg msg = a_mount(shares, 3), back;

	msg.mount.host_locks = true;
	msg.mount.shares[1].virtual_owners = true;
	round_trip(&msg, &back);
	assert_true(back.mount.host_locks && !back.mount.acl);
	assert_true(back.mount.shares[1].virtual_owners && !back.mount.shares[0].virtual_owners);
	control_msg_clear(&back);
	msg.mount.host_locks = false;
	msg.mount.acl = true;
	round_trip(&msg, &back);
	assert_true(back.mount.acl && !back.mount.host_locks);
	assert_string_equal(back.mount.target, "/home/me");
	assert_string_equal(back.mount.shares[2].point, "a/b");
	assert_true(back.mount.shares[1].writable);
	control_msg_clear(&back);
	control_msg_clear(&back);
}

static void an_environment_owns_its_strings_and_has_names(void **state)
{
	struct control_msg msg = {
		.type = CONTROL_ENVIRONMENT,
		.environment = {3, {(char *)"A=b", (char *)"_1=", (char *)"http_proxy=http://a:1/?x=y"}}};
	static const char *const wrong[] = {"", "=", "A", "1=x", "A B=c", "A\n=c"};
	struct control_msg back;

	round_trip(&msg, &back);
	assert_string_equal(back.environment.variables[2], "http_proxy=http://a:1/?x=y");
	control_msg_clear(&back);
	control_msg_clear(&back);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct wire_buf out = {0};

		msg.environment.variables[1] = (char *)wrong[i];
		control_msg_put(&out, &msg);
		assert_int_equal(control_msg_get(out.data, out.len, &back), -EPROTO);
		wire_buf_free(&out);
	}
}

static void a_share_brings_its_id_maps(void **state)
{
	struct id_map uids = {2, {{1000, 501, 1}, {5, 6, 7}}}, gids = {1, {{100, 100, ID_MOST - 100}}}, none = {0};
	struct control_share shares[] = {share("", "/home/me", false), share("a", "/a", true)};
	struct control_msg msg, back;

	shares[0].uids = &none;
	shares[1].uids = &uids;
	shares[1].gids = &gids;
	msg = a_mount(shares, 2);
	round_trip(&msg, &back);
	assert_null(back.mount.shares[0].uids);
	assert_null(back.mount.shares[0].gids);
	assert_true(id_map_equal(back.mount.shares[1].uids, &uids));
	assert_true(id_map_equal(back.mount.shares[1].gids, &gids));
	control_msg_clear(&back);
}

static void a_map_of_ids_that_leads_two_ways_is_refused(void **state)
{
	static const struct id_map bad[] = {
		{2, {{1, 1, 2}, {2, 9, 1}}}, /* the host's */
		{2, {{1, 1, 2}, {9, 2, 1}}}, /* the guest's */
		{1, {{1, 1, 0}}},
		{1, {{ID_MOST, 0, 2}}},
		{1, {{0, UINT32_MAX, 1}}},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct id_map map = bad[i];
		struct control_share root = share("", "/s", false);
		struct control_msg msg;

		root.gids = &map;
		msg = a_mount(&root, 1);
		assert_int_equal(get_of(&msg), -EPROTO);
	}
}

static void paths_have_one_spelling(void **state)
{
	static const char *const bad[] = {"", "home", "/a/", "//a", "/a//b", "/.", "/a/.", "/..", "/a/../b", "/./a"};
	static const char *const good[] = {"/", "/a", "/a/...", "/.a", "/..a/b.", "/a b\n\xff"};
	struct control_share root = share("", "/s", false);
	struct control_msg msg = a_mount(&root, 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		msg.mount.target = (char *)bad[i];
		assert_int_equal(get_of(&msg), -EPROTO);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		msg.mount.target = (char *)good[i];
		assert_true(get_of(&msg) > 0);
	}
}

static void shares_are_sorted_and_begin_with_the_root(void **state)
{
	struct {
		const char *points[3];
		bool good;
	} cases[] = {
		{{"", "a", "b"}, true},   {{"a", "b", "c"}, false},   {{"", "b", "a"}, false},
		{{"", "a", "a"}, false},  {{"", "", "a"}, false},     {{"", "../a", "b"}, false},
		{{"", "/a", "b"}, false}, {{"", "a", "b/.."}, false}, {{"", "a/", "b"}, false},
		{{"", "a", "a/b"}, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct control_share shares[3];

		for (int k = 0; k < 3; k++)
			shares[k] = share(cases[i].points[k], "/s", false);
		struct control_msg msg = a_mount(shares, 3);

		assert_int_equal(get_of(&msg) > 0, cases[i].good);
	}
}

static void a_mount_without_shares_or_with_too_many_is_refused(void **state)
{
	struct control_msg msg = a_mount(NULL, 0);
	struct wire_buf out = {0};
	size_t mark = wire_put_length_begin(&out);

	assert_int_equal(get_of(&msg), -EPROTO);
	wire_put_u8(&out, CONTROL_MOUNT);
	wire_put_u32(&out, 1);
	wire_put_cstring(&out, "/a");
	wire_put_u32(&out, CONTROL_MOUNTS_MAX + 1);
	wire_put_length_end(&out, mark);
	assert_int_equal(control_msg_get(out.data, out.len, &msg), -EPROTO);
	wire_buf_free(&out);
}

static void listeners_have_one_spelling(void **state)
{
	struct control_msg msg;

#define REFUSED(change)                                  \
	do {                                             \
		msg = a_port();                          \
		change;                                  \
		assert_int_equal(get_of(&msg), -EPROTO); \
	} while (0)
	REFUSED(msg.port.family = 5);
	REFUSED(msg.port.proto = 1);
	REFUSED(msg.port.port = 0);
	REFUSED(msg.port.addr[4] = 1);
	msg = a_port();
	msg.port.family = 6;
	msg.port.addr[15] = 1;
	assert_true(get_of(&msg) > 0);
}

static void a_place_to_listen_at_is_an_address_or_a_path(void **state)
{
	static const struct control_listen bad[] = {
		{.proto = LISTENER_TCP, .family = 5, .port = 1},
		{.proto = LISTENER_TCP, .family = 4, .addr = {127, 0, 0, 1}},
		{.proto = LISTENER_TCP, .family = 4, .addr = {127, 0, 0, 1, 1}, .port = 1},
		{.proto = LISTENER_TCP, .family = 4, .port = 1, .path = "/a"},
		{.proto = LISTENER_TCP},
		{.proto = LISTENER_TCP, .path = "a"},
		{.proto = LISTENER_TCP, .path = "/a", .port = 1},
		{.proto = LISTENER_TCP, .path = "/a", .addr = {1}},
		{.proto = LISTENER_UDP, .path = "/a"},
		{.proto = 0, .family = 4, .addr = {127, 0, 0, 1}, .port = 1},
		{.proto = 1, .family = 4, .addr = {127, 0, 0, 1}, .port = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct control_msg msg = {.type = CONTROL_LISTEN, .listen = bad[i]};

		assert_int_equal(get_of(&msg), -EPROTO);
	}
}

static void lengths_are_checked_before_the_bytes_are_there(void **state)
{
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff}, empty[] = {0, 0, 0, 0};
	struct control_msg msg;

	assert_int_equal(control_msg_get(huge, sizeof(huge), &msg), -EPROTO);
	assert_int_equal(control_msg_get(empty, sizeof(empty), &msg), -EPROTO);
	assert_int_equal(control_msg_get(empty, 3, &msg), 0);
}

static void bytes_that_are_none_of_ours_are_refused(void **state)
{
	static const uint8_t no_type[] = {0, 0, 0, 1, 0}, unknown[] = {0, 0, 0, 1, CONTROL_TYPE_END};
	static const uint8_t leftover[] = {0, 0, 0, 6, CONTROL_UNMOUNT, 0, 0, 0, 1, 0};
	static const uint8_t cut[] = {0, 0, 0, 4, CONTROL_UNMOUNT, 0, 0, 0};
	static const uint8_t nul[] = {0, 0, 0, 9, CONTROL_LOG, 0, 0, 0, 0, 3, 'a', 0, 'b'};
	static const uint8_t level[] = {0, 0, 0, 6, CONTROL_LOG, 4, 0, 0, 0, 0};
	struct control_msg msg;

	assert_int_equal(control_msg_get(no_type, sizeof(no_type), &msg), -EPROTO);
	assert_int_equal(control_msg_get(unknown, sizeof(unknown), &msg), -EPROTO);
	assert_int_equal(control_msg_get(leftover, sizeof(leftover), &msg), -EPROTO);
	assert_int_equal(control_msg_get(cut, sizeof(cut), &msg), -EPROTO);
	assert_int_equal(control_msg_get(nul, sizeof(nul), &msg), -EPROTO);
	assert_int_equal(control_msg_get(level, sizeof(level), &msg), -EPROTO);
}

static void a_message_too_long_to_be_read_is_not_put(void **state)
{
	static char path[4096];
	struct control_share shares[CONTROL_MOUNTS_MAX];
	char points[CONTROL_MOUNTS_MAX][4];
	struct wire_buf out = {0};

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	for (unsigned i = 0; i < CONTROL_MOUNTS_MAX; i++) {
		memcpy(points[i], i ? (char[]){'a', (char)('0' + i / 10), (char)('0' + i % 10), 0} : "\0\0\0", 4);
		shares[i] = share(points[i], path, false);
	}
	struct control_msg msg = a_mount(shares, CONTROL_MOUNTS_MAX);

	control_msg_put(&out, &msg);
	assert_true(out.failed);
	wire_buf_free(&out);
}

static void each_message_has_one_sender(void **state)
{
	assert_true(control_type_from_host(CONTROL_CONFIG));
	assert_true(control_type_from_host(CONTROL_MOUNT));
	assert_false(control_type_from_host(CONTROL_PORT_ADD));
	assert_true(control_type_from_host(CONTROL_LISTEN));
	assert_false(control_type_from_host(CONTROL_LISTEN_STATE));
	assert_string_equal(control_type_name(CONTROL_PORT_ADD), "PORT_ADD");
	assert_string_equal(control_type_name((enum control_type)99), "?");
}

static void open_arguments_come_back_and_nothing_else_does(void **state)
{
	struct tcp_target tcp = {.family = 6, .addr = {[15] = 1}, .scope = 2, .port = 80}, tcp_back;
	struct sftp_target sftp = {.mount_id = 4, .share = 70000}, sftp_back;
	struct wire_buf out = {0};

	tcp_target_put(&out, &tcp);
	assert_int_equal(tcp_target_get(out.data, out.len, &tcp_back), 0);
	assert_true(tcp_back.family == 6 && tcp_back.addr[15] == 1 && tcp_back.scope == 2 && tcp_back.port == 80);
	assert_int_equal(tcp_target_get(out.data, out.len - 1, &tcp_back), -EPROTO);
	out.data[0] = 4; /* with bytes of family 6 */
	assert_int_equal(tcp_target_get(out.data, out.len, &tcp_back), -EPROTO);
	wire_buf_reset(&out);
	sftp_target_put(&out, &sftp);
	assert_int_equal(sftp_target_get(out.data, out.len, &sftp_back), 0);
	assert_memory_equal(&sftp, &sftp_back, sizeof(sftp));
	wire_put_u8(&out, 0);
	assert_int_equal(sftp_target_get(out.data, out.len, &sftp_back), -EPROTO);
	wire_buf_free(&out);
}

static void a_socket_of_the_guest_is_named_by_its_whole_path(void **state)
{
	char longest[SOCKET_PATH_MAX + 1] = "/";
	struct unix_target target = {"/run/docker.sock"}, back;
	struct wire_buf out = {0};
	uint32_t id = 0;

	unix_target_put(&out, &target);
	assert_int_equal(unix_target_get(out.data, out.len, &back), 0);
	assert_string_equal(back.path, target.path);
	assert_int_equal(unix_target_get(out.data, out.len - 1, &back), -EPROTO);
	out.data[4] = 'r'; /* for the slash */
	assert_int_equal(unix_target_get(out.data, out.len, &back), -EPROTO);
	memset(longest + 1, 'x', sizeof(longest) - 2);
	for (size_t len = SOCKET_PATH_MAX - 1; len <= SOCKET_PATH_MAX; len++) {
		wire_buf_reset(&out);
		wire_put_string(&out, longest, len);
		assert_int_equal(unix_target_get(out.data, out.len, &back), len < SOCKET_PATH_MAX ? 0 : -EPROTO);
	}
	wire_buf_reset(&out);
	reverse_target_put(&out, 7);
	assert_int_equal(reverse_target_get(out.data, out.len, &id), 0);
	assert_int_equal(id, 7);
	assert_int_equal(reverse_target_get(out.data, out.len - 1, &id), -EPROTO);
	wire_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_comes_back_as_it_was_put),
		cmocka_unit_test(counters_come_back_as_they_were_put),
		cmocka_unit_test(a_direct_connection_has_a_way_and_an_answer_one_meaning),
		cmocka_unit_test(a_mount_owns_its_strings),
		cmocka_unit_test(an_environment_owns_its_strings_and_has_names),
		cmocka_unit_test(a_share_brings_its_id_maps),
		cmocka_unit_test(a_map_of_ids_that_leads_two_ways_is_refused),
		cmocka_unit_test(paths_have_one_spelling),
		cmocka_unit_test(shares_are_sorted_and_begin_with_the_root),
		cmocka_unit_test(a_mount_without_shares_or_with_too_many_is_refused),
		cmocka_unit_test(listeners_have_one_spelling),
		cmocka_unit_test(a_place_to_listen_at_is_an_address_or_a_path),
		cmocka_unit_test(lengths_are_checked_before_the_bytes_are_there),
		cmocka_unit_test(bytes_that_are_none_of_ours_are_refused),
		cmocka_unit_test(a_message_too_long_to_be_read_is_not_put),
		cmocka_unit_test(each_message_has_one_sender),
		cmocka_unit_test(open_arguments_come_back_and_nothing_else_does),
		cmocka_unit_test(a_socket_of_the_guest_is_named_by_its_whole_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
