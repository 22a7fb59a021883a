/* SPDX-License-Identifier: MIT */
/* wrap: sentences in lines of a terminal, by words. Pure. */
#ifndef HOMEPORT_WRAP_H
#define HOMEPORT_WRAP_H

#include <stddef.h>
#include <stdio.h>

/* What a line of any terminal holds. Whose own width is known to who prints for it alone, and seldom. */
#define WRAP_COLUMNS 80u

/* Characters, not bytes; wide ones count as one, which costs a crooked column and no more. */
size_t wrap_width(const char *text);

/* Writes `text` where the line has `column` characters already; each further line begins with as many blanks. None is
 * longer than WRAP_COLUMNS, unless by a single word. The last one is not ended. */
void wrap_print(FILE *out, size_t column, const char *text);

/* A line of a help text: `what`, indented, and from `column` on what it means; below it where there is no room beside.
 */
void wrap_row(FILE *out, const char *what, size_t column, const char *text);

#endif
