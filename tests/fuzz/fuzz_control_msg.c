/* SPDX-License-Identifier: MIT */
/* Fuzzes the control messages: the input is a stream of them. What was read is put again and must be the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control_msg.h"
#include "open_args.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

/* The reader is strict enough that each message has one form. */
static void check_form(const struct control_msg *msg, const uint8_t *data, size_t len)
{
	struct wire_buf out = {0};

	control_msg_put(&out, msg);
	must(!out.failed && out.len == len && memcmp(out.data, data, len) == 0);
	wire_buf_free(&out);
}

static void check_targets(const uint8_t *data, size_t size)
{
	struct sftp_target sftp;
	struct tcp_target tcp;
	struct unix_target path;
	uint32_t id;
	struct wire_buf out = {0};

	if (tcp_target_get(data, size, &tcp) == 0) {
		tcp_target_put(&out, &tcp);
		must(out.len == size && memcmp(out.data, data, size) == 0);
	}
	wire_buf_reset(&out);
	if (sftp_target_get(data, size, &sftp) == 0) {
		sftp_target_put(&out, &sftp);
		must(out.len == size && memcmp(out.data, data, size) == 0);
	}
	wire_buf_reset(&out);
	if (unix_target_get(data, size, &path) == 0) {
		must(path.path[0] == '/' && strlen(path.path) < SOCKET_PATH_MAX);
		unix_target_put(&out, &path);
		must(out.len == size && memcmp(out.data, data, size) == 0);
	}
	wire_buf_reset(&out);
	if (reverse_target_get(data, size, &id) == 0) {
		reverse_target_put(&out, id);
		must(out.len == size && memcmp(out.data, data, size) == 0);
	}
	wire_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_msg msg;
	ssize_t n;

	check_targets(data, size);
	while ((n = control_msg_get(data, size, &msg)) > 0) {
		must((size_t)n <= size);
		check_form(&msg, data, (size_t)n);
		control_msg_clear(&msg);
		data += n;
		size -= (size_t)n;
	}
	return 0;
}
