/* SPDX-License-Identifier: MIT */
/*
 * check: what `doctor` finds of one thing that has to be right, for people, for programs, and for the way from the
 * guest to the host. Pure, but for check_kernel_is(). All text is printable from the moment it is said, whoever said
 * it.
 */
#ifndef HOMEPORT_CHECK_H
#define HOMEPORT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct json;

#define CHECK_TEXT_MAX 400
#define CHECK_LINE_MAX 4096 /* check_put()'s longest, and more */

enum check_verdict {
	CHECK_OK,
	CHECK_NOTE, /* it works, and something about it is worth knowing */
	CHECK_PROBLEM,
	CHECK_VERDICTS,
};

struct check {
	enum check_verdict verdict;
	char name[64];             /* of the thing, always the same */
	char what[CHECK_TEXT_MAX]; /* what is found */
	char todo[CHECK_TEXT_MAX]; /* what to do about it; "": nothing */
};

/* What is found; there is nothing to do about it yet. */
void check_say(struct check *check, enum check_verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void check_advise(struct check *check, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Finds whether this machine's kernel is of this version or later. */
void check_kernel_is(struct check *check, unsigned major, unsigned minor);

/* "ok", "note", "problem". */
const char *check_verdict_name(enum check_verdict verdict);

/* One line for a person. */
void check_print(const struct check *check, FILE *out);

/* An object {side, name, verdict, what, do} in an open list. */
void check_json(const struct check *check, const char *side, struct json *json);

/* The line that brings it to the host, without its end: VERDICT NAME WHAT [ADVICE] as words of ctl_words.h. */
void check_put(const struct check *check, char line[CHECK_LINE_MAX]);

/* Takes such a line, which may be anything, apart, and spoils it. False: it is none. */
bool check_get(char *line, struct check *check);

#endif
