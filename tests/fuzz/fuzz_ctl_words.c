/* SPDX-License-Identifier: MIT */
/* Requests of the control socket: what is taken is written back as words that are taken as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1), *again = calloc(1, 4 * size + 16), *words[CTL_WORDS_MAX], *same[CTL_WORDS_MAX];
	size_t count;

	memcpy(line, data, size);
	line[size] = '\0';
	count = ctl_words_split(line, words);
	for (size_t i = 0; i < count; i++)
		if (!ctl_words_add(again, 4 * size + 16, words[i]))
			abort();
	if (count && ctl_words_split(again, same) != count)
		abort();
	for (size_t i = 0; i < count; i++)
		if (strcmp(words[i], same[i]) != 0)
			abort();
	free(line);
	free(again);
	return 0;
}
