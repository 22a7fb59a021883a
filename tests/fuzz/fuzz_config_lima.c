/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes Lima's files: the text up to the first NUL is lima.yaml, what follows override.yaml. What is refused must say
 * why; what is taken must name the VM and be shown as a text that reads back as the same configuration.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_lima.h"

#define HOME "/home/me"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void check_round_trip(const struct config *config)
{
	struct problems *problems = problems_new();
	struct config *again = NULL;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	config_show(config, out);
	fclose(out);
	must(config_parse("f", text, size, HOME, problems, &again) == 0 && config_equal(config, again));
	free(text);
	config_free(again);
	problems_free(problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	size_t first = strnlen(text, size);
	struct lima_text texts[LIMA_FILES] = {
		[LIMA_DEFAULT] = {.file = "d"}, [LIMA_INSTANCE] = {"f", text, first}, [LIMA_OVERRIDE] = {.file = "o"}};
	const struct lima_instance instance = {
		.name = "vm", .dir = HOME "/.lima/vm", .home = HOME, .user = "me", .uid = 1000};
	struct problems *problems = problems_new();
	struct config *config = NULL;
	int r;

	if (first < size)
		texts[LIMA_OVERRIDE] = (struct lima_text){"o", text + first + 1, size - first - 1};
	r = config_lima_parse(texts, &instance, problems, &config);
	must((r == 0) == (problems_count(problems, PROBLEM_ERROR) == 0) && (r == 0) == (config != NULL));
	if (r == 0) {
		must(strcmp(config->ssh.host, "lima-vm") == 0);
		check_round_trip(config);
	}
	config_free(config);
	problems_free(problems);
	return 0;
}
