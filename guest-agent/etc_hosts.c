/* SPDX-License-Identifier: MIT */
/*
 * See etc_hosts.h. The file is replaced whole (whole_file.h). Where that cannot be (the file is mounted by itself, as
 * in containers; it is a link to another file) it is left alone.
 */
#include "etc_hosts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "whole_file.h"
#include "wire.h"

#define ETC_HOSTS_MAX (1u << 20) /* what is larger is not edited */

#define LINE_HEAD "127.0.0.1 host.homeport.internal # homeport "
#define LINE_MAX  (sizeof(LINE_HEAD) + 2 * SESSION_ID_SIZE + 1)

static size_t own_line(char line[LINE_MAX], const uint8_t id[SESSION_ID_SIZE])
{
	size_t n = (size_t)snprintf(line, LINE_MAX, "%s", LINE_HEAD);

	for (size_t i = 0; i < SESSION_ID_SIZE; i++, n += 2)
		snprintf(line + n, 3, "%02x", id[i]);
	line[n++] = '\n';
	return n;
}

void etc_hosts_edit(const char *text, size_t len, const uint8_t id[SESSION_ID_SIZE], bool present, struct wire_buf *out)
{
	char own[LINE_MAX];
	size_t own_len = own_line(own, id);

	if (present)
		wire_put_bytes(out, own, own_len);
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) + 1 : len;

		if (n != own_len || memcmp(text, own, n) != 0)
			wire_put_bytes(out, text, n);
		text += n;
		len -= n;
	}
}

struct line {
	const uint8_t *id;
	bool present;
};

static void edit(const void *ctx, const char *text, size_t len, struct wire_buf *out)
{
	const struct line *l = ctx;

	etc_hosts_edit(text, len, l->id, l->present, out);
}

int etc_hosts_set(const char *path, const uint8_t id[SESSION_ID_SIZE], bool present)
{
	return whole_file_edit(path, ETC_HOSTS_MAX, false, edit, &(struct line){id, present});
}
