/* SPDX-License-Identifier: MIT */
/* See ctl_words.h. */
#include "ctl_words.h"

#include <stdio.h>
#include <string.h>

static bool stands_for_itself(unsigned char byte)
{
	return byte > ' ' && byte < 0x7f && byte != '%';
}

bool ctl_words_add(char *text, size_t size, const char *word)
{
	size_t before = strlen(text), n = before;

	if (!*word)
		return false;
	if (n > 0 && n + 1 < size)
		text[n++] = ' ';
	for (; *word; word++) {
		bool plain = stands_for_itself((unsigned char)*word);

		if (n + 4 > size) {
			text[before] = '\0';
			return false;
		}
		if (plain)
			text[n++] = *word;
		else
			n += (size_t)snprintf(text + n, size - n, "%%%02X", (unsigned char)*word);
	}
	text[n] = '\0';
	return true;
}

/* The value of a digit, of the form that ctl_words_add() writes; -1 for any other byte. */
static int digit(char c)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Decodes up to the next blank, in place. What stands behind it, NULL at the end; false: this is no word. */
static bool take_word(char *at, char **rest)
{
	char *to = at, *from = at;

	for (; *from && *from != ' '; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = digit(from[1]);
		low = high < 0 ? -1 : digit(from[2]);
		if (low < 0 || high + low == 0)
			return false;
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return to > at;
}

size_t ctl_words_split(char *text, char *words[CTL_WORDS_MAX])
{
	size_t n = 0;

	while (text) {
		if (n == CTL_WORDS_MAX)
			return 0;
		words[n++] = text;
		if (!take_word(text, &text))
			return 0;
	}
	return n;
}
