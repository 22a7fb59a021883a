/* SPDX-License-Identifier: MIT */
/* table: columns of text, as wide as what stands in them, and sentences below rows. Pure. */
#ifndef HOMEPORT_TABLE_H
#define HOMEPORT_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

struct table {
	size_t columns;
	char **cells; /* row after row */
	size_t count;
	struct table_note {
		size_t row;
		char *text;
	} * notes; /* by rows */
	size_t note_count;
	int failed; /* out of memory: rows or notes are missing */
};

/* A zeroed struct with its columns set is an empty table. */
void table_clear(struct table *t);

/* Adds one cell, copied; every `columns` of them are a row. NULL is an empty cell. */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A sentence about the row that was added last, copied: it stands below that, in lines of at most 80 characters. */
void table_note(struct table *t, const char *text);

/* Writes the rows, each behind `indent`; no blanks at the ends of lines. */
void table_print(const struct table *t, const char *indent, FILE *out);

#endif
