/* SPDX-License-Identifier: MIT */
/* table: columns of text, as wide as what stands in them. Pure. */
#ifndef HOMEPORT_TABLE_H
#define HOMEPORT_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

struct table {
	size_t columns;
	char **cells; /* row after row */
	size_t count;
	int failed; /* out of memory: rows are missing */
};

/* A zeroed struct with its columns set is an empty table. */
void table_clear(struct table *t);

/* Adds one cell, copied; every `columns` of them are a row. NULL is an empty cell. */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes the rows, each behind `indent`; no blanks at the ends of lines. */
void table_print(const struct table *t, const char *indent, FILE *out);

#endif
