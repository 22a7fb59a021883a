/* SPDX-License-Identifier: MIT */
/*
 * The list of what is wrong with a configuration, and the search for the word that was meant.
 *
 * A person who has three mistakes in a file wants to hear of three, so whoever reads goes on after a mistake and adds
 * to this list. It is bounded: a file of a megabyte of mistakes is one mistake.
 */
#include "problems.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define WORD_MAX 40 /* no key or command of ours is as long */

struct kept {
	char *text;
	unsigned line, column;
};

struct problems {
	struct kept lines[PROBLEMS_MAX];
	size_t kept;
	size_t count[2]; /* by level, kept or not */
};

struct problems *problems_new(void)
{
	return calloc(1, sizeof(struct problems));
}

void problems_free(struct problems *problems)
{
	if (problems == NULL)
		return;
	for (size_t i = 0; i < problems->kept; i++)
		free(problems->lines[i].text);
	free(problems);
}

void problems_add(struct problems *problems, enum problem_level level, struct problem_place place, const char *format,
		  ...)
{
	char text[PROBLEMS_TEXT_MAX], line[2 * PROBLEMS_TEXT_MAX], where[32] = "";
	va_list args;

	problems->count[level]++;
	if (problems->kept == PROBLEMS_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (place.line != 0)
		snprintf(where, sizeof(where), "%u:%u:", place.line, place.column);
	snprintf(line, sizeof(line), "%s:%s %s%s", place.file, where, level == PROBLEM_WARNING ? "warning: " : "",
		 text);
	text_printable(text, sizeof(text), line, strlen(line));
	problems->lines[problems->kept] = (struct kept){strdup(text), place.line, place.column};
	if (problems->lines[problems->kept].text != NULL)
		problems->kept++;
}

static bool stands_behind(const struct kept *a, const struct kept *b)
{
	return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* Two at one place stay in the order in which they were added. */
void problems_sort(struct problems *problems)
{
	for (size_t i = 1; i < problems->kept; i++) {
		struct kept line = problems->lines[i];
		size_t j = i;

		for (; j > 0 && stands_behind(&problems->lines[j - 1], &line); j--)
			problems->lines[j] = problems->lines[j - 1];
		problems->lines[j] = line;
	}
}

size_t problems_count(const struct problems *problems, enum problem_level level)
{
	return problems->count[level];
}

const char *problems_line(const struct problems *problems, size_t index)
{
	return index < problems->kept ? problems->lines[index].text : NULL;
}

void problems_print(const struct problems *problems, FILE *out)
{
	size_t all = problems->count[PROBLEM_ERROR] + problems->count[PROBLEM_WARNING];

	for (size_t i = 0; i < problems->kept; i++)
		fprintf(out, "%s\n", problems->lines[i].text);
	if (all > problems->kept)
		fprintf(out, "and %zu more\n", all - problems->kept);
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

static int same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits from a to b: letters inserted, removed, replaced, or swapped with their neighbour. */
static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	unsigned rows[3][WORD_MAX + 1];

	for (unsigned j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a_length; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= b_length; j++) {
			row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + !same_letter(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
				row[j] = min3(row[j], before[j - 2] + 1, row[j]);
		}
	}
	return rows[a_length % 3][b_length];
}

const char *problems_nearest(const char *typed, const char *const *words)
{
	size_t length = strlen(typed);
	/* A third of the letters may be wrong: writeable, guestport, mountpoints, but not anything. */
	unsigned best = (unsigned)length / 3 + 1;
	const char *nearest = NULL;

	if (length == 0 || length > WORD_MAX)
		return NULL;
	for (; *words != NULL; words++) {
		unsigned distance = edit_distance(typed, length, *words, strlen(*words));

		if (distance < best + (nearest == NULL)) {
			best = distance;
			nearest = *words;
		}
	}
	return nearest;
}
