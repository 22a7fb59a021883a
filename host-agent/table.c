/* SPDX-License-Identifier: MIT */
/* Columns. See table.h. */
#include "table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "wrap.h"

#define NOTE_INDENT 4u

void table_clear(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->count = 0;
	for (size_t i = 0; i < t->note_count; i++)
		free(t->notes[i].text);
	free(t->notes);
	t->notes = NULL;
	t->note_count = 0;
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

void table_note(struct table *t, const char *text)
{
	struct table_note *grown = reallocarray(t->notes, t->note_count + 1, sizeof(*grown));

	assert(t->count >= t->columns);
	if (grown) {
		t->notes = grown;
		grown[t->note_count].row = t->count / t->columns - 1;
		grown[t->note_count].text = strdup(text);
	}
	if (grown && grown[t->note_count].text)
		t->note_count++;
	else
		t->failed = 1;
}

static void print_note(const char *text, size_t column, FILE *out)
{
	fprintf(out, "\n%*s", (int)column, "");
	wrap_print(out, column, text);
}

void table_print(const struct table *t, const char *indent, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};
	size_t rows = t->count / t->columns, note = 0;

	for (size_t i = 0; i < rows * t->columns; i++)
		if (wrap_width(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = wrap_width(t->cells[i]);
	for (size_t row = 0; row < rows; row++) {
		const char *const *cells = (const char *const *)&t->cells[row * t->columns];
		size_t last = t->columns, blanks = 0;

		while (last > 0 && !cells[last - 1][0])
			last--;
		fputs(indent, out);
		for (size_t i = 0; i < last; i++) {
			fprintf(out, "%*s%s", (int)blanks, "", cells[i]);
			blanks = widths[i] - wrap_width(cells[i]) + 2;
		}
		for (; note < t->note_count && t->notes[note].row == row; note++)
			print_note(t->notes[note].text, wrap_width(indent) + NOTE_INDENT, out);
		fputc('\n', out);
	}
}
