/* SPDX-License-Identifier: MIT */
/* Sentences in lines. See wrap.h. */
#include "wrap.h"

#include <string.h>

static size_t width_of(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

size_t wrap_width(const char *text)
{
	return width_of(text, strlen(text));
}

void wrap_print(FILE *out, size_t column, const char *text)
{
	size_t at = column;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t len = strcspn(text, " "), wide = width_of(text, len);

		if (at > column && at + 1 + wide > WRAP_COLUMNS) {
			fprintf(out, "\n%*s", (int)column, "");
			at = column;
		} else if (at > column) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, len, out);
		at += wide;
		text += len;
	}
}

void wrap_row(FILE *out, const char *what, size_t column, const char *text)
{
	size_t used = wrap_width(what) + 2;

	fprintf(out, "  %s%s", what, used + 1 > column ? "\n" : "");
	fprintf(out, "%*s", (int)(used + 1 > column ? column : column - used), "");
	wrap_print(out, column, text);
	fputc('\n', out);
}
