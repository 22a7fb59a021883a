/* SPDX-License-Identifier: MIT */
/*
 * teller: how a command speaks, to a person or to the host's program. To that it speaks in lines with a letter and a
 * blank in front, on stdout alone:
 *
 *	o TEXT	for stdout		q TEXT	a question: the host answers with a line, y or n
 *	e TEXT	for stderr		p TEXT	sudo wants a password; what a person may do instead
 *	s PATH	this program's file	x N	the exit status, last
 *
 * and not before it was given a line, because the host counts what comes earlier as a shell's. One for each process.
 */
#ifndef HOMEPORT_TELLER_H
#define HOMEPORT_TELLER_H

#include <stdbool.h>

/*
 * `command` stands in front of errors. To the host: waits for its line, unless that came already. False: the host has
 * gone.
 */
bool teller_begin(const char *command, bool to_host, bool waited);

/* Each line of text, which ends in a newline. */
void teller_print(const char *text);

void teller_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* False too where nobody answers. */
bool teller_ask(const char *question);

/* A password is wanted by who starts `self`. Returns the exit status. */
int teller_password(const char *self, const char *text);

/* The last word. Returns the status. */
int teller_end(int status);

#endif
