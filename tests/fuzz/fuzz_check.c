/* SPDX-License-Identifier: MIT */
/* A line of the guest's doctor: whatever it is, what is taken is printable, and can be said again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1), again[CHECK_LINE_MAX];
	struct check check, same;

	memcpy(line, data, size);
	line[size] = '\0';
	if (check_get(line, &check)) {
		expect_printable(check.name);
		expect_printable(check.what);
		expect_printable(check.todo);
		check_put(&check, again);
		if (!check_get(again, &same) || strcmp(check.what, same.what) != 0 ||
		    strcmp(check.todo, same.todo) != 0)
			abort();
	}
	free(line);
	return 0;
}
