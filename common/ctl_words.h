/* SPDX-License-Identifier: MIT */
/*
 * ctl_words: a request of the control socket, or a line of `homeport-guest doctor`, as words. Between them stands one
 * blank; in a word, what is no printable ASCII character, the blank and '%' are written as %XX, since a path may hold
 * any byte. Pure.
 */
#ifndef HOMEPORT_CTL_WORDS_H
#define HOMEPORT_CTL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define CTL_WORDS_MAX 8

/* Appends a word to the request in `text`, of `size` bytes, "" at first. False: there is no room, and it is as it was.
 */
bool ctl_words_add(char *text, size_t size, const char *word);

/* Takes a request apart, in place. How many words there are; 0 for what is no request: none, too many, an empty word, a
 * wrong %XX, a NUL. */
size_t ctl_words_split(char *text, char *words[CTL_WORDS_MAX]);

#endif
