/* SPDX-License-Identifier: MIT */
/*
 * See shell_line.h.
 *
 * Theory of operation. As in bring.c, the login shell, whichever it is, gets `exec sh -c` and one text in single
 * quotes. Words of a person may hold any byte; each byte that some shell might find a meaning in is written as the
 * octal escape that printf's %b of POSIX knows, and becomes itself only inside sh. (The shell it passes through finds
 * nothing to change: no \\, no \', no newline, no !.) `_` keeps newlines at a word's end, which $() takes away.
 *
 * The program is run by env(1), so that a word is never a builtin of sh (whose echo may read backslashes), and K=V is
 * what it is there. sh stays above it: when a signal ends the program, sh says 128 and its number where ssh(1) would
 * say 255. It survives the signals that a terminal sends to both.
 */
#include "shell_line.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a word is itself in every shell, as it is. */
static bool is_plain(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@+";

	return *word && !word[strspn(word, plain)];
}

/* Sets the variable `name` to the word. */
static void put_variable(FILE *out, const char *name, const char *word)
{
	fprintf(out, "%s=$(printf %%b \"", name);
	for (; *word; word++) {
		const char one[] = {*word, '\0'};

		if (is_plain(one))
			fputc(*word, out);
		else
			fprintf(out, "\\0%03o", (unsigned char)*word);
	}
	fprintf(out, "_\"); %s=${%s%%_}; ", name, name);
}

static void put_word(FILE *out, const char *word)
{
	if (is_plain(word)) {
		fprintf(out, "set -- \"$@\" %s; ", word);
		return;
	}
	put_variable(out, "hp_w", word);
	fputs("set -- \"$@\" \"$hp_w\"; ", out);
}

static void put_folder(FILE *out, const struct shell_line *line)
{
	put_variable(out, "hp_d", line->folder);
	put_variable(out, "hp_m", line->complaint);
	fputs("cd \"$hp_d\" 2>/dev/null || printf \"%s\\012\" \"$hp_m\" >&2; ", out);
}

char *shell_line_make(const struct shell_line *line)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	bool program = false;

	if (!out)
		return NULL;
	fputs("exec sh -c '", out);
	if (line->folder)
		put_folder(out, line);
	for (char *const *word = line->variables; word && *word; word++)
		put_word(out, *word);
	for (char *const *word = line->words; *word; word++) {
		put_word(out, *word);
		program |= !strchr(*word, '=');
	}
	if (program)
		fputs("trap : INT QUIT; env -- \"$@\"; exit $?'", out);
	else if (*line->words || (line->variables && *line->variables))
		fputs("exec env -- \"$@\" \"${SHELL:-/bin/sh}\" -l'", out);
	else
		fputs("exec \"${SHELL:-/bin/sh}\" -l'", out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
