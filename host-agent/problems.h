/* SPDX-License-Identifier: MIT */
#ifndef HOMEPORT_PROBLEMS_H
#define HOMEPORT_PROBLEMS_H

#include <stddef.h>
#include <stdio.h>

/*
 * What is wrong with something a person wrote, all of it at once: a list of lines "file:line:column: what is wrong;
 * what to do". Warnings are in the same list, and do not stop anything.
 */

#define PROBLEMS_MAX      100  /* more help nobody; the rest is counted */
#define PROBLEMS_TEXT_MAX 1024 /* one line of text */

enum problem_level {
	PROBLEM_ERROR,
	PROBLEM_WARNING,
};

/* Where something was written. line and column count from 1; line 0: not in a file, `file` then says where. */
struct problem_place {
	const char *file;
	unsigned line;
	unsigned column;
};

struct problems;

/* An empty list, or NULL when there is no memory. */
struct problems *problems_new(void);
void problems_free(struct problems *problems);

/* Adds one line; control characters in it are made visible. A line that finds no memory is still counted. */
void problems_add(struct problems *problems, enum problem_level level, struct problem_place place, const char *format,
		  ...) __attribute__((format(printf, 4, 5)));

/* Orders them as they stand in a file; what has no place in it goes first. */
void problems_sort(struct problems *problems);

size_t problems_count(const struct problems *problems, enum problem_level level);

/* The line at `index` in the order of adding (or sorted), without its end of line; NULL behind the last. */
const char *problems_line(const struct problems *problems, size_t index);

/* Writes every line, and how many there were beyond those kept. */
void problems_print(const struct problems *problems, FILE *out);

/*
 * The word of `words` (ended by NULL) that `typed` was most likely meant to be, by edits and regardless of case; NULL
 * if none is near.
 */
const char *problems_nearest(const char *typed, const char *const *words);

#endif
