/* SPDX-License-Identifier: MIT */
/* top_view: an interval of `homeport top` as a person and as a program reads it. Pure. */
#ifndef HOMEPORT_TOP_VIEW_H
#define HOMEPORT_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "top_sample.h"
#include "wire.h"

#define TOP_WIDTH_MIN   80u /* narrower terminals show the left of it */
#define TOP_PORTS_PLAIN 20u /* ports of a table that is no terminal's: the busiest */

struct top_look {
	const char *clock; /* "14:03:22", at the right of the first line */
	size_t width;      /* of a line, in characters */
	size_t height;     /* lines at most; 0: as many as there are, but ports */
	bool colour;
};

/* Writes the table, each line with a newline behind it. What came from the guest is printable, and cut to its column.
 */
void top_view_table(const struct top_interval *i, const struct top_look *look, FILE *out);

/* One object on one line, without a newline, into `out`; `time` is when, as in the other JSON. */
void top_view_json(const struct top_interval *i, const char *time, struct wire_buf *out);

#endif
