/* SPDX-License-Identifier: MIT */
/* Columns. See table.h. */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void table_clear(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->count = 0;
}

static void take(struct table *t, char *cell)
{
	char **grown = cell ? reallocarray(t->cells, t->count + 1, sizeof(*grown)) : NULL;

	if (!grown) {
		free(cell);
		t->failed = 1;
		return;
	}
	t->cells = grown;
	t->cells[t->count++] = cell;
}

void table_add(struct table *t, const char *text)
{
	take(t, strdup(text ? text : ""));
}

void table_addf(struct table *t, const char *fmt, ...)
{
	char *cell = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&cell, fmt, ap) < 0)
		cell = NULL;
	va_end(ap);
	take(t, cell);
}

/* Characters, not bytes; wide ones count as one, which costs a crooked column and no more. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_print(const struct table *t, const char *indent, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};
	size_t rows = t->count / t->columns;

	for (size_t i = 0; i < rows * t->columns; i++)
		if (width(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = width(t->cells[i]);
	for (size_t row = 0; row < rows; row++) {
		const char *const *cells = (const char *const *)&t->cells[row * t->columns];
		size_t last = t->columns, blanks = 0;

		while (last > 0 && !cells[last - 1][0])
			last--;
		fputs(indent, out);
		for (size_t i = 0; i < last; i++) {
			fprintf(out, "%*s%s", (int)blanks, "", cells[i]);
			blanks = widths[i] - width(cells[i]) + 2;
		}
		fputc('\n', out);
	}
}
