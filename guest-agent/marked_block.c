/* SPDX-License-Identifier: MIT */
/* See marked_block.h. */
#include "marked_block.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char first[] = "# homeport: `homeport guest uninstall` takes this away, up to the line that says end.\n";
static const char last[] = "# homeport: end\n";

static void put_text(struct wire_buf *out, const char *text)
{
	wire_put_bytes(out, text, strlen(text));
}

static bool line_is(const char *line, size_t len, const char *mark)
{
	return len == strlen(mark) && memcmp(line, mark, len) == 0;
}

int marked_block_edit(const char *text, size_t len, const char *body, struct wire_buf *out)
{
	bool inside = false;

	if (body) {
		put_text(out, first);
		put_text(out, body);
		put_text(out, last);
	}
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) + 1 : len;

		if (line_is(text, n, first))
			inside = true;
		else if (inside && line_is(text, n, last))
			inside = false;
		else if (!inside)
			wire_put_bytes(out, text, n);
		text += n;
		len -= n;
	}
	return inside ? -EINVAL : 0;
}
