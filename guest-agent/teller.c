/* SPDX-License-Identifier: MIT */
/* See teller.h. */
#include "teller.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

static struct {
	const char *command;
	bool to_host;
} teller;

/* A byte at a time: what follows is for whoever reads stdin next, sudo or the program it starts. */
static bool read_line(char *line, size_t size)
{
	size_t len = 0;
	char c = '\0';

	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		if (len + 1 < size)
			line[len++] = c;
	line[len] = '\0';
	return c == '\n';
}

static void tell(char letter, const char *text)
{
	while (*text) {
		int len = (int)strcspn(text, "\n");

		if (teller.to_host)
			printf("%c %.*s\n", letter, len, text);
		else
			fprintf(letter == 'o' ? stdout : stderr, "%s%s%s%.*s\n",
				letter == 'o' ? "" : "homeport-guest: ", letter == 'o' ? "" : teller.command,
				letter == 'o' ? "" : ": ", len, text);
		text += len;
		text += *text == '\n';
	}
	fflush(stdout);
}

bool teller_begin(const char *command, bool to_host, bool waited)
{
	char line[16];

	teller.command = command;
	teller.to_host = to_host;
	return !to_host || waited || read_line(line, sizeof(line));
}

void teller_print(const char *text)
{
	tell('o', text);
}

void teller_error(const char *fmt, ...)
{
	char text[8192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tell('e', text);
}

bool teller_ask(const char *question)
{
	char line[16];

	if (teller.to_host) {
		tell('q', question);
	} else {
		printf("%s [y/N] ", question);
		fflush(stdout);
	}
	return read_line(line, sizeof(line)) &&
	       (strcmp(line, "y") == 0 || strcmp(line, "Y") == 0 || strcmp(line, "yes") == 0);
}

int teller_password(const char *self, const char *text)
{
	if (teller.to_host)
		tell('s', self);
	tell(teller.to_host ? 'p' : 'e', text);
	return teller_end(EXIT_FAILED);
}

int teller_end(int status)
{
	if (teller.to_host) {
		printf("x %d\n", status);
		fflush(stdout);
	}
	return status;
}
