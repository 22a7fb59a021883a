/* SPDX-License-Identifier: MIT */
/* See etc_environment.h. */
#include "etc_environment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "whole_file.h"
#include "wire.h"

#define FILE_MAX (1u << 20) /* what is larger is not edited */

#define HEAD     "# homeport "
#define FIRST    ": until its end, of a host that is connected\n"
#define LAST     ": end\n"
#define ID_CHARS (2 * SESSION_ID_SIZE)

static void put_text(struct wire_buf *out, const char *text)
{
	wire_put_bytes(out, text, strlen(text));
}

static void put_mark(struct wire_buf *out, const uint8_t *id, const char *tail)
{
	char hex[ID_CHARS + 1];

	for (size_t i = 0; i < SESSION_ID_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	put_text(out, HEAD);
	put_text(out, hex);
	put_text(out, tail);
}

/* Whether the line is a mark with this tail, of the host; of any, without one. */
static bool is_mark(const char *line, size_t len, const uint8_t *id, const char *tail)
{
	struct wire_buf own = {0};
	size_t head = strlen(HEAD);
	bool is;

	if (len != head + ID_CHARS + strlen(tail) || memcmp(line, HEAD, head) != 0 ||
	    memcmp(line + head + ID_CHARS, tail, strlen(tail)) != 0)
		return false;
	if (!id)
		return true;
	put_mark(&own, id, tail);
	is = !own.failed && memcmp(line, own.data, len) == 0;
	wire_buf_free(&own);
	return is;
}

/* PAM takes the value between its quotes as it is; systemd reads a backslash, a $ or a ` in them. */
static bool can_hold(const char *variable)
{
	return !strpbrk(strchr(variable, '='), "\"'\\$`\n\r");
}

static void put_block(struct wire_buf *out, const uint8_t *id, char *const *variables, size_t count)
{
	put_mark(out, id, FIRST);
	for (size_t i = 0; i < count; i++) {
		const char *value = strchr(variables[i], '=') + 1;

		if (!can_hold(variables[i]))
			continue;
		wire_put_bytes(out, variables[i], (size_t)(value - variables[i]));
		put_text(out, "\"");
		put_text(out, value);
		put_text(out, "\"\n");
	}
	put_mark(out, id, LAST);
}

/* Where the block that begins here ends, behind its last line; 0: nowhere, so it is none. */
static size_t block_length(const char *text, size_t len, const uint8_t *id)
{
	const char *at = text, *end = memchr(text, '\n', len);

	if (!end || !is_mark(text, (size_t)(end - text) + 1, id, FIRST))
		return 0;
	for (at = end + 1; (end = memchr(at, '\n', len - (size_t)(at - text))); at = end + 1)
		if (is_mark(at, (size_t)(end - at) + 1, id, LAST))
			return (size_t)(end - text) + 1;
	return 0;
}

void etc_environment_edit(const char *text, size_t len, const uint8_t *id, char *const *variables, size_t count,
			  struct wire_buf *out)
{
	if (id && count > 0)
		put_block(out, id, variables, count);
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) + 1 : len, block = block_length(text, len, id);

		if (!block)
			wire_put_bytes(out, text, n);
		n = block ? block : n;
		text += n;
		len -= n;
	}
}

struct variables {
	const uint8_t *id;
	char *const *variables;
	size_t count;
};

static void edit(const void *ctx, const char *text, size_t len, struct wire_buf *out)
{
	const struct variables *v = ctx;

	etc_environment_edit(text, len, v->id, v->variables, v->count, out);
}

int etc_environment_set(const char *path, const uint8_t *id, char *const *variables, size_t count)
{
	return whole_file_edit(path, FILE_MAX, true, edit, &(struct variables){id, variables, count});
}
